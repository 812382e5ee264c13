"""Stock lm-eval tasks over `contracts.Aligned`: their prompts, their metrics, our model.

Encoding follows `lm_eval.models.huggingface.HFLM` for causal models (checked against 0.4.13), so token ids are those
of the `lm_eval` command: context and continuation encoded together and split, special tokens left to the tokenizer
unless the text already starts with the prefix token, over-long contexts clipped on the left. Only a task's data are
replaced. lm-eval is imported inside functions; the model class is put together there from `_AlignedModel` and lm-
eval's `TemplateLM`.

A model that lacks `loglik` but can `choose` is asked one closed question per context, whose labels and options are that
context's continuations; its normalised log-probabilities stand where the sums would.

Every metric is a number per document, higher is better. Where lm-eval keeps something else per document (a pair, a log-
probability), its own aggregation of that one document stands there; where lower is better, the negative stands under
`neg_NAME`. A task with several answer filters has one metric for each, called `METRIC,FILTER` as lm-eval prints it.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from harness.contracts import (
    Aligned,
    ChooseRequest,
    Chooses,
    GenerateRequest,
    HarnessError,
    Loglik,
    LoglikRequest,
    ScoresText,
    able_to,
    user,
)
from harness.util.names import nearest

DEMONSTRATIONS = "demonstrations"
"""Split that holds the caller's own few-shot rows."""
CONTEXTS_PER_CALL = 64
"""Contexts handed to the model at a time: enough to share few-shot prefixes, few enough that progress moves."""
DEFAULT_NEW_TOKENS = 256
"""HFLM's `max_gen_toks`, where a task sets none."""

FEWSHOT_SEED = 1234
"""Seed of the `lm_eval` command's few-shot sampler."""

Progress = Callable[[str, int, int], None]
Row = Mapping[str, Any]
Item = TypeVar("Item")
Encoded = tuple[tuple[str, str] | None, list[int], list[int]]


@dataclass(frozen=True, slots=True)
class Option:
    """One scored continuation: its text, summed log-probability in nats, number of tokens, whether greedy gives it."""

    text: str
    total: float
    tokens: int
    is_greedy: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """One evaluated document of a stock task.

    `target` is what the task's `doc_to_target` gives (an index for multiple choice); `answer` is the likeliest choice,
    or the generated text as the task's first filter leaves it, or empty; `output` is the generated text as it came.
    """

    id: str
    prompt: str
    options: tuple[Option, ...]
    metrics: Mapping[str, float]
    target: Any
    answer: str
    filtered: Mapping[str, str]
    """The answer by each filter, of a task that generates."""
    output: str | None
    clipped: bool
    """True when the context was too long for the model and lost its left end."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Samples in the order of the documents, and lm-eval's own aggregate of every metric under lm-eval's name."""

    samples: tuple[Sample, ...]
    aggregates: Mapping[str, float] = field(default_factory=dict)


def likeliest(options: Sequence[Option]) -> int:
    """Index of the option with the highest summed log-probability; the first of equals, as in lm-eval's argmax."""
    return max(range(len(options)), key=lambda index: options[index].total)


def evaluate_task(
    aligned: Aligned,
    name: str,
    rows: Mapping[str, Sequence[Row]],
    *,
    limit: int | None = None,
    num_fewshot: int = 0,
    fewshot_rows: Sequence[Row] | None = None,
    folder: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Sample, ...]:
    """Run the stock task `name` on `rows` and return its samples in the order of the rows.

    `rows` maps the stock task's own split names (`train`, `test`, ...) to rows in its data set's format; a split that
    is not given is empty. Demonstrations are the first `num_fewshot` of `fewshot_rows`, or of the task's own few-shot
    split when `fewshot_rows` is None. `folder` (below lm-eval's task folder) spares a scan of all of lm-eval's tasks.
    Nothing is downloaded or written. Raises HarnessError for an unknown task or too few demonstrations, and
    FloatingPointError for a log-probability that is not a number.
    """
    with quiet():
        task = stock_task(name, rows, num_fewshot=num_fewshot, fewshot_rows=fewshot_rows, folder=folder)
    return run_task(aligned, task, limit=limit, seed=seed, progress=progress).samples


