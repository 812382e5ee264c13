"""Held-out pairs beside the items of one of lm-eval's tasks: preference accuracy in the row of the item that is asked.

The pairs are those of the pool that a cell trains on. A pair that asks none of the items has a row of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.contracts import Aligned, EvalContext, HarnessError, Pair, Prefers, SampleRow
from harness.util.words import normalise
from tasks.lm_eval.bridge import Option, Sample, likeliest
from tasks.measures.preference import METRICS, Margin, accuracies, base_margins, base_of, controls, margins

Judged = tuple[Margin, dict[str, float]]


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


def sample_row(
    item: str,
    sample: Sample,
    judged: Sequence[Judged],
    answer: Mapping[str, Any],
    readings: Mapping[str, float] | None = None,
) -> SampleRow:
    """The row of one item: lm-eval's metrics, `readings` of ours, the mean of each preference metric over its pairs."""
    values = {**sample.metrics, **(readings or {})}
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
