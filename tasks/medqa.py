"""MedQA (USMLE, four options): accuracy by lm-eval's stock task, and preference accuracy on the pool's held-out pairs.

Prompts are those of `medqa_4options`, byte for byte; this module only brings rows into that task's data format. With
few-shot prompts, demonstrations are the first of the cell's own labelled pairs, as stock documents with their gold
letter; on track `parity` they are the first rows of the training split, as `lm_eval` takes them with sampler `first_n`.

Jin et al. 2020, "What Disease does this Patient Have?", arXiv:2009.13081; data MIT.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from harness.contracts import (
    Aligned,
    Capability,
    Dataset,
    EvalContext,
    HarnessError,
    Pair,
    SampleRow,
    Scores,
    Source,
    Task,
)
from harness.hookspecs import hookimpl
from harness.text import content_hash, normalise
from tasks.lm_eval_bridge import Option, Sample, evaluate_task, likeliest, stock_text
from tasks.preference import METRICS, Margin, accuracies, base_margins, base_of, controls, margins

STOCK_TASK = "medqa_4options"
STOCK_FOLDER = "medqa"
DATASET = Dataset(folder="medqa", hub="GBaker/MedQA-USMLE-4-options")
LETTERS = ("A", "B", "C", "D")
ANSWERS: frozenset[Capability] = frozenset({"choose", "loglik"})
"""Either is enough to answer a question."""

Row = Mapping[str, Any]
Document = dict[str, Any]
Judged = tuple[Margin, dict[str, float]]


class MedQA:
    """Four-option medical questions; the model's answer is the letter it finds likeliest."""

    name: ClassVar[str] = "medqa"
    paper: ClassVar[str] = "2009.13081"
    licence: ClassVar[str] = "MIT"
    main_metric: ClassVar[str] = "acc"
    metrics: ClassVar[Mapping[str, str]] = {
        "acc": "share of questions whose gold letter has the highest log-probability",
        "acc_norm": "the same, log-probability per character of the option as lm-eval defines it",
        **METRICS,
    }
    default_pool: ClassVar[str] = "medqa"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    """`loglik` or, where a model lacks it, `choose`: asked for in `evaluate`, since `needs` can say "all of" only."""

    def revision(self, source: Source) -> str:
        """Hash of the evaluation rows as the stock task sees them, and of the stock task's own files."""
        return content_hash(list(documents(source, "eval").values()), stock_text(STOCK_FOLDER))

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """Vignette and question of every evaluated item, without its options."""
        return {item: str(entry["sent1"]) for item, entry in documents(source, "eval", limit).items()}

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per question, with its held-out pair where there is one; other held-out pairs get rows of their own.

        Preference metrics are absent when the pool has no held-out pairs or the model cannot score them; those of
        log-probabilities are absent for a model that has none. Raises HarnessError when the model can neither score
        continuations (`loglik`) nor choose among them (`choose`).
        """
        if not aligned.capabilities & ANSWERS:
            offered = ", ".join(sorted(aligned.capabilities)) or "nothing"
            raise HarnessError(
                f"medqa asks for {' or '.join(sorted(ANSWERS))}; the model's capabilities are: {offered}"
            )
        items = documents(ctx.source, "eval", ctx.limit)
        answers = {sample.id: sample for sample in _answers(aligned, ctx, items)}
        pairs, owners = _held_out(aligned, ctx, items)
        base = base_margins(ctx.base)
        judged = [(m, accuracies(m, base_of(m, base))) for m in margins(aligned, pairs, ctx.progress)]
        owned: dict[str, list[Judged]] = {item: [] for item in items}
        loose: list[SampleRow] = []
        for pair, (margin, values) in zip(pairs, judged, strict=True):
            if pair.id in owners:
                owned[owners[pair.id]].append((margin, values))
            else:
                detail = {"preferences": [margin.as_detail()]}
                loose.append(SampleRow(f"pair:{pair.id}", pair.unit, values, detail))
        rows = [_row(item, answers[item], owned[item]) for item in items]
        notes = {"chance": 1 / len(LETTERS), **(controls(ctx.training_pairs, pairs) if pairs else {})}
        return Scores((*rows, *loose), notes)


def document(row: Row, identity: str) -> Document:
    """A row in the format of the stock task's data set (`GBaker/MedQA-USMLE-4-options-hf`).

    Raises HarnessError naming the row when it has no question, not exactly the options A to D, or no gold letter.
    """
    question, options, gold = row.get("question"), row.get("options"), row.get("answer_idx")
    if not question or not isinstance(options, Mapping) or set(options) != set(LETTERS) or gold not in LETTERS:
        raise HarnessError(f"medqa row {identity!r} is malformed: expected question, options A to D and answer_idx")
    endings = {f"ending{index}": str(options[letter]) for index, letter in enumerate(LETTERS)}
    return {"id": identity, "sent1": str(question), "sent2": "", **endings, "label": LETTERS.index(gold)}


def row_ids(rows: Sequence[Row]) -> list[str]:
    """The rows' own ids; where a row has none, a hash of its question and options, numbered when it occurs again."""
    seen: dict[str, int] = {}
    ids: list[str] = []
    for row in rows:
        identity = str(row["id"]) if "id" in row else content_hash(row.get("question"), row.get("options"))[:16]
        count = seen[identity] = seen.get(identity, 0) + 1
        ids.append(identity if count == 1 else f"{identity}.{count}")
    return ids


