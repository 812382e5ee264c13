"""Draws crossed with units: what a study over several draws of labels says of new draws and new questions at once.

Every draw d is scored on the same units u, so a value has an effect of its draw, one of its unit, and a rest:

    y[d, u] = mu + a[d] + b[u] + e[d, u]

Both the draws and the units are samples of what could have been drawn and asked. The variance of the mean is
therefore s_a^2 / D + s_b^2 / U + s_e^2 / (D U), and an interval over units alone is too narrow by the first term. With
one training seed for each draw, s_a^2 is the sum of the variance over draws and that over seeds; nothing can tell the
two apart.

Components come from the mean squares of the two-way layout without replication, degrees of freedom from Satterthwaite
(1946), "An approximate distribution of estimates of variance components".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.contracts import HarnessError
from harness.stats.families import average_seeds
from harness.stats.intervals import ALPHA, are_equal, by_unit, checked, mean_interval, same_items
from harness.stats.paired import paired_tests

if TYPE_CHECKING:
    from harness.stats.intervals import Floats

ENOUGH_DRAWS = 6
"""Below so many draws their variance is hardly known: p then speaks of new questions for these very draws."""

Limits = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Components:
    """Variances of one value: of draws (with their training seeds), of units, and of the rest."""

    draws: float
    units: float
    rest: float


@dataclass(frozen=True, slots=True)
class Crossed:
    """A mean over draws and units. Differences of two methods are treated alike: their null value is 0."""

    mean: float
    ci95: tuple[float, float] | None
    """For new draws and new units; None below two draws or two units. Over units where no draw and no unit differs."""
    p: float
    """Two-sided p-value that the mean is 0; what it speaks of is `scope`."""
    scope: str
    """`new draws and new questions`, or `new questions for these draws` below `ENOUGH_DRAWS`."""
    degrees: float
    """Satterthwaite's degrees of freedom; 0 where there is no interval."""
    components: Components
    n_draws: int
    n_units: int


def crossed(
    values: Sequence[Mapping[str, float]], units: Mapping[str, str], *, seed: int = 0, inflation: float = 1.0
) -> Crossed:
    """Mean of `values`, one mapping from item to value for each draw, all with the same items.

    The mean is over items; units with several items weigh as many. `inflation` is the variance over that of independent
    units: `SHARED_BY_FOLDS` for cross-validated ones. Values that are equal on every draw and unit have no variance to
    go by; what so many equal units show is said by the interval over units. Raises HarnessError without draws, for
    items that only some draws have, and for an item without a unit.
    """

    def over_units() -> Limits:
        items = sorted(values[0])
        return mean_interval([values[0][i] for i in items], [units[i] for i in items], inflation=inflation).ci95

    return _crossed(values, units, over_units, seed=seed, inflation=inflation)


def _crossed(
    values: Sequence[Mapping[str, float]],
    units: Mapping[str, str],
    over_units: Callable[[], Limits],
    *,
    seed: int,
    inflation: float,
) -> Crossed:
    """`crossed`; `over_units` gives the interval of values that are equal on every draw and unit."""
    table = _table(values, units)
    draws, width = table.shape
    mean = float(table.mean())
    few = draws < 2 or width < 2
    if few or are_equal(table.ravel(), np.ones(table.size)):
        ci95, p = None if few else over_units(), _over_units(values, units, seed, inflation)
        return Crossed(mean, ci95, p, _scope(draws), 0.0, Components(0.0, 0.0, 0.0), draws, width)
    squares = _mean_squares(table)
    variance, degrees = _variance(squares, draws, width)
    variance *= inflation
    half = _quantile(degrees) * math.sqrt(variance)
    p = _t_tail(mean, variance, degrees) if draws >= ENOUGH_DRAWS else _over_units(values, units, seed, inflation)
    return Crossed(
        mean, (mean - half, mean + half), p, _scope(draws), degrees, _components(squares, draws, width), draws, width
    )


