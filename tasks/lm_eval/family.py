"""Any task of lm-eval's by name (`lm_eval:arc_easy`): its prompts, its answer filters, its metrics, our model.

What the task's YAML file says holds: splits, templates, filters, metrics, few-shot split and sampler. How many examples
a prompt shows is the run's to say (`--num-fewshot`, 0 unless given), since each is a label: they are the cell's own
labelled pairs where those are rows of the task's training split, and on track `parity` what lm-eval's sampler draws
from the command's seed. No chat template is applied, as lm-eval's command applies none unless told to.

From the hub the data come as lm-eval loads them; from a folder, `PATH/TASK/SPLIT.jsonl[.gz]` or `.parquet` with rows in
the format of the task's data set and lm-eval's split names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from harness.contracts import Aligned, Capability, Dataset, EvalContext, HarnessError, Scores, Source, Task, require
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.datasets.documents import Row, numbered
from tasks.lm_eval.bridge import Evaluation, Sample, likeliest, run_task
from tasks.lm_eval.catalogue import config_text, metric_names, stock_config, stock_task
from tasks.lm_eval.corners import quiet
from tasks.lm_eval.held_out import generated, match, option_figures, preferences, sample_row
from tasks.lm_eval.stock import CHOOSING
from tasks.measures.preference import METRICS, RELATIVE

REQUIRES: Mapping[str, frozenset[Capability]] = {
    "generate_until": frozenset({"generate"}),
    "loglikelihood": frozenset({"loglik"}),
    "loglikelihood_rolling": frozenset({"loglik"}),
    "multiple_choice": frozenset(),
}
"""What each of lm-eval's output types asks of a model."""
ACCEPTS: Mapping[str, frozenset[Capability]] = {"multiple_choice": CHOOSING}
"""Output types that any of several abilities will do for."""

Rows = Mapping[str, Sequence[Row]]


