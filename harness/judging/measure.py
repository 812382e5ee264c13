"""Measuring a judge on pairs that people labelled: agreement, biases, consistency, and what a constant answer wins."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean

from harness.contracts import HarnessError, Judge, JudgeItem, Verdict
from harness.judging.calibration import Figures
from harness.records.schema import Score
from harness.stats import mean_interval
from harness.util.hashes import content_hash

SUBSET = 64
"""Pairs, from the first on, that are judged again: second run, null model, and (unless it shows both) other order."""


TIE = 1e-6
"""P(a better) this close to 0.5 is a tie."""


NULL_ANSWER = (
    "Thank you for your question. This is an interesting and important topic, and there are many things to consider. "
    "The best answer depends on your situation, so please look at reliable sources or ask an expert for details."
)
"""Says nothing about anything: the null model gives it to every instruction."""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two answers and which of them people prefer: `better` is 1 for a, 0 for b, 0.5 for a tie."""

    item: JudgeItem
    better: float
    unit: str
    """The instruction, of which several pairs may stem; intervals resample it."""


Judged = list[tuple[LabelledPair, Verdict]]


def revision(pairs: Sequence[LabelledPair]) -> str:
    """Hash of the pairs and their labels."""
    return content_hash([asdict(pair) for pair in pairs])


def measure(judge: Judge, again: Judge, pairs: Sequence[LabelledPair], *, subset: int = SUBSET) -> Figures:
    """All figures of a judge on `pairs`; `again` is the same judge with an empty cache.

    Raises HarnessError without pairs, or when the judge does not give one verdict per item.
    """
    if not pairs:
        raise HarnessError("there are no labelled pairs to measure the judge on; at least one was expected")
    started = time.monotonic()
    verdicts = _compare(judge, [pair.item for pair in pairs])
    seconds = time.monotonic() - started
    judged = _answered(pairs, verdicts)
    figures = Figures(
        pairs=len(pairs),
        answered=len(judged),
        statuses=dict(Counter(verdict.status for verdict in verdicts if verdict.status != "ok")),
        tokens=sum(verdict.tokens for verdict in verdicts),
        cost=sum(verdict.cost for verdict in verdicts),
        seconds=seconds,
    )
    if not judged:
        return figures
    first = judged[:subset]
    return figures.model_copy(
        update={
            **_agreement(judged),
            **_lengths(judged),
            **_positions(judge, judged, first),
            **_consistency(again, first),
            "ties": _share((float(side(v.p_a) == 0.5), p.unit) for p, v in judged),
            "null_win_rate": _null(judge, [pair for pair, _ in judged if pair.better != 0.5][:subset]),
        }
    )


def side(p_a: float) -> float:
    """The verdict that a probability stands for: 1 for a, 0 for b, 0.5 for a tie."""
    return 0.5 if abs(p_a - 0.5) < TIE else float(p_a > 0.5)


def _agreement(judged: Judged) -> dict[str, Score | None]:
    decided = [(pair, verdict) for pair, verdict in judged if pair.better != 0.5]
    with_ties = ((float(side(v.p_a) == p.better), p.unit) for p, v in judged)
    return {
        "agreement": _share((_agrees(side(v.p_a), p), p.unit) for p, v in decided),
        "agreement_with_ties": _share(with_ties) if len(decided) < len(judged) else None,
    }


def _agrees(verdict: float, pair: LabelledPair) -> float:
    return 1.0 - abs(verdict - pair.better)


def _lengths(judged: Judged) -> dict[str, Score | None]:
    """Both shares on the pairs that people decided and whose answers differ in length."""
    unequal = [(p, v) for p, v in judged if p.better != 0.5 and len(p.item.a) != len(p.item.b)]
    longer = [float(len(p.item.a) > len(p.item.b)) for p, _ in unequal]
    mine = [(1.0 - abs(side(v.p_a) - a), p.unit) for (p, v), a in zip(unequal, longer, strict=True)]
    people = [(1.0 - abs(p.better - a), p.unit) for (p, _), a in zip(unequal, longer, strict=True)]
    return {"longer": _share(mine), "longer_people": _share(people)}


