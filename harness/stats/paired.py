"""Paired tests over independent units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.contracts import HarnessError
from harness.stats.intervals import CHUNK, RESAMPLES, bootstrap, by_unit, checked, some
from harness.stats.power import minimal_detectable_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.stats.intervals import Floats


PERMUTATIONS = 20_000
"""Random sign flips of one test, where the exact distribution is too large."""


EXACT_OUTCOMES = 2**14
"""Up to so many distinct outcomes, the sign-flip distribution is enumerated."""


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


def paired_test(a: Mapping[str, float], b: Mapping[str, float], units: Mapping[str, str], *, seed: int = 0) -> Paired:
    """A minus B over the same items, tested by flipping the sign of whole units.

    `a` and `b` map item to value and `units` item to unit. Under the hypothesis of no difference, A and B may be
    swapped within any unit. Raises HarnessError naming the items that only one side has, or that have no unit.
    """
    same_items(a, b, units)
    items = sorted(a)
    differences = np.array([_difference(a[item], b[item]) for item in items])
    labels = [units[item] for item in items]
    sums, sizes = by_unit(checked(differences, labels), labels)
    vary = len(sums) >= 2 and bool(sums.any())
    return Paired(
        difference=math.fsum(differences) / len(differences),
        ci95=bootstrap(sums, sizes, seed, RESAMPLES) if vary else None,
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
    for start in range(0, PERMUTATIONS, CHUNK):
        draws = min(CHUNK, PERMUTATIONS - start)
        signs = 2.0 * rng.integers(0, 2, size=(draws, len(sums)), dtype=np.int8) - 1.0
        hits += int((np.abs(signs @ sums) >= least).sum())
    return (hits + 1) / (PERMUTATIONS + 1)


def _difference(a: float, b: float) -> float:
    """A - b, where rounding left over from averages is no difference."""
    return 0.0 if math.isclose(a, b, rel_tol=1e-12) else a - b


def same_items(a: Mapping[str, float], b: Mapping[str, float], units: Mapping[str, str] | None) -> None:
    """Raises HarnessError naming items that only one of the two sides has, or that have no unit."""
    only_a, only_b = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
    if only_a or only_b:
        parts = [f"only the {side} has {some(ids)}" for side, ids in (("first", only_a), ("second", only_b)) if ids]
        raise HarnessError(f"the two sides have different items: {'; '.join(parts)}")
    homeless = sorted(a.keys() - units.keys()) if units is not None else []
    if homeless:
        raise HarnessError(f"no unit is given for {some(homeless)}")