class LmEval:
    """Any task of lm-eval by name, for example `lm_eval:arc_easy`."""

    name: ClassVar[str] = "lm_eval"
    paper: ClassVar[str] = ""
    licence: ClassVar[str] = "that of the task's data set"
    main_metric: ClassVar[str] = "pref"
    metrics: ClassVar[Mapping[str, str]] = METRICS
    relative_to_base: ClassVar[frozenset[str]] = RELATIVE
    default_pool: ClassVar[str] = "ultrafeedback"
    requires: ClassVar[frozenset[Capability]] = frozenset()
    accepts: ClassVar[frozenset[Capability]] = frozenset()
    later_metrics: ClassVar[str] = "a task's own function, which lm-eval calls for its results"
    chosen: ClassVar[str] = ""
    """lm-eval's name of the task."""

    @classmethod
    def named(cls, argument: str) -> type[Task]:
        """The class of lm-eval's task `argument`.

        Raises HarnessError, naming the nearest task, for an unknown name, a group, and what cannot be run here.
        """
        with quiet():
            config = stock_config(argument)
            names = metric_names(config)
        if not names:
            raise HarnessError(f"lm-eval's {argument!r} names no metric; a task with a metric_list was expected")
        attributes = {
            "__doc__": f"lm-eval's task `{argument}`.",
            "name": f"{LmEval.name}:{argument}",
            "main_metric": _main(names),
            "metrics": {**{name: _meaning(*found) for name, found in names.items()}, **METRICS},
            "requires": REQUIRES[_output_type(config)],
            "accepts": ACCEPTS.get(_output_type(config), frozenset()),
            "chosen": argument,
        }
        return type("NamedLmEval", (cls,), attributes)

    def __init__(self) -> None:
        self._loaded: Rows | None = None

    def revision(self, source: Source) -> str:
        """Hash of the evaluation rows, of the task's configuration and of the source of its functions.

        On the hub also of the rows that a prompt may show, whose reading nobody else notes.
        """
        config = self._config()
        rows = self._rows(source, _evaluated(config, self.chosen))
        shown = self._showable(config) if source.kind == "hub" else {}
        return content_hash([dict(row) for row in rows], config_text(config), *([shown] if shown else []))

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """What every evaluated document asks, by id."""
        split = _evaluated(self._config(), self.chosen)
        return self._texts({split: self._rows(source, split)}, limit)

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per document, with its held-out pair where there is one; other held-out pairs get rows of their own.

        Notes hold lm-eval's own aggregate of each metric that is not the mean over documents. Raises HarnessError for
        rows that do not fit the task, for a model that cannot answer, and for too few demonstrations.
        """
        if _output_type(self._config()) == "multiple_choice":
            require(aligned, *CHOOSING, by=self.name)
        split = _evaluated(self._config(), self.chosen)
        rows = {split: self._rows(ctx.source, split)}
        task = self._build({**rows, **self._shots(ctx)}, ctx)
        found = run_task(aligned, task, limit=ctx.limit, seed=ctx.seed, progress=ctx.progress)
        ids = numbered(sample.id for sample in found.samples)
        texts = self._texts(rows, ctx.limit)
        owned, loose, figures = preferences(aligned, ctx, texts, self.chosen)
        lines = [
            sample_row(item, sample, owned[item], _answer(sample))
            for item, sample in zip(ids, found.samples, strict=True)
        ]
        return Scores((*lines, *loose), {**_chance(found.samples), **_aggregates(found), **figures})

    # ------------------------------------------------------------ data

    def _config(self) -> Mapping[str, Any]:
        if not self.chosen:
            raise HarnessError("task 'lm_eval' was expected to name a task of lm-eval's, as in lm_eval:arc_easy")
        return stock_config(self.chosen)

    def _rows(self, source: Source, split: str) -> Sequence[Row]:
        """All rows of one of lm-eval's splits. Raises HarnessError when they cannot be had."""
        config = self._config()
        if source.kind != "hub":
            kinds = {_evaluated(config, self.chosen): "eval", config.get("training_split"): "pool"}
            splits = {kind: str(name) for name, kind in reversed(kinds.items()) if name}
            dataset = Dataset(self.chosen, str(config.get("dataset_path")), config.get("dataset_name"), splits)
            return source.rows(dataset, kinds.get(split, split))
        if self._loaded is None:
            self._loaded = _from_hub(self.chosen, config)
        if split not in self._loaded:
            known = ", ".join(sorted(self._loaded))
            raise HarnessError(f"{self.name}: the data set on the hub has no split {split!r}; its splits: {known}")
        return self._loaded[split]

    def _showable(self, config: Mapping[str, Any]) -> dict[str, str]:
        """The splits of the hub's data set that examples may come from, by content."""
        named = {_shown_split(config), config.get("training_split")} - {None, _evaluated(config, self.chosen)}
        loaded = self._loaded or {}
        there = sorted(str(split) for split in named if split in loaded)
        return {split: content_hash([dict(row) for row in loaded[split]]) for split in there}

    def _shots(self, ctx: EvalContext) -> dict[str, Sequence[Row]]:
        """The split that lm-eval's sampler draws from on track `parity`; otherwise the cell's own rows are shown."""
        config = self._config()
        if not ctx.num_fewshot:
            return {}
        if config.get("num_fewshot") == 0:
            raise HarnessError(f"{self.name} never shows examples in lm-eval; --num-fewshot 0 was expected")
        chosen = config.get("fewshot_config") or {}
        if ctx.track != "parity" or chosen.get("samples"):
            return {}
        split = _shown_split(config) or _evaluated(config, self.chosen)
        return {split: self._rows(ctx.source, split)}

    def _own_rows(self, ctx: EvalContext) -> list[Row]:
        """Rows of the training split that the first `num_fewshot` of the cell's pairs ask about."""
        shown = ctx.demonstrations[: ctx.num_fewshot]
        training = self._config().get("training_split")
        if not shown:
            return []
        if not training:
            raise HarnessError(f"{self.name} has no training split: few-shot prompts are for track parity only")
        rows = self._rows(ctx.source, training)
        texts = self._texts({_evaluated(self._config(), self.chosen): rows}, None)
        if len(texts) != len(rows):
            raise HarnessError(
                f"{self.name} leaves out rows of its training split: its few-shot prompts need track parity"
            )
        owners = match(shown, texts)
        missing = [pair.id for pair in shown if pair.id not in owners]
        if missing:
            raise HarnessError(f"demonstration {missing[0]!r} is no row of {self.name}'s training split")
        place = {item: index for index, item in enumerate(texts)}
        return [rows[place[owners[pair.id]]] for pair in shown]

    # ------------------------------------------------------------ lm-eval's task

    def _build(self, rows: Rows, ctx: EvalContext | None = None) -> Any:
        """The stock task over `rows`. Raises HarnessError when they are not in the format of its data set."""
        shots, parity = (ctx.num_fewshot, ctx.track == "parity") if ctx else (0, False)
        own = self._own_rows(ctx) if ctx and not parity else None
        try:
            with quiet():
                return stock_task(self.chosen, rows, num_fewshot=shots, fewshot_rows=own, own_sampler=parity)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._misfit(error) from error
        except Exception as error:  # what a template lacks is jinja2's to say, which is not imported here
            if type(error).__module__.startswith("jinja2"):
                raise self._misfit(error) from error
            raise

    def _misfit(self, error: Exception) -> HarnessError:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        wanted = self._config().get("dataset_path")
        return HarnessError(
            f"{self.name}: rows in the format of {wanted} were expected, but they do not fit ({reason})"
        )

    def _texts(self, rows: Rows, limit: int | None) -> dict[str, str]:
        """The text of every document of the evaluated split, by id."""
        task = self._build(rows)
        entries = list(task.doc_iterator(limit=limit))
        ids = numbered(str(entry.get("id", index)) for index, entry in entries)
        return {item: _text(task, entry) for item, (_, entry) in zip(ids, entries, strict=True)}