def _positions(judge: Judge, judged: Judged, first: Judged) -> dict[str, object]:
    """How the verdict moves with the order: from the judge's own two orders, else from a run with changed places."""
    if all(len(verdict.per_order) == 2 for _, verdict in judged):
        both = [(pair, verdict.per_order) for pair, verdict in judged]
        return {**_moves(both), **_by_order(both)}
    swapped = _compare(judge, [replace(pair.item, a=pair.item.b, b=pair.item.a) for pair, _ in first])
    pairs = [(p, (v.p_a, 1.0 - s.p_a)) for (p, v), s in zip(first, swapped, strict=True) if s.status == "ok"]
    return _moves(pairs)


Orders = Sequence[tuple[LabelledPair, tuple[float, ...]]]


def _moves(both: Orders) -> dict[str, object]:
    return {
        "flips": _share((float(side(p[0]) != side(p[1])), pair.unit) for pair, p in both),
        "shift": fmean(abs(p[0] - p[1]) for _, p in both) if both else None,
    }


def _by_order(both: Orders) -> dict[str, object]:
    decided = [(pair, p) for pair, p in both if pair.better != 0.5]
    orders = [_share((_agrees(side(p[order]), pair), pair.unit) for pair, p in decided) for order in (0, 1)]
    stood_first = (((side(p[0]) + 1.0 - side(p[1])) / 2, pair.unit) for pair, p in both)
    return {"agreement_by_order": tuple(o for o in orders if o is not None), "first_position": _share(stood_first)}


def _consistency(again: Judge, first: Judged) -> dict[str, object]:
    repeated = _compare(again, [pair.item for pair, _ in reversed(first)])[::-1]
    runs = [(p, v, r) for (p, v), r in zip(first, repeated, strict=True) if r.status == "ok"]
    return {
        "consistency": _share((float(side(v.p_a) == side(r.p_a)), p.unit) for p, v, r in runs),
        "consistency_shift": max((abs(v.p_a - r.p_a) for _, v, r in runs), default=None),
    }


def _null(judge: Judge, pairs: Sequence[LabelledPair]) -> Score | None:
    """The constant answer against the better one, in either place by turns."""
    null_is_a = [index % 2 == 0 for index in range(len(pairs))]
    items = [_against_null(pair, mine) for pair, mine in zip(pairs, null_is_a, strict=True)]
    verdicts = _compare(judge, items)
    wins = [
        (side(v.p_a) if mine else 1.0 - side(v.p_a), pair.unit)
        for pair, v, mine in zip(pairs, verdicts, null_is_a, strict=True)
        if v.status == "ok"
    ]
    return _share(wins)


def _against_null(pair: LabelledPair, null_is_a: bool) -> JudgeItem:
    better = pair.item.a if pair.better == 1 else pair.item.b
    a, b = (NULL_ANSWER, better) if null_is_a else (better, NULL_ANSWER)
    return replace(pair.item, id=f"null:{pair.item.id}", a=a, b=b)


def _compare(judge: Judge, items: Sequence[JudgeItem]) -> list[Verdict]:
    verdicts = judge.compare(items) if items else []
    if len(verdicts) != len(items):
        raise HarnessError(
            f"judge {judge.name} gave {len(verdicts)} verdicts on {len(items)} items: one each was expected"
        )
    return verdicts


def _answered(pairs: Sequence[LabelledPair], verdicts: Sequence[Verdict]) -> Judged:
    return [(pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.status == "ok"]


def _share(counted: Iterable[tuple[float, str]]) -> Score | None:
    """Mean and interval of (value, unit); None for nothing."""
    values, units = [], []
    for value, unit in counted:
        values.append(value)
        units.append(unit)
    if not values:
        return None
    found = mean_interval(values, units)
    return Score(mean=found.mean, ci95=found.ci95, n=found.n)
