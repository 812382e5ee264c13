"""Paired tests over independent units."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from harness.stats.intervals import checked, same_items, widened, wilson
from harness.stats.power import smallest_detectable_difference
from harness.stats.resampling import EXACT_OUTCOMES, PERMUTATIONS, bootstraps, flipped_tails

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.stats.intervals import Floats


@dataclass(frozen=True, slots=True)
class Paired:
    """A against B on the same items."""

    difference: float
    """Mean of A minus mean of B, over items."""
    ci95: tuple[float, float] | None
    """Cluster bootstrap interval, where it has a width; Wilson's of right or wrong answers against one constant, and
    where all units differ by the same amount. None below two units and where A and B agree on every unit."""
    p: float
    """Two-sided sign-flip p-value over units."""
    n_units: int
    mdd: float | None
    """See `smallest_detectable_difference`."""


def paired_test(
    a: Mapping[str, float], b: Mapping[str, float], units: Mapping[str, str], *, seed: int = 0, comparisons: int = 1
) -> Paired:
    """A minus B over the same items, tested by flipping the sign of whole units.

    `a` and `b` map item to value and `units` item to unit. Under the hypothesis of no difference, A and B may be
    swapped within any unit. Raises HarnessError naming the items that only one side has, or that have no unit.
    """
    return paired_tests([a], b, units, seed=seed, comparisons=comparisons)[0]


def paired_tests(
    rows: Sequence[Mapping[str, float]],
    b: Mapping[str, float],
    units: Mapping[str, str],
    *,
    seed: int = 0,
    comparisons: int = 1,
    inflation: float = 1.0,
) -> list[Paired]:
    """`paired_test` of each row against `b`; rows share their draws, which is much faster.

    `comparisons` is the size of the family that the tests belong to, for the detectable difference. `inflation` is the
    variance over that of independent units: limits and detectable difference grow by its root, and a total counts as
    that much smaller.
    """
    for row in rows:
        same_items(row, b, units)
    if not rows:
        return []
    items = sorted(b)
    labels = [units[item] for item in items]
    values = np.array([[row[item] for item in items] for row in rows], dtype=np.float64)
    base = np.array([b[item] for item in items], dtype=np.float64)
    differences = np.where(np.isclose(values, base, rtol=1e-12, atol=0.0), 0.0, values - base)
    index, sizes = _grouped(labels)
    sums: Floats = np.array([np.bincount(index, weights=checked(row, labels)) for row in differences], dtype=np.float64)
    shares = bool(((values >= 0) & (values <= 1)).all() and ((base >= 0) & (base <= 1)).all())
    bound = float(np.maximum(base, 1.0 - base).max()) if shares else None

    def detectable(own: Floats) -> float | None:
        least = smallest_detectable_difference(own, sizes, bound=bound, comparisons=comparisons, inflation=inflation)
        return None if least is None or (bound is not None and least > bound) else least

    found = _compared(differences, sums, sizes, detectable, seed=seed, inflation=inflation)
    if shares:
        found = [replace(one, ci95=_possible(one.ci95)) for one in found]
    plain = bool((base == base[0]).all()) and len(sizes) == len(items)
    return [
        replace(one, ci95=_around(float(base[0]), row, inflation)) if plain and _binary(row) and one.ci95 else one
        for one, row in zip(found, values, strict=True)
    ]


def _possible(limits: tuple[float, float] | None) -> tuple[float, float] | None:
    """Limits of a difference of shares, which lies between -1 and 1."""
    return None if limits is None else (max(limits[0], -1.0), min(limits[1], 1.0))


def _binary(row: Floats) -> bool:
    return bool(np.isin(row, (0.0, 1.0)).all())


def _around(constant: float, row: Floats, inflation: float) -> tuple[float, float]:
    """Wilson's limits of right or wrong answers, one a unit, less the constant they are held against."""
    low, high = wilson(float(row.mean()), len(row) / inflation)
    return low - constant, high - constant


def _grouped(labels: Sequence[str]) -> tuple[NDArray[np.int64], Floats]:
    """The unit of every item as a number, and how many items each unit has."""
    _, index = np.unique(np.asarray(labels, dtype=np.str_), return_inverse=True)
    return index, np.bincount(index).astype(np.float64)


