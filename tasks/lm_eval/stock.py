"""Tasks that score a public data set by one of lm-eval's stock tasks.

A `Stock` says which stock task it is and how a row of the data set becomes one of that task's documents; the prompts
and metrics are then lm-eval's. `StockChoice` and `StockProblem` are the tasks: a file for each data set sets their
constants. Preference accuracy on the held-out pairs of the pool that a cell trains on stands beside
(`tasks.lm_eval.held_out`).

Few-shot prompts show the first of the cell's own labelled pairs, as stock documents with their gold answers; on track
`parity` the first rows of the training split, or what the stock task itself brings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from harness.contracts import (
    Aligned,
    Capability,
    Dataset,
    EvalContext,
    Generates,
    HarnessError,
    SampleRow,
    Scores,
    Source,
    require,
)
from harness.util.hashes import content_hash
from tasks.datasets.closing import Closed, final_letter
from tasks.datasets.documents import Document, DocumentSet, Row
from tasks.lm_eval.bridge import Sample, evaluate_task
from tasks.lm_eval.catalogue import stock_text
from tasks.lm_eval.held_out import chosen, generated, match, preferences, sample_row
from tasks.measures import closing_lines
from tasks.measures.closing_lines import Found
from tasks.measures.preference import RELATIVE
from tasks.measures.rotations import figures, shares

CHOOSING: frozenset[Capability] = frozenset({"choose", "loglik"})
"""Either is enough to answer a question with given options."""

LETTERS_BY = "place"
"""What an option's letter follows from, in the revision of rows that name an option twice."""

Describe = Callable[[Sample], dict[str, Any]]
Read = Callable[[str, Document], dict[str, float]]
"""Further metrics of a generated text."""


@dataclass(frozen=True, slots=True)
class Stock:
    """How a data set is scored by one of lm-eval's tasks."""

    task: str
    folder: str
    """Where lm-eval keeps the task, below its task folder."""
    data: DocumentSet
    split: str = "test"
    """The stock task's split that is evaluated."""
    closed: Callable[[Row], Closed] | None = None
    """A row of the data set as a closed question, where it is one."""
    found: Callable[[str], str | None] = final_letter
    """Which option the closing line of a written answer names, by its letter or in its words: the pool's verifier."""

    @property
    def name(self) -> str:
        """The data set's name, for messages."""
        return self.data.dataset.folder


class StockTask:
    """What the tasks of this module share: a file sets the constants, and `stock` says what is asked."""

    name: ClassVar[str]
    paper: ClassVar[str]
    licence: ClassVar[str]
    main_metric: ClassVar[str]
    metrics: ClassVar[Mapping[str, str]]
    relative_to_base: ClassVar[frozenset[str]] = RELATIVE
    default_pool: ClassVar[str]
    dataset: ClassVar[Dataset]
    stock: ClassVar[Stock]

    def revision(self, source: Source) -> str:
        """Hash of the evaluation rows as the stock task sees them, and of the stock task's own files."""
        documents = self.stock.data.documents(source, "eval")
        return content_hash(list(documents.values()), stock_text(self.stock.folder))

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """The bare question of every evaluated item, by id: without options, without an abstract."""
        return self.stock.data.texts(self.stock.data.documents(source, "eval", limit))


class StockChoice(StockTask):
    """Questions with given answers, `labels`; the model's answer is the likeliest of them."""

    labels: ClassVar[tuple[str, ...]]
    graded_metrics: ClassVar[frozenset[str]] = frozenset({"p_gold"})
    requires: ClassVar[frozenset[Capability]] = frozenset()
    accepts: ClassVar[frozenset[Capability]] = CHOOSING
    parity_metric: ClassVar[str] = "acc"
    written_metrics: ClassVar[frozenset[str]] = frozenset(closing_lines.METRICS)

    def revision(self, source: Source) -> str:
        """That of every stock task; where an option stands twice in a question, another.

        Letters followed an option's text once, so that two of the same text had one letter. Such figures must not stand
        in a table with those of today.
        """
        found = super().revision(source)
        read = self.stock.closed
        options = [read(row).options for row in self.stock.data.rows(source, "eval")] if read is not None else []
        return content_hash(found, LETTERS_BY) if any(len(set(texts)) < len(texts) for texts in options) else found

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per question: scored as trained (`tasks.measures.rotations`), and as lm-eval does.

        Where it is asked for, a model that can write also writes its answer (`tasks.measures.closing_lines`). On track
        `parity` lm-eval's metrics stand alone. Raises HarnessError when the model can neither score continuations
        (`loglik`) nor choose among them (`choose`).
        """
        require(aligned, *CHOOSING, by=self.name)
        scores = evaluate(self.stock, aligned, ctx, lambda sample: chosen(sample, self.labels), notes=self.notes(ctx))
        return scores if ctx.track == "parity" else self._as_trained(scores, aligned, ctx)

    def _as_trained(self, scores: Scores, aligned: Aligned, ctx: EvalContext) -> Scores:
        """The same rows with the metrics of the form in which the model was trained."""
        read = self.stock.closed
        evaluated = self.stock.data.rows(ctx.source, "eval")[: ctx.limit]
        asked = {str(row["id"]): read(row) for row in evaluated} if read is not None else {}
        rows = _with(scores.rows, _shared(aligned, asked))
        if ctx.generate and isinstance(aligned, Generates):
            rows = _with(rows, closing_lines.answers(aligned, asked, self.stock.found, ctx.new_tokens, ctx.progress))
        return replace(scores, rows=rows)

    def notes(self, ctx: EvalContext) -> dict[str, float]:
        """Figures of the data: what a blind guess scores."""
        return {"chance": 1 / len(self.labels)}


class StockProblem(StockTask):
    """Problems that are answered in free text; lm-eval's filters find the answer in it."""

    requires: ClassVar[frozenset[Capability]] = frozenset({"generate"})
    accepts: ClassVar[frozenset[Capability]] = frozenset()

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per problem, the generated text under `output`; see `evaluate` below."""
        return evaluate(self.stock, aligned, ctx, generated, read=self.readings)

    def readings(self, output: str, document: Document) -> dict[str, float]:
        """Metrics of ours beside lm-eval's, from the generated text."""
        return {}


