"""What the tasks share that score a public data set by one of lm-eval's stock tasks.

A task says in a `Stock` which stock task it is and how a row of its data set becomes one of that task's documents; the
prompts and metrics are then lm-eval's. Functions here join them with the held-out pairs of the pool that a cell trains
on: preference accuracy stands in the row of the item that a pair asks about, or in a row of its own.

Few-shot prompts show the first of the cell's own labelled pairs, as stock documents with their gold answers; on track
`parity` the first rows of the training split, or what the stock task itself brings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contracts import (
    Aligned,
    Capability,
    Dataset,
    EvalContext,
    HarnessError,
    Pair,
    Prefers,
    SampleRow,
    Scores,
    Source,
)
from harness.util.hashes import content_hash
from harness.util.words import normalise
from tasks.lm_eval_bridge import Option, Sample, evaluate_task, likeliest, stock_text
from tasks.measures.preference import METRICS, Margin, accuracies, base_margins, base_of, controls, margins

CHOOSING: frozenset[Capability] = frozenset({"choose", "loglik"})
"""Either is enough to answer a question with given options."""

Row = Mapping[str, Any]
Document = dict[str, Any]
Judged = tuple[Margin, dict[str, float]]
Describe = Callable[[Sample], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Stock:
    """How a task of ours is one of lm-eval's."""

    name: str
    """Our name, for messages."""
    task: str
    folder: str
    """Where lm-eval keeps the task, below its task folder."""
    dataset: Dataset
    document: Callable[[Row, str], Document]
    """A row and its id as a document; raises HarnessError naming a row that is malformed."""
    identity: Callable[[Row], str]
    """A row's own id, or a hash of what makes it this row."""
    question: str
    """Field of a document that holds the bare question."""
    split: str = "test"
    """The stock task's split that is evaluated."""


# ---------------------------------------------------------------- data


def documents(stock: Stock, source: Source, split: str, limit: int | None = None) -> dict[str, Document]:
    """Stock documents of a split's first `limit` rows, by id, in order."""
    rows = source.rows(stock.dataset, split)[:limit]
    return {identity: stock.document(row, identity) for identity, row in zip(row_ids(stock, rows), rows, strict=True)}


def row_ids(stock: Stock, rows: Iterable[Row]) -> list[str]:
    """The rows' ids, numbered where one occurs again."""
    return numbered(stock.identity(row) for row in rows)


def numbered(ids: Iterable[str]) -> list[str]:
    """The same ids; one that occurs again gets `.2`, `.3`, and so on."""
    seen: dict[str, int] = {}
    out: list[str] = []
    for identity in ids:
        count = seen[identity] = seen.get(identity, 0) + 1
        out.append(identity if count == 1 else f"{identity}.{count}")
    return out


def revision(stock: Stock, source: Source) -> str:
    """Hash of the evaluation rows as the stock task sees them, and of the stock task's own files."""
    return content_hash(list(documents(stock, source, "eval").values()), stock_text(stock.folder))


def questions(stock: Stock, source: Source, limit: int | None) -> dict[str, str]:
    """The bare question of every evaluated item, by id."""
    return {item: str(entry[stock.question]) for item, entry in documents(stock, source, "eval", limit).items()}


def match(pairs: Iterable[Pair], texts: Mapping[str, str]) -> dict[str, str]:
    """Which question each pair asks, by pair id; `texts` are the questions by id.

    A pair asks a question that stands in its prompt; of several, the one whose id it bears, else the first. Pairs that
    ask none are left out.
    """
    plain = {identity: normalise(text) for identity, text in texts.items()}
    owners: dict[str, str] = {}
    for pair in pairs:
        prompt = normalise(" ".join(message.content for message in pair.prompt))
        named = [identity for identity in (pair.unit, pair.id) if identity in plain]
        found = next((identity for identity in (*named, *plain) if plain[identity] in prompt), None)
        if found is not None:
            owners[pair.id] = found
    return owners


# ---------------------------------------------------------------- answers


def evaluate(
    stock: Stock, aligned: Aligned, ctx: EvalContext, describe: Describe, notes: Mapping[str, float] | None = None
) -> Scores:
    """One row per item, with its held-out pair where there is one; other held-out pairs get rows of their own.

    `describe` turns a sample into the answer's part of a row's detail; `notes` are figures of the data. Preference
    metrics are absent when the pool has no held-out pairs or the model cannot say what it prefers; those of log-
    probabilities are absent for a model that has none. Raises HarnessError for too few demonstrations.
    """
    items = documents(stock, ctx.source, "eval", ctx.limit)
    samples = {sample.id: sample for sample in _answers(stock, aligned, ctx, items)}
    texts = {item: str(entry[stock.question]) for item, entry in items.items()}
    owned, loose, figures = preferences(aligned, ctx, texts, stock.dataset.folder)
    rows = [sample_row(item, samples[item], owned[item], describe(samples[item])) for item in items]
    return Scores((*rows, *loose), {**(notes or {}), **figures})