def _compared(
    differences: Floats,
    sums: Floats,
    sizes: Floats,
    detectable: Callable[[Floats], float | None],
    *,
    seed: int,
    inflation: float,
) -> list[Paired]:
    vary = np.array([len(sizes) >= 2 and bool(row.any()) for row in sums])
    limits = (
        dict(zip(map(int, np.flatnonzero(vary)), bootstraps(sums[vary], sizes, seed=seed), strict=True))
        if vary.any()
        else {}
    )
    p_values = sign_flips(sums, seed=seed, inflation=inflation)
    return [
        Paired(
            difference=math.fsum(row) / len(row),
            ci95=_limits(limits[i], len(sizes), math.fsum(row) / len(row), inflation) if i in limits else None,
            p=float(p_values[i]),
            n_units=len(sizes),
            mdd=detectable(sums[i]),
        )
        for i, row in enumerate(differences)
    ]


def _limits(limits: Floats, units: int, mean: float, inflation: float) -> tuple[float, float]:
    """The bootstrap's limits; where all units differ by one amount it has no width, and Wilson's bound stands in."""
    low, high = float(limits[0]), float(limits[1])
    if high - low > 1e-12:
        return widened((low, high), mean, inflation)
    least = mean * (2.0 * wilson(1.0, units / inflation)[0] - 1.0)
    return min(least, mean), max(least, mean)


def sign_flip(unit_sums: Sequence[float] | Floats, *, seed: int = 0) -> float:
    """Two-sided p-value that random signs give a total as far from 0 as that of `unit_sums` (U,); see `sign_flips`."""
    return float(sign_flips(np.asarray([unit_sums], dtype=np.float64), seed=seed)[0])


def sign_flips(sums: Floats, *, seed: int = 0, inflation: float = 1.0) -> Floats:
    """Two-sided p-values (R,) of the totals of `sums` (R, U) under random signs of units.

    Exact while a total has at most `EXACT_OUTCOMES` distinct sign counts (for 0/1 metrics this is McNemar's exact
    test); otherwise `PERMUTATIONS` seeded draws, with (hits + 1) / (draws + 1), which is never 0. Of units that are not
    independent the total is as rare as one that is smaller by the root of `inflation`.
    """
    scale = np.abs(sums).max(axis=1, initial=0.0, keepdims=True)
    # Rounding makes equal magnitudes equal again after averages over seeds (1/3 + 1/3 against 2/3).
    scaled = np.round(sums / np.where(scale == 0.0, 1.0, scale), 12)
    least = np.array([abs(math.fsum(row)) / math.sqrt(inflation) - 1e-9 for row in scaled])
    found = np.array([_exact(row, far) for row, far in zip(scaled, least, strict=True)])
    drawn = np.isnan(found)
    if drawn.any():
        found[drawn] = flipped_tails(scaled[drawn], least[drawn], draws=PERMUTATIONS, seed=seed)
    return found


def _exact(scaled: Floats, least: float) -> float:
    """The exact p-value, or nan where there are too many outcomes to enumerate."""
    magnitudes, counts = np.unique(np.abs(scaled[scaled != 0.0]), return_counts=True)
    if math.prod(int(count) + 1 for count in counts) > EXACT_OUTCOMES:
        return math.nan
    return _exact_tail(magnitudes, counts, least) if len(counts) else 1.0


def _exact_tail(magnitudes: Floats, counts: NDArray[np.int64], least: float) -> float:
    """P(|total| >= least), from one binomial count of positive signs per distinct magnitude."""
    totals, weights = np.zeros(1), np.ones(1)
    for magnitude, count in zip(magnitudes, counts, strict=True):
        positive = np.arange(count + 1)
        totals = np.add.outer(totals, magnitude * (2 * positive - count)).ravel()
        weights = np.multiply.outer(weights, _fair_binomial(int(count))).ravel()
    return min(1.0, float(weights[np.abs(totals) >= least].sum()))


def _fair_binomial(n: int) -> Floats:
    """Probabilities of 0..n heads in `n` fair tosses."""
    from scipy.special import gammaln

    heads = np.arange(n + 1)
    log_ways = gammaln(n + 1) - gammaln(heads + 1) - gammaln(n - heads + 1)
    return np.asarray(np.exp(log_ways - n * math.log(2)), dtype=np.float64)