def _shared(aligned: Aligned, asked: Mapping[str, Closed]) -> dict[str, Found]:
    """Each question's shares and their metrics, by id; nothing for a model that ranks no closing lines."""
    found = shares(aligned, list(asked.values())) or []
    return {
        identity: (figures(share, question.gold), {"shares": dict(zip(question.named(), share, strict=True))})
        for (identity, question), share in zip(asked.items(), found, strict=bool(found))
    }


def _with(rows: Sequence[SampleRow], found: Mapping[str, Found]) -> tuple[SampleRow, ...]:
    """The rows with what was found of their questions; a held-out pair of another question stays as it is."""
    nothing: Found = ({}, {})
    more = [found.get(row.id, nothing) for row in rows]
    return tuple(
        replace(row, values={**row.values, **values}, detail={**row.detail, **detail})
        for row, (values, detail) in zip(rows, more, strict=True)
    )


# ---------------------------------------------------------------- answers


def evaluate(
    stock: Stock,
    aligned: Aligned,
    ctx: EvalContext,
    describe: Describe,
    *,
    read: Read = lambda output, document: {},
    notes: Mapping[str, float] | None = None,
) -> Scores:
    """One row per item, with its held-out pair where there is one; other held-out pairs get rows of their own.

    `describe` turns a sample into the answer's part of a row's detail; `notes` are figures of the data. Preference
    metrics are absent when the pool has no held-out pairs or the model cannot say what it prefers; those of
    log-probabilities are absent for a model that has none. Raises HarnessError for too few demonstrations.
    """
    items = stock.data.documents(ctx.source, "eval", ctx.limit)
    samples = {sample.id: sample for sample in _answers(stock, aligned, ctx, items)}
    owned, loose, figures = preferences(aligned, ctx, stock.data.texts(items), stock.data.dataset.folder)
    rows = [
        sample_row(item, sample, owned[item], describe(sample), read(sample.output or "", document))
        for item, document in items.items()
        for sample in (samples[item],)
    ]
    return Scores((*rows, *loose), {**(notes or {}), **figures})


def _answers(stock: Stock, aligned: Aligned, ctx: EvalContext, items: Mapping[str, Document]) -> tuple[Sample, ...]:
    """Run the stock task. Raises HarnessError when there are fewer demonstrations than asked for."""
    parity, trained = ctx.track == "parity", "pool" in stock.data.dataset.splits
    train = list(stock.data.documents(ctx.source, "pool").values()) if parity and trained and ctx.num_fewshot else []
    return evaluate_task(
        aligned,
        stock.task,
        {"train": train, stock.split: list(items.values())},
        num_fewshot=ctx.num_fewshot,
        fewshot_rows=None if parity else _demonstrations(stock, ctx),
        folder=stock.folder,
        seed=ctx.seed,
        progress=ctx.progress,
    )


def _demonstrations(stock: Stock, ctx: EvalContext) -> list[Document]:
    """The first `num_fewshot` of the cell's labelled pairs, as stock documents."""
    shown = ctx.demonstrations[: ctx.num_fewshot]
    if not shown:
        return []
    if "pool" not in stock.data.dataset.splits:
        raise HarnessError(f"{stock.name} has no training split: few-shot prompts are for track parity only")
    known = stock.data.documents(ctx.source, "pool")
    owners = match(shown, stock.data.texts(known))
    missing = [pair.id for pair in shown if pair.id not in owners]
    if missing:
        raise HarnessError(
            f"demonstration {missing[0]!r} is no row of {stock.name}'s training split; "
            f"few-shot prompts need the pool {stock.name}"
        )
    return [known[owners[pair.id]] for pair in shown]