def _output_type(config: Mapping[str, Any]) -> str:
    return str(config.get("output_type") or "generate_until")


def _evaluated(config: Mapping[str, Any], name: str) -> str:
    """The split that lm-eval scores: test, or validation where there is none."""
    split = config.get("test_split") or config.get("validation_split")
    if not split:
        raise HarnessError(f"lm-eval's {name!r} names no test and no validation split, so there is nothing to score")
    return str(split)


def _shown_split(config: Mapping[str, Any]) -> str | None:
    """The split that lm-eval draws examples from, where the task names any beside the one that is scored."""
    chosen = config.get("fewshot_config") or {}
    named = [chosen.get("split"), *(config.get(f"{role}_split") for role in ("fewshot", "training", "validation"))]
    return next((str(name) for name in named if name), None)


def _from_hub(name: str, config: Mapping[str, Any]) -> Rows:
    """All splits as lm-eval loads them. Raises HarnessError when they are neither cached nor to be had."""
    import datasets

    options = {key: value for key, value in (config.get("dataset_kwargs") or {}).items() if key != "trust_remote_code"}
    try:
        if callable(config.get("custom_dataset")):
            return dict(config["custom_dataset"](**(config.get("metadata") or {}), **options))
        return dict(datasets.load_dataset(config["dataset_path"], config.get("dataset_name"), **options))
    except Exception as error:  # the hub's clients raise a dozen unrelated kinds
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        place = config.get("dataset_path")
        raise HarnessError(
            f"the data of lm-eval's {name!r} ({place}) are neither cached nor to be had from the hub ({reason}); "
            f"use --data PATH with a folder {name!r}"
        ) from error


def _text(task: Any, entry: Mapping[str, Any]) -> str:
    """What a document asks: the longest of its fields in what the task compares for contamination, else in the prompt.

    Where no field stands there as it is, the whole of it; where there is no prompt, the choices or the target.
    """
    shown = _compared(task, entry) if task.should_decontaminate() else task.doc_to_text(entry)
    if isinstance(shown, str) and shown.strip():
        fields = [value for value in entry.values() if isinstance(value, str) and value.strip() and value in shown]
        return max(fields, key=len, default=shown)
    return " ".join(task.doc_to_choice(entry)) if task.config.doc_to_choice else str(task.doc_to_target(entry))


def _compared(task: Any, entry: Mapping[str, Any]) -> Any:
    """A task's text of a document for contamination; not by its own method, which reads a template's text as Python."""
    from lm_eval.utils import apply_template

    query = task.config.doc_to_decontamination_query
    if not isinstance(query, str):
        return task.doc_to_text(entry)
    return entry[query] if query in entry else apply_template(query, dict(entry))


def _main(names: Mapping[str, Any]) -> str:
    """The first metric of which more is better; of texts scored whole, the one that does not grow with their length."""
    rising = [name for name in names if not name.startswith("neg_")]
    return next(iter([*rising, *(name for name in names if "bits_per_byte" in name), *names]))


def _meaning(metric: str, chosen: str) -> str:
    through = "" if chosen == "none" else f" behind filter `{chosen}`"
    return f"lm-eval's {metric} of each document{through}; negative where lower is better"


def _answer(sample: Sample) -> dict[str, Any]:
    """The answer's part of a row's detail."""
    if sample.output is not None:
        return generated(sample)
    options = [{"text": option.text, **option_figures(option)} for option in sample.options]
    picked = likeliest(sample.options) if sample.options else None
    return {"answer": sample.answer, "choice": picked, "gold": sample.target, "options": options}


def _chance(samples: Sequence[Sample]) -> dict[str, float]:
    """The accuracy of a blind guess, of a task whose documents offer several options."""
    shares = [1 / len(sample.options) for sample in samples if len(sample.options) > 1]
    return {"chance": sum(shares) / len(shares)} if shares else {}


def _aggregates(found: Evaluation) -> dict[str, float]:
    """lm-eval's own figure of each metric where it is not the mean of ours."""
    means: dict[str, float] = {}
    for name in {metric for sample in found.samples for metric in sample.metrics}:
        values = [sample.metrics[name] for sample in found.samples if name in sample.metrics]
        means[name] = sum(values) / len(values)
    notes = {}
    for key, value in found.aggregates.items():
        metric, _, chosen = key.partition(",")
        mean = means.get(key, means.get(metric)) if chosen != "none" else means.get(metric)
        if mean is None or abs(mean - value) > 1e-9:
            notes[f"lm_eval {metric if chosen == 'none' else key}"] = value
    return notes


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The family of this module."""
    return [LmEval]
