"""Score against cost: which rows no other row beats in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from leaderboards.table import Cost, Table


@dataclass(frozen=True, slots=True)
class Axis:
    """A cost that scores are held against."""

    name: str
    title: str
    of: Callable[[Cost], float]
    counted: bool = False
    """Whether the cost is a number of things, so that half of one means nothing."""


AXES = (
    Axis("labels", "labels bought", lambda cost: cost.labels + cost.auxiliary_labels, counted=True),
    Axis("flops", "TFLOPs of the fit", lambda cost: cost.flops / 1e12),
    Axis("seconds", "seconds in all", lambda cost: cost.total_seconds),
    Axis("memory", "GiB of memory at the peak", lambda cost: cost.peak_memory_bytes / 2**30),
)


def money(price: float) -> Axis:
    """What a run costs on a machine of so much an hour, in the price's own currency."""
    return Axis("money", f"money, at {price:g} an hour", lambda cost: cost.total_seconds / 3600 * price)


def axes(price: float | None) -> tuple[Axis, ...]:
    """The costs of a table; money only where somebody said what an hour costs."""
    return AXES if price is None else (*AXES, money(price))


def costs_and_scores(table: Table, axis: Axis) -> dict[str, tuple[float, float]]:
    """(cost, score) of every row with a score that is no degenerate one."""
    metric = table.setting.main_metric
    return {
        row.label: (axis.of(row.cost), row.metrics[metric].score.mean)
        for row in table.rows
        if row.cost is not None and metric in row.metrics and not row.degenerate
    }


def front(points: Mapping[str, tuple[float, float]], *, falling: bool = False) -> list[str]:
    """Names that no other beats: none is as cheap and better, or cheaper and as good. By rising cost.

    `falling` says that less of the score is better.
    """
    if falling:
        return front({name: (cost, -score) for name, (cost, score) in points.items()})
    kept = [name for name, mine in points.items() if not any(_beats(other, mine) for other in points.values())]
    return sorted(kept, key=lambda name: points[name])


def _beats(other: tuple[float, float], mine: tuple[float, float]) -> bool:
    return other[0] <= mine[0] and other[1] >= mine[1] and other != mine


def unbeaten(table: Table, price: float | None = None) -> Mapping[str, Sequence[str]]:
    """Per row, the costs by whose measure it is on the front."""
    found: dict[str, list[str]] = {row.label: [] for row in table.rows}
    for axis in axes(price):
        for name in front(costs_and_scores(table, axis), falling=table.setting.main_metric in table.lower_is_better):
            found[name].append(axis.name)
    return found