def run_task(
    aligned: Aligned, task: Any, *, limit: int | None = None, seed: int = 0, progress: Progress | None = None
) -> Evaluation:
    """Run a task object of lm-eval's, as `stock_task` builds it, on its first `limit` documents.

    Raises HarnessError for a document that cannot be scored, FloatingPointError for a log-probability that is none.
    """
    from lm_eval.evaluator import evaluate

    with quiet():
        model = lm(aligned, seed=seed, progress=progress)
        tasks: Any = {"tasks": {task.task_name: task}}
        results: Any = evaluate(model, tasks, limit=limit, bootstrap_iters=0, log_samples=True)
    by_document: dict[int, list[Mapping[str, Any]]] = {}
    for entry in results["samples"][task.task_name]:
        by_document.setdefault(entry["doc_id"], []).append(entry)
    samples = tuple(_sample(entries, task, model) for entries in by_document.values())
    found: Mapping[str, Any] = results["results"][task.task_name]
    aggregates = {key: value for key, value in found.items() if "," in key and "_stderr," not in key}
    return Evaluation(samples, {key: float(value) for key, value in aggregates.items() if _is_number(value)})


def stock_task(
    name: str,
    rows: Mapping[str, Sequence[Row]],
    *,
    num_fewshot: int = 0,
    fewshot_rows: Sequence[Row] | None = None,
    folder: str | None = None,
    own_sampler: bool = False,
) -> Any:
    """lm-eval's own task object for `name`, with its data replaced by `rows` and its demonstrations taken in order.

    With `own_sampler` demonstrations are drawn as the `lm_eval` command draws them: by the task's sampler, from the
    command's seed. Raises HarnessError for an unknown task or too few demonstrations.
    """
    manager, entry = stock_entry(name, folder)
    config = manager._factory._load_full_config(entry)
    splits = _splits(config, {**rows, DEMONSTRATIONS: fewshot_rows or ()})
    overrides: dict[str, Any] = {
        "custom_dataset": lambda **_: splits,
        "dataset_kwargs": None,
        "num_fewshot": num_fewshot,
    }
    if not (own_sampler and num_fewshot):
        shown = {**(config.get("fewshot_config") or {}), **_fewshot(num_fewshot, fewshot_rows)}
        overrides |= {"fewshot_config": shown, "fewshot_split": config.get("fewshot_split") if num_fewshot else None}
    task = manager._factory.build(entry, overrides=overrides, registry=manager.task_index)
    available = len(task.sampler.df)
    if available < num_fewshot:
        raise HarnessError(f"{name}: {num_fewshot} demonstrations asked for, {available} available")
    if own_sampler:
        task.set_fewshot_seed(FEWSHOT_SEED)
    return task


def stock_config(name: str) -> Mapping[str, Any]:
    """The whole configuration of the stock task `name`, functions included.

    Raises HarnessError, naming the nearest task, for what is no task configured by a YAML file or cannot be run here.
    """
    from lm_eval.tasks._index import Kind
    from lm_eval.tasks._yaml_loader import load_yaml

    manager, entry = stock_entry(name, None)
    if entry.kind in (Kind.GROUP, Kind.TAG):
        members = _members(manager, entry)
        example = f", as {members[0]!r}" if members else ""
        raise HarnessError(f"lm-eval's {name!r} is a group of {len(members)} tasks; name one of them{example}")
    if entry.kind is Kind.PY_TASK:
        raise HarnessError(f"lm-eval's {name!r} is a Python class with its own data; a task of YAML was expected")
    plain = load_yaml(entry.yaml_path, resolve_func=False)
    for key, what in (
        ("unsafe_code", "runs generated code"),
        ("doc_to_image", "shows images"),
        ("doc_to_audio", "plays sound"),
    ):
        if plain.get(key):
            raise HarnessError(f"lm-eval's {name!r} {what}; a task of text that is only read was expected")
    try:
        config: Mapping[str, Any] = manager._factory._load_full_config(entry)
    except Exception as error:  # a task's own code is imported here, and may lack a package or a file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise HarnessError(f"the code of lm-eval's task {name!r} cannot be imported ({reason})") from error
    return config


def config_text(config: Mapping[str, Any]) -> str:
    """A task's configuration and the source of its functions as text, for content hashes."""
    functions = {id(f): f for f in _functions(config)}
    sources = {Path(f.__code__.co_filename) for f in functions.values()}
    shown = {key: value for key, value in config.items() if key != "metadata"}
    code = "\n".join(f"# {path.name}\n{path.read_text(encoding='utf-8')}" for path in sorted(sources) if path.is_file())
    return f"{_plain(shown)}\n{code}"


