"""Learning curves: a score against the number of labels, and how many labels reach another method's score.

More labels are taken not to hurt on average, so the means at the budgets are made non-decreasing in log N (isotonic
least squares, Barlow et al. 1972). Between two budgets the curve is a straight line in log N. Draws and units are
resampled together, the same ones at every budget and for the target too: what they share cancels. Resampling both sides
of a crossed table counts the rest's variance more than once (Owen 2007, "The pigeonhole bootstrap"): intervals err on
the wide side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.contracts import HarnessError
from harness.stats.intervals import ALPHA, are_shares, by_unit, checked, expanded_tail, of_equal_units, same_items

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.stats.intervals import Floats

LEAST_BUDGETS = 5
"""A curve through fewer budgets says too little about where between them a score is reached."""
RESAMPLES = 2_000

Draws = Sequence[Mapping[str, float]]
"""Values by item, one mapping for each draw."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The isotonic mean at one budget, and a 95 % band over draws and units."""

    labels: int
    mean: float
    ci95: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Reached:
    """How many labels reach a target. `labels` is None where the curve's mean stays below it within the range."""

    labels: float | None
    ci95: tuple[float, float]
    """In labels; 0 stands for "fewer than the smallest budget" and infinity for "not within this range"."""
    below_range: float
    """Share of the resamples in which the smallest budget reaches the target already."""
    beyond_range: float
    """Share of the resamples in which no budget reaches it."""
    target: float


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Points in the order of their budgets."""

    points: tuple[CurvePoint, ...]
    n_draws: int
    n_units: int


def learning_curve(
    values: Mapping[int, Draws], units: Mapping[str, str], *, seed: int = 0, resamples: int = RESAMPLES
) -> LearningCurve:
    """The curve of one method: for each number of labels, its values in each draw, on the same items.

    Raises HarnessError for fewer than five budgets, for budgets with different numbers of draws, and for items that
    some of them lack.
    """
    budgets, cube, sizes = _cube(values, units)
    many = _resampled(cube, sizes, seed, resamples)
    centre = isotonic(_means(cube, sizes)[None])[0]
    curves = isotonic(many)
    _, n_draws, n_units = cube.shape
    shares = are_shares(cube / sizes)
    points = tuple(
        CurvePoint(n, float(c), _limits(float(c), float(a), float(b), n_units, shares=shares))
        for n, c, a, b in zip(budgets, centre, *_band(curves, n_draws), strict=True)
    )
    return LearningCurve(points, n_draws, n_units)


def labels_to_reach(
    values: Mapping[int, Draws], target: Draws, units: Mapping[str, str], *, seed: int = 0, resamples: int = RESAMPLES
) -> Reached:
    """With how many labels a method reaches the mean of `target`, another method's values in the same draws.

    Raises HarnessError as `learning_curve` does, and where the target has other draws or items.
    """
    budgets, cube, sizes = _cube(values, units)
    aim = _plane(target, units, cube.shape[1], next(iter(values.values()))[0])
    many = _resampled(np.concatenate([cube, aim[None]]), sizes, seed, resamples)
    found = crossings(isotonic(many[:, :-1]), many[:, -1], budgets)
    means = _means(np.concatenate([cube, aim[None]]), sizes)
    point = float(crossings(isotonic(means[None, :-1]), means[None, -1], budgets)[0])
    tail = _tail(cube.shape[1])
    low, high = np.quantile(found, [tail, 1 - tail], method="inverted_cdf")
    return Reached(
        labels=None if math.isinf(point) else max(point, float(budgets[0])),
        ci95=(float(min(low, point)), float(max(high, point))),
        below_range=float((found == 0).mean()),
        beyond_range=float(np.isinf(found).mean()),
        target=float(means[-1]),
    )


def isotonic(curves: Floats) -> Floats:
    """Non-decreasing least squares of each row (R, B): the largest over starts of the smallest mean over ends."""
    rows, width = curves.shape
    sums = np.concatenate([np.zeros((rows, 1)), np.cumsum(curves, axis=1)], axis=1)
    out = np.empty_like(curves)
    for place in range(width):
        starts, ends = np.arange(place + 1), np.arange(place + 1, width + 1)
        means = (sums[:, None, ends] - sums[:, starts, None]) / (ends[None, :] - starts[:, None])
        out[:, place] = means.min(axis=2).max(axis=1)
    return out


def crossings(curves: Floats, targets: Floats, budgets: NDArray[np.float64]) -> Floats:
    """Labels at which each row reaches its target, along straight lines in log N.

    0 where the smallest budget is above the target already, infinity where none reaches it.
    """
    logs = np.log(budgets)
    above = curves >= targets[:, None]
    first = np.argmax(above, axis=1)
    out = np.full(len(curves), np.inf)
    reached = above.any(axis=1)
    out[reached & (first == 0)] = 0.0
    inside = np.flatnonzero(reached & (first > 0))
    right = first[inside]
    low, high = curves[inside, right - 1], curves[inside, right]
    share = (targets[inside] - low) / (high - low)
    out[inside] = np.exp(logs[right - 1] + share * (logs[right] - logs[right - 1]))
    at_first = reached & (first == 0) & (curves[:, 0] == targets)
    out[at_first] = budgets[0]
    return out


def _cube(values: Mapping[int, Draws], units: Mapping[str, str]) -> tuple[NDArray[np.float64], Floats, Floats]:
    """Budgets (B,), sums by budget, draw and unit (B, D, U), and the number of items of each unit (U,)."""
    if len(values) < LEAST_BUDGETS:
        raise HarnessError(f"a learning curve needs {LEAST_BUDGETS} budgets or more, and {len(values)} were given")
    budgets = sorted(values)
    first = values[budgets[0]]
    planes = [_plane(values[n], units, len(first), first[0] if first else {}) for n in budgets]
    items = sorted(first[0])
    _, sizes = by_unit(np.ones(len(items)), [units[item] for item in items])
    return np.asarray(budgets, dtype=np.float64), np.stack(planes), sizes


def _plane(draws: Draws, units: Mapping[str, str], expected: int, like: Mapping[str, float]) -> Floats:
    """Sums by draw and unit (D, U)."""
    if not draws or len(draws) != expected:
        raise HarnessError(
            f"{expected} draws at every budget were expected, and one budget or the target has {len(draws)}"
        )
    for draw in draws:
        same_items(like, draw, units)
    items = sorted(like)
    labels = [units[item] for item in items]
    return np.vstack([by_unit(checked([draw[item] for item in items], labels), labels)[0] for draw in draws])


def _means(cube: Floats, sizes: Floats) -> Floats:
    return np.asarray(cube.mean(axis=1).sum(axis=1) / sizes.sum(), dtype=np.float64)


def _resampled(cube: Floats, sizes: Floats, seed: int, resamples: int) -> Floats:
    """Means (R, B) with draws and units drawn again; each resample takes the same ones at every budget."""
    rng = np.random.default_rng(seed)
    _, draws, width = cube.shape
    by_draw = rng.multinomial(draws, np.full(draws, 1 / draws), size=resamples) / draws
    by_column = rng.multinomial(width, np.full(width, 1 / width), size=resamples)
    sums = np.einsum("rd,bdu,ru->rb", by_draw, cube, by_column, optimize=True)
    return np.asarray(sums / (by_column @ sizes)[:, None], dtype=np.float64)


def _limits(mean: float, low: float, high: float, units: int, *, shares: bool) -> tuple[float, float]:
    """The band at one budget; where all units show the same there it has no width, and `of_equal_units` stands in."""
    if high - low <= 1e-12 and (wider := of_equal_units(mean, units, shares=shares)):
        return wider
    return min(low, mean), max(high, mean)


def _band(curves: Floats, draws: int) -> tuple[Floats, Floats]:
    tail = _tail(draws)
    low, high = np.quantile(curves, [tail, 1 - tail], axis=0)
    return low, high


def _tail(draws: int) -> float:
    """The plain one for a single draw, whose interval is over items alone."""
    return expanded_tail(draws) if draws > 1 else ALPHA / 2