def crossed_difference(
    a: Sequence[Mapping[str, float]],
    b: Sequence[Mapping[str, float]],
    units: Mapping[str, str],
    *,
    seed: int = 0,
    inflation: float = 1.0,
) -> Crossed:
    """A minus B, draw by draw on the same items. `b` may be one mapping for every draw, such as the base model's.

    Raises HarnessError when the numbers of draws differ or the items do.
    """
    others = list(b) * len(a) if len(b) == 1 else list(b)
    if len(others) != len(a):
        raise HarnessError(f"{len(a)} draws of one method and {len(b)} of the other: equal numbers were expected")
    for one, other in zip(a, others, strict=True):
        same_items(one, other, units)
    differences = [{item: x[item] - y[item] for item in x} for x, y in zip(a, others, strict=True)]

    def over_units() -> Limits:
        return paired_tests([average_seeds(a)], average_seeds(others), units, seed=seed, inflation=inflation)[0].ci95

    return _crossed(differences, units, over_units, seed=seed, inflation=inflation)


def _table(values: Sequence[Mapping[str, float]], units: Mapping[str, str]) -> Floats:
    """Values by draw and unit, (D, U), scaled so that the plain mean of the table is the mean over items."""
    if not values:
        raise HarnessError("no draws: expected the values of one draw or more")
    for other in values:
        same_items(values[0], other, units)
    items = sorted(values[0])
    labels = [units[item] for item in items]
    rows = []
    for draw in values:
        data = checked([draw[item] for item in items], labels)
        sums, sizes = by_unit(data, labels)
        # A unit of n items stands n times in the mean over items: its deviation from that mean is weighted alike.
        centre = float(data.mean())
        rows.append(centre + (sums - sizes * centre) / sizes.mean())
    return np.vstack(rows)


@dataclass(frozen=True, slots=True)
class _MeanSquares:
    draws: float
    units: float
    rest: float


def _mean_squares(table: Floats) -> _MeanSquares:
    draws, width = table.shape
    mean = table.mean()
    by_draw, by_column = table.mean(axis=1), table.mean(axis=0)
    rest = table - by_draw[:, None] - by_column[None, :] + mean
    return _MeanSquares(
        draws=width * float(((by_draw - mean) ** 2).sum()) / (draws - 1),
        units=draws * float(((by_column - mean) ** 2).sum()) / (width - 1),
        rest=float((rest**2).sum()) / ((draws - 1) * (width - 1)),
    )


def _variance(squares: _MeanSquares, draws: int, width: int) -> tuple[float, float]:
    """Variance of the mean, and its degrees of freedom.

    MS_draws + MS_units - MS_rest estimates it without bias. Where MS_rest is by chance larger than one of the others,
    that component is 0 and the larger of the two alone is taken, so that the variance is never below either margin's.
    """
    cells = draws * width
    total = squares.draws + squares.units - squares.rest
    if total <= max(squares.draws, squares.units):
        larger_is_draws = squares.draws >= squares.units
        return max(squares.draws, squares.units) / cells, float((draws if larger_is_draws else width) - 1)
    terms = squares.draws**2 / (draws - 1) + squares.units**2 / (width - 1)
    terms += squares.rest**2 / ((draws - 1) * (width - 1))
    return total / cells, total**2 / terms if terms > 0 else float(width - 1)


def _components(squares: _MeanSquares, draws: int, width: int) -> Components:
    return Components(
        draws=max(0.0, (squares.draws - squares.rest) / width),
        units=max(0.0, (squares.units - squares.rest) / draws),
        rest=squares.rest,
    )


def _quantile(degrees: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - ALPHA / 2))


def _t_tail(mean: float, variance: float, degrees: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(mean) / math.sqrt(variance)))


def _over_units(values: Sequence[Mapping[str, float]], units: Mapping[str, str], seed: int, inflation: float) -> float:
    """The sign-flip test over units of the values averaged over these draws."""
    averaged = average_seeds(values)
    return paired_tests([averaged], dict.fromkeys(averaged, 0.0), units, seed=seed, inflation=inflation)[0].p


def _scope(draws: int) -> str:
    return "new draws and new questions" if draws >= ENOUGH_DRAWS else "new questions for these draws"
