"""The smallest difference that a test could have shown."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from harness.stats.intervals import ALPHA, wilson
from harness.stats.resampling import EXACT_OUTCOMES, PERMUTATIONS, flipped_tails

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.stats.intervals import Floats

POWER = 0.8
ENOUGH = 30
"""Units that differ, from which on the mean of their differences is as good as normal."""
FEW_UNITS = 24
"""Up to so many units that all differ the test itself is simulated. Its p then takes few values, or hangs on which signs
are drawn, and Student's test would promise too much."""
SIMULATED = 1_000
"""Data sets of such a simulation, whose means stand at equal distances in probability: it is as good as many more."""
AT_ONCE = 100
"""Data sets whose totals under all signs are held at one time, which fit the processor's cache."""
MOST = 10.0
"""Standard deviations of the units' differences, beyond which no difference of few units is looked for."""


def smallest_detectable_difference(
    unit_sums: Floats, sizes: Floats, *, bound: float | None = None, comparisons: int = 1, inflation: float = 1.0
) -> float | None:
    """Smallest true difference that the sign-flip test finds with probability `POWER`.

    `unit_sums` (U,) are sums of differences within units of `sizes` (U,) items; `bound` is the largest difference that
    an item can have (1 for shares, None where there is no limit); `comparisons` is the size of the family, for Holm's
    first step tests at ALPHA / comparisons. `inflation` is the variance over that of independent units. What was observed enters only by upper 95 % limits, of the share of units
    that differ or of the spread: a table in which one answer of 64 differs could not have shown a difference of 1/64.

    None where no difference, however large, would be found four times in five, and where the data do not say (no unit
    differs, and there is no `bound`).
    """
    n = len(unit_sums)
    if n < 2:
        return None
    alpha = ALPHA / comparisons
    if _least_p(n, inflation) >= alpha:
        return None
    parts = unit_sums * n / sizes.sum()  # their plain mean is the difference
    differ = np.abs(parts[np.abs(parts) > 1e-12])
    equal = len(differ) == 0 or float(differ.max() - differ.min()) < 1e-9
    by_spread = None if equal else _by_spread(parts, alpha, inflation)
    if not equal and (by_spread is None or len(differ) == n or len(differ) >= ENOUGH):
        return by_spread
    most = float(bound * sizes.max() * n / sizes.sum()) if bound is not None else float(differ.max(initial=0.0))
    if most == 0.0:
        return None
    # One difference of the largest kind is added: few that were seen say little of how large they come.
    step = math.sqrt((float(np.square(differ).sum()) + most**2) / (len(differ) + 1))
    share = _smallest_share(n, wilson(len(differ) / n, n)[1], alpha)
    return None if share is None else max(share * step * math.sqrt(inflation), by_spread or 0.0)


def planned_difference(units: int, differing: float, comparisons: int = 1) -> float | None:
    """`smallest_detectable_difference` before there are data: of `units` items each counts as right or wrong.

    `differing` in (0, 1] is the share of units that are expected to differ. None where no difference would be found.
    """
    return None if units < 2 else _smallest_share(units, differing, ALPHA / comparisons)


def units_needed(difference: float, differing: float, comparisons: int = 1) -> int:
    """The least number of units with which `planned_difference` is at most `difference` (above 0, up to 1)."""
    alpha = ALPHA / comparisons

    def enough(n: int) -> bool:
        return _sign_test_power(n, max(differing, difference), difference, alpha) >= POWER

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _least_p(n: int, inflation: float) -> float:
    """The p of n units that all differ by the same: hardly anything that n units show is rarer."""
    from scipy.special import bdtrc

    heads = math.ceil((n + n / math.sqrt(inflation)) / 2 - 1e-9)
    return float(2 * bdtrc(heads - 1, n, 0.5))


def _by_spread(parts: Floats, alpha: float, inflation: float) -> float | None:
    """Under the upper limit of the standard deviation of units that all differ by amounts of their own."""
    from scipy.special import chdtri

    n = len(parts)
    spread = float(np.std(parts, ddof=1)) * math.sqrt((n - 1) / float(chdtri(n - 1, 1 - ALPHA / 2)))
    effect = _smallest_effect(n, alpha, inflation)
    return None if effect is None else effect * spread