def documents(source: Source, split: str, limit: int | None = None) -> dict[str, Document]:
    """Stock documents of a split's first `limit` rows, by id, in order."""
    rows = source.rows(DATASET, split)[:limit]
    return {identity: document(row, identity) for identity, row in zip(row_ids(rows), rows, strict=True)}


def _answers(aligned: Aligned, ctx: EvalContext, items: Mapping[str, Document]) -> tuple[Sample, ...]:
    """Run the stock task. Raises HarnessError when there are fewer demonstrations than asked for."""
    parity = ctx.track == "parity"
    train = list(documents(ctx.source, "pool").values()) if parity and ctx.num_fewshot else []
    return evaluate_task(
        aligned,
        STOCK_TASK,
        {"train": train, "test": list(items.values())},
        num_fewshot=ctx.num_fewshot,
        fewshot_rows=None if parity else _demonstrations(ctx),
        folder=STOCK_FOLDER,
        seed=ctx.seed,
        progress=ctx.progress,
    )


def _demonstrations(ctx: EvalContext) -> list[Document]:
    """The first `num_fewshot` of the cell's labelled pairs, as stock documents."""
    shown = ctx.demonstrations[: ctx.num_fewshot]
    if not shown:
        return []
    known = documents(ctx.source, "pool")
    owners = match(shown, known)
    missing = [pair.id for pair in shown if pair.id not in owners]
    if missing:
        raise HarnessError(
            f"demonstration {missing[0]!r} is no row of medqa's training split; few-shot prompts need the pool medqa"
        )
    return [known[owners[pair.id]] for pair in shown]


def _held_out(aligned: Aligned, ctx: EvalContext, items: Mapping[str, Document]) -> tuple[list[Pair], dict[str, str]]:
    """Held-out pairs within the limit, and which item each belongs to (those of another data set to none)."""
    if ctx.pool is None or "prefer" not in aligned.capabilities:
        return [], {}
    pairs = list(ctx.pool.pairs(ctx.source, "eval"))
    owners = match(pairs, items)
    if ctx.pool.dataset.folder == DATASET.folder:
        return [pair for pair in pairs if pair.id in owners], owners
    return pairs[: ctx.limit], owners


def match(pairs: Iterable[Pair], items: Mapping[str, Document]) -> dict[str, str]:
    """Ids of the documents that the pairs ask about, by pair id.

    A pair belongs to a document when the document's question stands in its prompt; of several, to the one whose id it
    bears. Pairs that belong to none are left out.
    """
    questions = {identity: normalise(str(entry["sent1"])) for identity, entry in items.items()}
    owners: dict[str, str] = {}
    for pair in pairs:
        prompt = normalise(" ".join(message.content for message in pair.prompt))
        named = [identity for identity in (pair.unit, pair.id) if identity in questions]
        found = next((identity for identity in (*named, *questions) if questions[identity] in prompt), None)
        if found is not None:
            owners[pair.id] = found
    return owners


def _row(item: str, sample: Sample, preferences: Sequence[Judged]) -> SampleRow:
    values = dict(sample.metrics)
    for metric in METRICS:
        found = [metrics[metric] for _, metrics in preferences if metric in metrics]
        if found:
            values[metric] = sum(found) / len(found)
    detail = {
        "prompt": sample.prompt,
        "answer": LETTERS[likeliest(sample.options)],
        "gold": LETTERS[int(sample.target)],
        "options": {letter: _figures(option) for letter, option in zip(LETTERS, sample.options, strict=True)},
        "clipped": sample.clipped,
        "preferences": [margin.as_detail() for margin, _ in preferences],
    }
    return SampleRow(id=item, unit=item, values=values, detail=detail)


def _figures(option: Option) -> dict[str, Any]:
    return {"logprob": option.total, "tokens": option.tokens, "greedy": option.is_greedy}


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [MedQA]