def _plain(value: Any) -> str:
    """A value of a configuration as text that is the same in every process: functions by their names."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_plain(value[key])}" for key in sorted(value, key=str)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return getattr(value, "__qualname__", None) or repr(value)


def _functions(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _functions(item)
    elif hasattr(value, "__code__"):
        yield value


def _members(manager: Any, entry: Any) -> list[str]:
    """Names of all tasks of a group or tag, those of groups within it included."""
    listed = entry.tags or manager._factory._load_full_config(entry).get("task") or ()
    found: set[str] = set()
    for item in listed:
        name = item if isinstance(item, str) else str(item.get("task") or item.get("group"))
        inner = manager.task_index.get(name)
        grouped = inner is not None and inner.kind.name in ("GROUP", "TAG")
        found |= set(_members(manager, inner)) if grouped and inner is not entry else {name}
    return sorted(found)


def metric_names(config: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The metrics that a task's configuration names, as this module calls them -> (lm-eval's metric, filter).

    A task whose own function gives its results may yield others too.
    """
    from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY, is_higher_better

    filters = [str(entry["name"]) for entry in config.get("filter_list") or ()] or ["none"]
    listed = config.get("metric_list") or [{"metric": m} for m in DEFAULT_METRIC_REGISTRY[config["output_type"]]]
    names: dict[str, tuple[str, str]] = {}
    for entry in listed:
        metric = getattr(entry["metric"], "__name__", entry["metric"])
        rising = entry.get("higher_is_better", True if callable(entry["metric"]) else is_higher_better(metric))
        for chosen in filters:
            names[_metric_name(metric, chosen, len(filters), rising is not False)] = (metric, chosen)
    return names


def _metric_name(metric: str, chosen: str, filters: int, rising: bool) -> str:
    return f"{'' if rising else 'neg_'}{metric}{f',{chosen}' if filters > 1 else ''}"


def _fewshot(num_fewshot: int, rows: Sequence[Row] | None) -> dict[str, Any]:
    """Where demonstrations come from; with none wanted the task's own split is not read, so it may be missing."""
    if num_fewshot == 0:
        return {"sampler": "first_n", "split": None, "samples": []}
    return {"sampler": "first_n"} if rows is None else {"sampler": "first_n", "split": DEMONSTRATIONS}


@cache
def _manager(folder: str | None) -> Any:
    """lm-eval's task manager; one folder is scanned in milliseconds, all in seconds."""
    from lm_eval.tasks import TaskManager

    if folder is None:
        return TaskManager()
    return TaskManager(include_path=_task_home() / folder, include_defaults=False)


def stock_entry(name: str, folder: str | None) -> tuple[Any, Any]:
    """lm-eval's task manager and its entry for `name`. Raises HarnessError naming the nearest task."""
    manager = _manager(folder or _folder_of(name))
    entry = manager.task_index.get(name)
    if entry is None:
        hint = nearest(name, manager.all_tasks, cutoff=0)
        raise HarnessError(f"lm-eval has no task {name!r}{f' in {folder}' if folder else ''}; {hint}")
    return manager, entry


@cache
def _folder_of(name: str) -> str | None:
    """The folder whose YAML file says it is task `name`, found by reading alone; None where there is not just one."""
    line = re.compile(rf"^task:[ \t]*(['\"]?){re.escape(name)}\1[ \t]*(#.*)?$", re.MULTILINE)
    home = _task_home()
    found = [path for path in sorted(home.rglob("*.yaml")) if line.search(path.read_text(encoding="utf-8"))]
    return str(found[0].parent.relative_to(home)) if len(found) == 1 else None


def _task_home() -> Path:
    spec = find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise HarnessError("lm-eval is not installed; expected the package lm-eval beside align-harness")
    return Path(spec.origin).parent / "tasks"


def stock_text(folder: str) -> str:
    """Text of every YAML and Python file of one of lm-eval's task folders, for content hashes; imports nothing."""
    home = _task_home() / folder
    files = sorted(path for path in home.glob("*") if path.suffix in {".yaml", ".yml", ".py"})
    if not files:
        raise HarnessError(f"lm-eval has no task folder {folder!r}; expected a folder with YAML files in {home.parent}")
    return "\n".join(f"# {path.name}\n{path.read_text(encoding='utf-8')}" for path in files)


