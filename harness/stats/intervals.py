"""Means over items and their intervals over independent units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from harness.contracts import HarnessError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


RESAMPLES = 10_000
"""Bootstrap resamples of one interval."""


ALPHA = 0.05


CHUNK = 1_000


_NAMED = 5


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over items, its 95 % interval over units, and the number of units.

    There is no interval below two units, and where all units have one value that no range bounds.
    """

    mean: float
    ci95: tuple[float, float] | None
    n: int


SHARED_BY_FOLDS = 2.0
"""Variance of a mean over cross-validated units, over that of as many independent ones, at most.

The models of the folds share data: unit i asks models that unit j trained, and unit j models that i trained. For a
learner whose verdicts are sums over its training units the two terms are one, so that the variance doubles where
nothing else varies (Bengio and Grandvalet 2004 show that no rule can read this off the data). What is estimated is the
mean of the fitted models' true figures (Bayle et al. 2020, "Cross-validation confidence intervals for test error").
`tests/folds_simulated.py` simulates the coverage.
"""


def mean_interval(
    values: Sequence[float] | Floats,
    units: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    inflation: float = 1.0,
    half_by_definition: bool = False,
) -> Estimate:
    """Mean of `values` with a 95 % interval over `units`, two sequences of equal length (N,).

    0/1 values with one item per unit get Wilson's score interval, and units that all have the same mean that of
    `of_equal_units` (a bootstrap of them would have no width). Everything else gets the cluster bootstrap, see
    `bootstrap`. `inflation` is the variance over that of independent units: `SHARED_BY_FOLDS` for cross-validated ones.
    `half_by_definition` says that units of one half have it whatever is asked (base against itself): limits without
    width, for nothing was measured.

    Raises HarnessError without values, with a value that is not finite, or when the lengths differ.
    """
    data = checked(values, units)
    sums, sizes = by_unit(data, units)
    mean, n = math.fsum(data) / len(data), len(sums)
    if n < 2:
        return Estimate(mean, None, n)
    if half_by_definition and bool((data == 0.5).all()):
        return Estimate(mean, (mean, mean), n)
    if are_equal(sums, sizes):
        return Estimate(mean, of_equal_units(mean, n / inflation, shares=are_shares(data)), n)
    if n == len(data) and bool(np.isin(data, (0.0, 1.0)).all()):
        return Estimate(mean, wilson(mean, n / inflation), n)
    low, high = widened(bootstrap(sums, sizes, seed, resamples), mean, inflation)
    return Estimate(mean, within(data, low, high), n)


def widened(limits: tuple[float, float], mean: float, inflation: float) -> tuple[float, float]:
    """Limits as far from the mean as `inflation` times the variance asks; the same numbers where it is 1."""
    if inflation == 1.0:
        return limits
    low, high = (mean + math.sqrt(inflation) * (limit - mean) for limit in limits)
    return low, high


def within(data: Floats, low: float, high: float) -> tuple[float, float]:
    """Limits of a mean, of shares kept between 0 and 1."""
    return (max(0.0, low), min(1.0, high)) if are_shares(data) else (low, high)


def are_shares(data: Floats) -> bool:
    """Whether every value lies between 0 and 1, which is then taken for the metric's range."""
    return bool(((data >= 0) & (data <= 1)).all())


def are_equal(sums: Floats, sizes: Floats) -> bool:
    """Whether all units have the same mean, up to rounding."""
    means = sums / sizes
    return float(np.ptp(means)) <= 1e-12 * max(1.0, float(np.abs(means).max()))


def of_equal_units(mean: float, n: float, *, shares: bool) -> tuple[float, float] | None:
    """Limits of a mean of which `n` units all show the same; None where nothing says how far others may be from it.

    Wilson's bound says how many more units may differ from these, and `shares` that none differs by more than to 0 or
    to 1. Of units that are all 0 or all 1 this is Wilson's interval.
    """
    if not shares:
        return None
    same = wilson(1.0, n)[0]
    return mean * same, 1.0 - (1.0 - mean) * same


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion `share` seen over `n` independent trials (Wilson 1927).

    Dependent trials count as the number of independent ones that tell as much, which need not be whole.
    """
    z2 = NormalDist().inv_cdf(1 - ALPHA / 2) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def bootstrap(sums: Floats, sizes: Floats, seed: int, resamples: int) -> tuple[float, float]:
    """Percentile interval of sum/size when whole units are drawn again, its tails widened for small samples.

    Units with equal (sum, size) are exchangeable, so a resample is one multinomial draw over the distinct ones: the
    same distribution as drawing indices, at a fraction of the work when a metric takes few values.
    """
    distinct, counts = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    n, rng = len(sums), np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, CHUNK):
        stop = min(start + CHUNK, resamples)
        totals = rng.multinomial(n, counts / n, size=stop - start) @ distinct
        means[start:stop] = totals[:, 0] / totals[:, 1]
    tail = expanded_tail(n)
    low, high = np.quantile(means, [tail, 1 - tail])
    mean = float(sums.sum() / sizes.sum())
    return min(float(low), mean), max(float(high), mean)


def expanded_tail(n: int) -> float:
    """Tail probability that makes a percentile interval of `n` units as wide as Student's t asks.

    Hesterberg, "What Teachers Should Know about the Bootstrap" (2015), section 5.3: Phi(-sqrt(n/(n-1)) t).
    """
    from scipy.special import stdtrit

    quantile = float(stdtrit(n - 1, 1 - ALPHA / 2))
    return NormalDist().cdf(-math.sqrt(n / (n - 1)) * quantile)


def checked(values: Sequence[float] | Floats, units: Sequence[str]) -> Floats:
    """Values and units as arrays. Raises HarnessError when they are empty, of different lengths or not finite."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise HarnessError("no values: a mean needs one or more")
    if len(data) != len(units):
        raise HarnessError(f"{len(data)} values but {len(units)} units: expected one unit per value")
    if not np.isfinite(data).all():
        bad = int(np.flatnonzero(~np.isfinite(data))[0])
        raise HarnessError(f"value {bad} (unit {units[bad]!r}) is {data[bad]}: expected finite numbers")
    return data


def by_unit(data: Floats, units: Sequence[str]) -> tuple[Floats, Floats]:
    """Sum and number of items of every unit, each of shape (U,)."""
    _, index = np.unique(np.asarray(units, dtype=np.str_), return_inverse=True)
    sums = np.bincount(index, weights=data).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def some(ids: Sequence[str]) -> str:
    """The first ids, and how many more there are."""
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more


def same_items(a: Mapping[str, float], b: Mapping[str, float], units: Mapping[str, str] | None) -> None:
    """Raises HarnessError naming items that only one of the two sides has, or that have no unit."""
    if a.keys() == b.keys() and (units is None or a.keys() <= units.keys()):
        return
    only_a, only_b = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
    if only_a or only_b:
        parts = [f"only the {side} has {some(ids)}" for side, ids in (("first", only_a), ("second", only_b)) if ids]
        raise HarnessError(f"the two sides have different items: {'; '.join(parts)}")
    homeless = sorted(a.keys() - units.keys()) if units is not None else []
    if homeless:
        raise HarnessError(f"no unit is given for {some(homeless)}")