def _answers(stock: Stock, aligned: Aligned, ctx: EvalContext, items: Mapping[str, Document]) -> tuple[Sample, ...]:
    """Run the stock task. Raises HarnessError when there are fewer demonstrations than asked for."""
    parity, trained = ctx.track == "parity", "pool" in stock.dataset.splits
    train = list(documents(stock, ctx.source, "pool").values()) if parity and trained and ctx.num_fewshot else []
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
    if "pool" not in stock.dataset.splits:
        raise HarnessError(f"{stock.name} has no training split: few-shot prompts are for track parity only")
    known = documents(stock, ctx.source, "pool")
    owners = match(shown, {item: str(entry[stock.question]) for item, entry in known.items()})
    missing = [pair.id for pair in shown if pair.id not in owners]
    if missing:
        raise HarnessError(
            f"demonstration {missing[0]!r} is no row of {stock.name}'s training split; "
            f"few-shot prompts need the pool {stock.name}"
        )
    return [known[owners[pair.id]] for pair in shown]


# ---------------------------------------------------------------- preferences


def preferences(
    aligned: Aligned, ctx: EvalContext, texts: Mapping[str, str], folder: str
) -> tuple[dict[str, list[Judged]], list[SampleRow], dict[str, float]]:
    """What the model says of the held-out pairs: by item, in rows of their own, and the controls beside them."""
    nothing: dict[str, list[Judged]] = {item: [] for item in texts}
    if not isinstance(aligned, Prefers):
        return nothing, [], {}
    pairs, owners = _held_out(ctx, texts, folder)
    if not pairs:
        return nothing, [], {}
    base = base_margins(ctx.base)
    judged = [(m, accuracies(m, base_of(m, base))) for m in margins(aligned, pairs, ctx.progress)]
    owned: dict[str, list[Judged]] = {item: [] for item in texts}
    loose: list[SampleRow] = []
    for pair, (margin, values) in zip(pairs, judged, strict=True):
        if pair.id in owners:
            owned[owners[pair.id]].append((margin, values))
        else:
            loose.append(SampleRow(f"pair:{pair.id}", pair.unit, values, {"preferences": [margin.as_detail()]}))
    return owned, loose, controls(ctx.training_pairs, pairs)


def _held_out(ctx: EvalContext, texts: Mapping[str, str], folder: str) -> tuple[list[Pair], dict[str, str]]:
    """Held-out pairs within the limit, and which item each belongs to (those of another data set to none).

    A pool of another data set of which the source has nothing, neither training nor held-out rows, gives none.
    """
    if ctx.pool is None:
        return [], {}
    same = ctx.pool.dataset.folder == folder
    try:
        pairs = list(ctx.pool.pairs(ctx.source, "eval"))
    except HarnessError:
        if same or ctx.training_pairs:
            raise
        return [], {}
    owners = match(pairs, texts)
    if same:
        return [pair for pair in pairs if pair.id in owners], owners
    return pairs[: ctx.limit], owners


# ---------------------------------------------------------------- rows


def sample_row(item: str, sample: Sample, judged: Sequence[Judged], answer: Mapping[str, Any]) -> SampleRow:
    """The row of one item: lm-eval's metrics, and the mean of each preference metric over the item's pairs."""
    values = dict(sample.metrics)
    for metric in METRICS:
        found = [figures[metric] for _, figures in judged if metric in figures]
        if found:
            values[metric] = sum(found) / len(found)
    detail = {"prompt": sample.prompt, **answer, "clipped": sample.clipped}
    detail["preferences"] = [margin.as_detail() for margin, _ in judged]
    return SampleRow(id=item, unit=item, values=values, detail=detail)


def chosen(sample: Sample, labels: Sequence[str]) -> dict[str, Any]:
    """A multiple-choice answer by the labels of its options."""
    gold = sample.target if isinstance(sample.target, str) else labels[int(sample.target)]
    options = {label: option_figures(option) for label, option in zip(labels, sample.options, strict=True)}
    return {"answer": labels[likeliest(sample.options)], "gold": gold, "options": options}


def generated(sample: Sample) -> dict[str, Any]:
    """A generated answer: the text under `output`, and what each filter of the stock task takes for the answer."""
    return {"output": sample.output, "answer": dict(sample.filtered), "gold": sample.target}


def option_figures(option: Option) -> dict[str, Any]:
    """The figures of one scored continuation."""
    return {"logprob": option.total, "tokens": option.tokens, "greedy": option.is_greedy}