def lm(aligned: Aligned, *, seed: int = 0, progress: Progress | None = None) -> Any:
    """An `lm_eval.api.model.LM` that asks `aligned`; `scored` keeps sum, tokens and greediness of every text pair."""
    from lm_eval.api.model import TemplateLM

    model_class = type("AlignedLM", (_AlignedModel, TemplateLM), {})
    return model_class(aligned, seed, progress or (lambda stage, done, total: None))


class _AlignedModel:
    """What HFLM does for causal models, over `Aligned`; to be mixed with lm-eval's `TemplateLM`."""

    backend = "causal"

    def __init__(self, aligned: Aligned, seed: int, progress: Progress) -> None:
        super().__init__()
        self.aligned = aligned
        self.tokenizer = aligned.tokenizer
        self.scored: dict[tuple[str, str], Loglik] = {}
        self.clipped: set[str] = set()
        self._seed = seed
        self._progress = progress

    @property
    def eot_token_id(self) -> int:
        """End of text: the tokenizer's EOS, as in HFLM."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before an empty context: BOS, or EOS where there is none."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def max_length(self) -> int:
        """Longest context plus continuation, in tokens."""
        return self.aligned.max_length

    @property
    def tokenizer_name(self) -> str:
        """Name for lm-eval's request fingerprints."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of `string`; the tokenizer's special tokens unless it already starts with the prefix token."""
        if add_special_tokens is None and string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        keywords = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **keywords))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as text; without its system turns where the template refuses them, as in HFLM."""
        from jinja2.exceptions import TemplateError

        keywords = {"add_generation_prompt": add_generation_prompt, "continue_final_message": not add_generation_prompt}
        try:
            return str(self.tokenizer.apply_chat_template(chat_history, tokenize=False, **keywords))
        except TemplateError:
            turns = [turn for turn in chat_history if turn["role"] != "system"]
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, **keywords))

    def _loglikelihood_tokens(self, requests: Sequence[Encoded], **_: Any) -> list[tuple[float, bool]]:
        """Called by TemplateLM with encoded pairs: (sum of log-probabilities, is greedy) of each, in order.

        Raises HarnessError where the model can only choose and there is nothing to choose among.
        """
        chooses = isinstance(self.aligned, Chooses) and not isinstance(self.aligned, ScoresText)
        results = self._choose(requests) if chooses else self._score([self._request(*r) for r in requests])
        for (texts, _context, _continuation), result in zip(requests, results, strict=True):
            if texts is not None:
                self.scored[texts] = result
        return [(result.total, result.is_greedy) for result in results]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of whole texts, in disjoint windows of at most the model's length, as HFLM cuts them."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        windows: list[Encoded] = []
        owners: list[int] = []
        for owner, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            for window in get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, context_len=1):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(owner)
        totals = [0.0] * len(requests)
        for owner, (total, _greedy) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[owner] += total
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Generated texts, cut at the first stop sequence (end-of-text always being one)."""
        texts: list[str] = []
        writer = able_to("generate", self.aligned, by="lm-eval")
        wanted = self._distinct([self._generation(*request.args[:2]) for request in requests])
        for start in range(0, len(wanted), CONTEXTS_PER_CALL):
            chunk = wanted[start : start + CONTEXTS_PER_CALL]
            answers = writer.generate(chunk)
            texts += [_cut(answer[0].text, request.stop) for request, answer in zip(chunk, answers, strict=True)]
            self._progress("answers", len(texts), len(requests))
        return texts

    def _request(self, texts: tuple[str, str] | None, context: list[int], continuation: list[int]) -> LoglikRequest:
        if not context or not 0 < len(continuation) <= self.max_length:
            raise HarnessError(
                f"cannot score {len(continuation)} tokens after {len(context)}: expected at least one of each"
                f" and at most {self.max_length} to score"
            )
        room = self.max_length + 1 - len(continuation)  # the last token is predicted, never fed
        if len(context) > room and texts is not None:
            self.clipped.add(texts[0])
        return LoglikRequest(tuple(context[-room:]), tuple(continuation))

    def _score(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        """Score in chunks of contexts, longest first (so that a chunk pads little and time left is over-estimated)."""
        scorer = able_to("loglik", self.aligned, by="lm-eval")
        by_context: dict[tuple[int, ...], list[int]] = {}
        for index, request in enumerate(requests):
            by_context.setdefault(request.context, []).append(index)
        contexts = sorted(by_context, key=lambda ids: (-len(ids), ids))
        results: dict[int, Loglik] = {}
        for start in range(0, len(contexts), CONTEXTS_PER_CALL):
            chunk = [index for ids in contexts[start : start + CONTEXTS_PER_CALL] for index in by_context[ids]]
            results.update(zip(chunk, scorer.loglik([requests[index] for index in chunk]), strict=True))
            self._progress("answers", len(results), len(requests))
        return [finite(results[index]) for index in range(len(requests))]

    def _choose(self, requests: Sequence[Encoded]) -> list[Loglik]:
        """One closed question per context; `is_greedy` marks the likeliest of its continuations."""
        chooser = able_to("choose", self.aligned, by="lm-eval")
        by_context: dict[str, list[int]] = {}
        for index, (texts, _context, _continuation) in enumerate(requests):
            by_context.setdefault("" if texts is None else texts[0], []).append(index)
        results: dict[int, Loglik] = {}
        contexts = list(by_context.items())
        for start in range(0, len(contexts), CONTEXTS_PER_CALL):
            chunk = contexts[start : start + CONTEXTS_PER_CALL]
            asked = [_closed_question([requests[index] for index in indices]) for _, indices in chunk]
            for (_, indices), logprobs in zip(chunk, chooser.choose(asked), strict=True):
                top = max(logprobs)
                for index, value in zip(indices, logprobs, strict=True):
                    results[index] = Loglik(value, len(requests[index][2]), value == top)
            self._progress("answers", len(results), len(requests))
        return [finite(results[index]) for index in range(len(requests))]

    def _generation(self, context: str, settings: Mapping[str, Any]) -> GenerateRequest:
        from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

        wanted: dict[str, Any] = {**normalize_gen_kwargs(dict(settings), DEFAULT_NEW_TOKENS)}
        stop = handle_stop_sequences(wanted.pop("until"), eos=self.tokenizer.decode(self.eot_token_id))
        tokens, sampled = int(wanted.pop("max_gen_toks")), bool(wanted.pop("do_sample"))
        temperature, top_p = float(wanted.pop("temperature", 1.0)), float(wanted.pop("top_p", 1.0))
        if wanted:
            raise HarnessError(f"lm-eval asks for {sorted(wanted)}; of sampling, only temperature and top_p can be set")
        self._note_clipping(context, self.max_length - tokens)
        return GenerateRequest(
            context=context,
            max_new_tokens=tokens,
            stop=tuple(stop),
            temperature=temperature if sampled else 0.0,
            top_p=top_p if sampled else 1.0,
            seed=self._seed,
        )

    @staticmethod
    def _distinct(requests: Sequence[GenerateRequest]) -> list[GenerateRequest]:
        """The same requests; of equal ones (a task's repeats) every further one has the next seed."""
        seen: Counter[GenerateRequest] = Counter()
        out: list[GenerateRequest] = []
        for request in requests:
            out.append(replace(request, seed=request.seed + seen[request]) if request.temperature else request)
            seen[request] += 1
        return out

    def _note_clipping(self, context: str, room: int) -> None:
        """Remember a prompt that `Aligned.generate` will clip on the left to make room for the new tokens."""
        if room <= 0:
            raise HarnessError(f"no room for a prompt: the new tokens leave {room} of the model's {self.max_length}")
        if len(self.tok_encode(context)) > room:
            self.clipped.add(context)


def _closed_question(requests: Sequence[Encoded]) -> ChooseRequest:
    """The choice among the continuations of one context."""
    texts = [texts for texts, _context, _continuation in requests if texts is not None]
    if len(texts) < len(requests) or len(texts) < 2:
        raise HarnessError(
            "the model can choose but not score one text by itself (its capabilities lack loglik); "
            "a task with two or more continuations per context was expected"
        )
    continuations = tuple(continuation for _context, continuation in texts)
    return ChooseRequest(prompt=user(texts[0][0]), labels=continuations, options=continuations)


def finite(result: Loglik) -> Loglik:
    """The result itself. Raises FloatingPointError when its log-probability is not a finite number."""
    if not math.isfinite(result.total):
        raise FloatingPointError(
            f"log-probability {result.total} of {result.tokens} tokens: the model's output is broken"
        )
    return result


@contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval from logging and from drawing bars of its own: progress is the harness's to show."""
    import lm_eval.api.model as model_module
    import lm_eval.api.task as task_module

    logger = logging.getLogger("lm_eval")
    before = logger.level, model_module.tqdm, task_module.tqdm
    try:
        logger.setLevel(logging.ERROR)
        model_module.tqdm = task_module.tqdm = _no_bar
        yield
    finally:
        logger.setLevel(before[0])
        model_module.tqdm, task_module.tqdm = before[1:]


def _no_bar(items: Iterable[Item], **_: Any) -> Iterable[Item]:
    return items


def _cut(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        if stop:
            text = text.split(stop, maxsplit=1)[0]
    return text


def _sample(entries: Sequence[Mapping[str, Any]], task: Any, model: Any) -> Sample:
    """One document, from its entries: one for each filter."""
    first = entries[0]
    pairs = [tuple(arguments[:2]) for arguments in first["arguments"]]
    choices = task.doc_to_choice(first["doc"]) if task.OUTPUT_TYPE == "multiple_choice" else ()
    listed = pairs[: len(choices)]
    alike = len({context for context, _ in listed}) <= 1  # where choices differ in the context, they are the texts
    texts = [pair[1] for pair in listed] if alike else choices
    options = tuple(_option(model.scored[pair], text) for pair, text in zip(listed, texts, strict=True))
    generated = task.OUTPUT_TYPE == "generate_until"
    filtered = {str(entry["filter"]): _text(entry["filtered_resps"][0]) for entry in entries} if generated else {}
    prompt = str(pairs[0][0])
    return Sample(
        id=str(first["doc"].get("id", first["doc_id"])),
        prompt=prompt,
        options=options,
        metrics=_metrics(entries, task),
        target=first["target"],
        answer=choices[likeliest(options)] if choices else next(iter(filtered.values()), ""),
        filtered=filtered,
        output=_text(first["resps"][0][0]) if generated else None,
        clipped=prompt in model.clipped,
    )


def _text(response: Any) -> str:
    """A response as text: filters may leave a list where several answers were drawn."""
    return response if isinstance(response, str) else str(response)


def _metrics(entries: Sequence[Mapping[str, Any]], task: Any) -> dict[str, float]:
    """Every metric of one document as a number of which more is better; what gives no number is left out."""
    rising, found = task.higher_is_better(), {}
    for entry in entries:
        for metric in entry["metrics"]:
            value = _value(task.aggregation().get(metric), entry[metric])
            up = rising.get(metric) is not False
            if value is not None:
                found[_metric_name(metric, entry["filter"], len(entries), up)] = value if up else -value
    return found


def _value(aggregate: Any, value: Any) -> float | None:
    """lm-eval's aggregate of one document, which for a mean is the value itself; None where it is no finite number."""
    if _is_number(value) and (aggregate is None or getattr(aggregate, "__name__", "") in ("mean", "nanmean")):
        return float(value)
    if aggregate is None:
        return None
    try:
        number = aggregate([value])
    except Exception:  # corpus metrics refuse single documents in as many ways as there are libraries
        return None
    return float(number) if _is_number(number) else None


def _is_number(value: Any) -> bool:
    """Whether it is a finite number (numpy's, truth values and integers included)."""
    try:
        return not isinstance(value, str) and math.isfinite(value)
    except TypeError:
        return False


def _option(result: Loglik, text: str) -> Option:
    return Option(text=text, total=result.total, tokens=result.tokens, is_greedy=result.is_greedy)


def _splits(config: Mapping[str, Any], rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """In-memory data sets for every split that the config names; nothing is written to a cache."""
    named = [config.get(f"{role}_split") for role in ("training", "validation", "test", "fewshot")]
    named.append((config.get("fewshot_config") or {}).get("split"))
    names = {*rows, *(str(name) for name in named if name)}
    return {split: _data_set(rows.get(split, ())) for split in names}


def _data_set(rows: Sequence[Row]) -> Any:
    """Rows as a data set of the library that lm-eval reads; one of that library's stays what it is."""
    from datasets import Dataset

    return rows if isinstance(rows, Dataset) else Dataset.from_list([dict(row) for row in rows])
