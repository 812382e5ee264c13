"""Intervals and paired tests over independent units.

Items (pairs, questions) may share a *unit*, the thing that was sampled independently (usually the question); every
figure here is the plain mean over items, every uncertainty comes from the units (docs/decisions/0002-statistics.md
says why). Pure numpy, seeded: the same numbers give the same interval, whatever their order.
"""

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
PERMUTATIONS = 20_000
"""Random sign flips of one test, where the exact distribution is too large."""
EXACT_OUTCOMES = 2**14
"""Up to so many distinct outcomes, the sign-flip distribution is enumerated."""
ALPHA = 0.05
POWER = 0.8
_CHUNK = 1_000
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over items, its 95 % interval over units (None below two units), and the number of units."""

    mean: float
    ci95: tuple[float, float] | None
    n: int


@dataclass(frozen=True, slots=True)
class Paired:
    """A against B on the same items."""

    difference: float
    """Mean of A minus mean of B, over items."""
    ci95: tuple[float, float] | None
    """Cluster bootstrap interval; None below two units and where A and B agree on every unit (nothing to resample)."""
    p: float
    """Two-sided sign-flip p-value over units."""
    n_units: int
    mdd: float | None
    """Minimal detectable difference, see `minimal_detectable_difference`."""


# ---------------------------------------------------------------- one mean


def mean_interval(
    values: Sequence[float], units: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Mean of `values` with a 95 % interval over `units`, two sequences of equal length (N,).

    0/1 values with one item per unit get Wilson's score interval, and so do values that are all 0 or all 1 (a
    bootstrap of them would have no width). Everything else gets the cluster bootstrap, see `_bootstrap`.

    Raises HarnessError without values, with a value that is not finite, or when the lengths differ.
    """
    data = _checked(values, units)
    sums, sizes = _by_unit(data, units)
    mean, n = math.fsum(data) / len(data), len(sums)
    if n < 2:
        return Estimate(mean, None, n)
    binary = bool(np.isin(data, (0.0, 1.0)).all())
    if binary and (n == len(data) or mean in (0.0, 1.0)):
        return Estimate(mean, wilson(mean, n), n)
    return Estimate(mean, _bootstrap(sums, sizes, seed, resamples), n)


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion `share` seen over `n` independent trials (Wilson 1927)."""
    z2 = NormalDist().inv_cdf(1 - ALPHA / 2) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def _bootstrap(sums: Floats, sizes: Floats, seed: int, resamples: int) -> tuple[float, float]:
    """Percentile interval of sum/size when whole units are drawn again, its tails widened for small samples.

    Units with equal (sum, size) are exchangeable, so a resample is one multinomial draw over the distinct ones: the
    same distribution as drawing indices, at a fraction of the work when a metric takes few values.
    """
    distinct, counts = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    n, rng = len(sums), np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, _CHUNK):
        stop = min(start + _CHUNK, resamples)
        totals = rng.multinomial(n, counts / n, size=stop - start) @ distinct
        means[start:stop] = totals[:, 0] / totals[:, 1]
    tail = _expanded_tail(n)
    low, high = np.quantile(means, [tail, 1 - tail])
    mean = float(sums.sum() / sizes.sum())
    return min(float(low), mean), max(float(high), mean)


def _expanded_tail(n: int) -> float:
    """Tail probability that makes a percentile interval of `n` units as wide as Student's t asks.

    Hesterberg, "What Teachers Should Know about the Bootstrap" (2015), section 5.3: Phi(-sqrt(n/(n-1)) t).
    """
    from scipy.special import stdtrit

    quantile = float(stdtrit(n - 1, 1 - ALPHA / 2))
    return NormalDist().cdf(-math.sqrt(n / (n - 1)) * quantile)


# ---------------------------------------------------------------- two means on the same items


def paired_test(a: Mapping[str, float], b: Mapping[str, float], units: Mapping[str, str], *, seed: int = 0) -> Paired:
    """A minus B over the same items, tested by flipping the sign of whole units.

    `a` and `b` map item to value and `units` item to unit. Under the hypothesis of no difference, A and B may be
    swapped within any unit. Raises HarnessError naming the items that only one side has, or that have no unit.
    """
    _same_items(a, b, units)
    items = sorted(a)
    differences = np.array([_difference(a[item], b[item]) for item in items])
    labels = [units[item] for item in items]
    sums, sizes = _by_unit(_checked(differences, labels), labels)
    vary = len(sums) >= 2 and bool(sums.any())
    return Paired(
        difference=math.fsum(differences) / len(differences),
        ci95=_bootstrap(sums, sizes, seed, RESAMPLES) if vary else None,
        p=sign_flip(sums, seed=seed),
        n_units=len(sums),
        mdd=minimal_detectable_difference(sums / sizes, sizes),
    )


def sign_flip(unit_sums: Sequence[float] | Floats, *, seed: int = 0) -> float:
    """Two-sided p-value that random signs give a total as far from 0 as that of `unit_sums` (U,).

    Exact while the total has at most `EXACT_OUTCOMES` distinct sign counts (for 0/1 metrics this is McNemar's exact
    test); otherwise `PERMUTATIONS` seeded draws, with (hits + 1) / (draws + 1), which is never 0.
    """
    sums = np.asarray(unit_sums, dtype=np.float64)
    scale = float(np.abs(sums).max(initial=0.0))
    if scale == 0.0:
        return 1.0
    # Rounding makes equal magnitudes equal again after averages over seeds (1/3 + 1/3 against 2/3).
    scaled = np.round(sums / scale, 12)
    scaled = scaled[scaled != 0.0]
    magnitudes, counts = np.unique(np.abs(scaled), return_counts=True)
    least = abs(math.fsum(scaled)) - 1e-9
    if math.prod(int(count) + 1 for count in counts) <= EXACT_OUTCOMES:
        return _exact_tail(magnitudes, counts, least)
    return _sampled_tail(scaled, least, seed)


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


def _sampled_tail(sums: Floats, least: float, seed: int) -> float:
    rng, hits = np.random.default_rng(seed), 0
    for start in range(0, PERMUTATIONS, _CHUNK):
        draws = min(_CHUNK, PERMUTATIONS - start)
        signs = 2.0 * rng.integers(0, 2, size=(draws, len(sums)), dtype=np.int8) - 1.0
        hits += int((np.abs(signs @ sums) >= least).sum())
    return (hits + 1) / (PERMUTATIONS + 1)


def minimal_detectable_difference(
    unit_differences: Sequence[float] | Floats,
    sizes: Sequence[float] | Floats | None = None,
    *,
    alpha: float = ALPHA,
    power: float = POWER,
) -> float | None:
    """Smallest true difference that a two-sided test at `alpha` would find with probability `power`.

    (z_{1-alpha/2} + z_{power}) * SE, where SE is the cluster-robust standard error of the mean of `unit_differences`
    (U,), each unit weighted by `sizes` (its number of items; equal when None). It is computed from the spread that
    was observed. None below two units and where no spread was observed: then the data do not say.
    """
    means = np.asarray(unit_differences, dtype=np.float64)
    weights = np.ones_like(means) if sizes is None else np.asarray(sizes, dtype=np.float64)
    n = len(means)
    if n < 2:
        return None
    residuals = weights * (means - np.average(means, weights=weights))
    error = math.sqrt(n / (n - 1) * float(np.square(residuals).sum())) / float(weights.sum())
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * error if error > 0 else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of a family of p-values, in the order given (Holm 1979).

    Comparing the results with alpha keeps the chance of one or more false findings in the family below alpha.
    """
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted


# ---------------------------------------------------------------- several seeds


def average_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean value per item over the seeds' runs, each a mapping from item to value.

    Seeds answer the same questions, so they are no independent units: pooling them as such would shrink intervals by
    about the root of their number. Averaged first, what is left is the uncertainty over questions of the mean model;
    `seed_sd` says how far apart the seeds are. Raises HarnessError naming items that only some seeds have.
    """
    if not runs:
        raise HarnessError("no runs to average: expected the values of one seed or more")
    for other in runs[1:]:
        _same_items(runs[0], other, None)
    return {item: math.fsum(run[item] for run in runs) / len(runs) for item in runs[0]}


def seed_sd(runs: Sequence[Mapping[str, float]]) -> float | None:
    """Standard deviation (n - 1) of the seeds' means; None below two seeds."""
    means = [math.fsum(run.values()) / len(run) for run in runs if run]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


# ---------------------------------------------------------------- helpers


def _checked(values: Sequence[float] | Floats, units: Sequence[str]) -> Floats:
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise HarnessError("no values: a mean needs one or more")
    if len(data) != len(units):
        raise HarnessError(f"{len(data)} values but {len(units)} units: expected one unit per value")
    if not np.isfinite(data).all():
        bad = int(np.flatnonzero(~np.isfinite(data))[0])
        raise HarnessError(f"value {bad} (unit {units[bad]!r}) is {data[bad]}: expected finite numbers")
    return data


def _by_unit(data: Floats, units: Sequence[str]) -> tuple[Floats, Floats]:
    """Sum and number of items of every unit, each of shape (U,)."""
    _, index = np.unique(np.asarray(units, dtype=np.str_), return_inverse=True)
    sums = np.bincount(index, weights=data).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def _difference(a: float, b: float) -> float:
    """A - b, where rounding left over from averages is no difference."""
    return 0.0 if math.isclose(a, b, rel_tol=1e-12) else a - b


def _same_items(a: Mapping[str, float], b: Mapping[str, float], units: Mapping[str, str] | None) -> None:
    only_a, only_b = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
    if only_a or only_b:
        parts = [f"only the {side} has {_some(ids)}" for side, ids in (("first", only_a), ("second", only_b)) if ids]
        raise HarnessError(f"the two sides have different items: {'; '.join(parts)}")
    homeless = sorted(a.keys() - units.keys()) if units is not None else []
    if homeless:
        raise HarnessError(f"no unit is given for {_some(homeless)}")


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more