@lru_cache(maxsize=4096)
def _smallest_effect(n: int, alpha: float, inflation: float) -> float | None:
    """The smallest difference, in standard deviations of the units' differences, that n units show."""
    if n <= FEW_UNITS:
        return _smallest(lambda effect: float((_simulated_p(n, effect, inflation) < alpha).mean()), MOST)
    from scipy.special import nctdtr, stdtrit

    critical = float(stdtrit(n - 1, 1 - alpha / 2))  # of Student's test, which flipping signs comes to

    def power(shift: float) -> float:
        return float(1 - nctdtr(n - 1, shift, critical))  # the other tail is nothing where this is near POWER

    shift = _smallest(power, critical + 5.0)
    return None if shift is None else shift * math.sqrt(inflation / n)


def _simulated_p(n: int, effect: float, inflation: float) -> Floats:
    """The test's p (SIMULATED,) of normal differences of n units, with standard deviation 1 and mean `effect`."""
    apart, means = _normal(n)
    rows = effect + means * math.sqrt(inflation) + apart
    least = np.abs(rows.sum(axis=1)) / math.sqrt(inflation) - 1e-9
    pieces = [slice(start, start + AT_ONCE) for start in range(0, SIMULATED, AT_ONCE)]
    if 2**n > EXACT_OUTCOMES:
        return np.concatenate([flipped_tails(rows[i], least[i], draws=PERMUTATIONS) for i in pieces])
    signs = _signs(n)
    return np.concatenate([(np.abs(rows[i] @ signs) >= least[i, None]).mean(axis=1) for i in pieces])


@lru_cache(maxsize=FEW_UNITS)
def _normal(n: int) -> tuple[Floats, Floats]:
    """Data sets of n normal units: deviations from their means (SIMULATED, n), and these means (SIMULATED, 1)."""
    from scipy.special import ndtri

    drawn = np.random.default_rng(0).normal(size=(SIMULATED, n))
    means = ndtri((np.arange(SIMULATED) + 0.5) / SIMULATED) / math.sqrt(n)
    return drawn - drawn.mean(axis=1, keepdims=True), means[:, None]


def _signs(n: int) -> Floats:
    """Signs of n units in every way (n, 2**(n - 1)), without those that are others turned round."""
    ways = np.arange(2 ** (n - 1))
    return np.where(ways >> np.arange(n)[:, None] & 1, 1.0, -1.0)


@lru_cache(maxsize=4096)
def _smallest_share(n: int, differing: float, alpha: float) -> float | None:
    """The smallest d for which n units show it when max(differing, d) of them differ, each by plus or minus 1."""
    return _smallest(lambda d: _sign_test_power(n, max(differing, d), d, alpha), 1.0)


def _smallest(power: Callable[[float], float], most: float) -> float | None:
    """The smallest argument up to `most` at which a rising function reaches POWER, to a thousandth of itself."""
    if power(most) < POWER:
        return None
    low, high = 0.0, most
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


def _sign_test_power(n: int, differing: float, difference: float, alpha: float) -> float:
    """Chance that the exact sign test at `alpha` sees `difference` when a share `differing` of n units differs."""
    from scipy.special import bdtr, bdtrc

    counts = np.arange(n + 1)
    chance_of = _binomial(n, min(differing, 1.0))
    upper = _critical(n, alpha)
    up = min(1.0, (1 + difference / differing) / 2)
    possible = upper <= counts
    k, x = counts[possible].astype(np.float64), upper[possible].astype(np.float64)
    found = bdtrc(x - 1, k, up) + np.where(k >= x, bdtr(k - x, k, up), 0.0)
    return float((chance_of[possible] * found).sum())


@lru_cache(maxsize=64)
def _critical(n: int, alpha: float) -> NDArray[np.int64]:
    """For k = 0..n units that differ: the least number of equal signs whose two-sided p is below alpha; k + 1: none."""
    from scipy.special import bdtrc

    counts = np.arange(n + 1)
    low, high = counts // 2, counts + 1  # 2 P(X >= low) is not below alpha, that of high is
    while bool((high - low > 1).any()):
        middle = (low + high) // 2
        rare = 2 * bdtrc(middle - 1.0, counts.astype(np.float64), 0.5) < alpha
        wide = high - low > 1
        high, low = np.where(wide & rare, middle, high), np.where(wide & ~rare, middle, low)
    return high


def _binomial(n: int, chance: float) -> Floats:
    from scipy.special import gammaln, xlog1py, xlogy

    k = np.arange(n + 1)
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.asarray(np.exp(ways + xlogy(k, chance) + xlog1py(n - k, -chance)), dtype=np.float64)
