"""The smallest difference that a test could have shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from harness.stats.intervals import ALPHA, by_unit, checked, wilson
from harness.stats.resampling import EXACT_OUTCOMES, PERMUTATIONS, flipped_tails

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.stats.intervals import Floats

POWER = 0.8
ENOUGH = 30
"""Units that differ, from which on the mean of their differences is as good as normal."""
FEW_UNITS = 12
"""Up to so many units (twice as many that share their models by folds) the test itself is simulated. Its p then takes
few values, or hangs on which signs are drawn, and Student's test would promise far too much."""
RAISED_UNITS, RAISED = 24, 1.02
"""Up to so many units the difference that Student's test gives is raised by this factor: simulated, families of up to
20 needed between .996 and 1.034 times as much, too little to be worth seconds of simulating at every table."""
MANY_UNITS = 8_192
"""From so many units on the number that is needed is taken from the normal distribution, which is exact enough."""
SIMULATED = 1_000
"""Data sets of such a simulation, whose means stand at equal distances in probability: it is as good as many more."""
AT_ONCE = 100
"""Data sets whose totals under all signs are held at one time, which fit the processor's cache."""
MOST = 10.0
"""Standard deviations of the units' differences, beyond which no difference of few units is looked for."""


@dataclass(frozen=True, slots=True)
class UnitSpread:
    """How the differences of units come."""

    differing: float
    """Share of the units that differ."""
    step: float = 1.0
    """Root mean square of the differences of those that differ."""
    sd: float | None = None
    """Standard deviation of the differences of all units; None where those that differ all do by `step`."""


def spread_of(differences: Sequence[float], units: Sequence[str]) -> UnitSpread:
    """The spread that was seen, from every item's difference and unit (N,); two units at least are needed.

    Raises HarnessError without differences, with one that is not finite, or when the lengths differ.
    """
    parts, differ = _parts(*by_unit(checked(differences, units), units))
    step = math.sqrt(float(np.square(differ).mean())) if len(differ) else 0.0
    sd = None if _are_one_step(differ) else float(np.std(parts, ddof=1))
    return UnitSpread(len(differ) / len(parts), step, sd)


def smallest_detectable_difference(
    unit_sums: Floats, sizes: Floats, *, bound: float | None = None, comparisons: int = 1, inflation: float = 1.0
) -> float | None:
    """Smallest true difference that the sign-flip test finds with probability `POWER`.

    `unit_sums` (U,) are sums of differences within units of `sizes` (U,) items; `bound` is the largest difference that
    an item can have (1 for shares, None where there is no limit); `comparisons` is the size of the family, for Holm's
    first step tests at ALPHA / comparisons; `inflation` is the variance over that of independent units. What was
    observed enters only by upper 95 % limits, of the share of units that differ or of the spread: a table in which one
    answer of 64 differs could not have shown a difference of 1/64.

    None where no difference, however large, would be found four times in five, and where the data do not say (no unit
    differs, and there is no `bound`).
    """
    n = len(unit_sums)
    if n < 2:
        return None
    parts, differ = _parts(unit_sums, sizes)
    most = float(bound * sizes.max() * n / sizes.sum()) if bound is not None else float(differ.max(initial=0.0))
    if most == 0.0:
        return None
    # One difference of the largest kind is added: few that were seen say little of how large they come.
    step = math.sqrt((float(np.square(differ).sum()) + most**2) / (len(differ) + 1))
    sd = None if _are_one_step(differ) else _upper_sd(parts)
    limits = UnitSpread(wilson(len(differ) / n, n)[1], step, sd)
    return _least(n, limits, ALPHA / comparisons, inflation, many=len(differ) == n or len(differ) >= ENOUGH)


def planned_difference(units: int, spread: UnitSpread, comparisons: int = 1) -> float | None:
    """`smallest_detectable_difference` of so many units before there are data, if they come with this `spread`.

    None where no difference would be found.
    """
    if units < 2:
        return None
    return _least(units, spread, ALPHA / comparisons, 1.0, many=_many(units, spread))


def units_needed(difference: float, spread: UnitSpread, comparisons: int = 1) -> int:
    """The least number of units with which `planned_difference` is at most `difference`, which is above 0."""
    alpha = ALPHA / comparisons
    if (roughly := _by_normal(difference, spread, alpha)) > MANY_UNITS:
        return roughly
    steps = min(1.0, difference / spread.step)

    def enough(n: int) -> bool:
        if spread.sd is not None:
            effect = _smallest_effect(n, alpha, 1.0)
            if effect is None or effect * spread.sd > difference:
                return False
            if _many(n, spread):
                return True
        return _sign_test_power(n, max(spread.differing, steps), steps, alpha) >= POWER

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _by_normal(difference: float, spread: UnitSpread, alpha: float) -> int:
    """Units whose mean difference, if it were normal, would be seen."""
    from scipy.special import ndtri

    variance = spread.sd**2 if spread.sd is not None else spread.differing * spread.step**2
    return math.ceil(float(ndtri(1 - alpha / 2) + ndtri(POWER)) ** 2 * variance / difference**2)


def _parts(unit_sums: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Figures of units whose plain mean is the difference, and the absolute ones of units that differ."""
    parts = unit_sums * len(unit_sums) / sizes.sum()
    return parts, np.abs(parts[np.abs(parts) > 1e-12])


def _are_one_step(differ: Floats) -> bool:
    return len(differ) == 0 or float(differ.max() - differ.min()) < 1e-9


def _upper_sd(parts: Floats) -> float:
    """Upper 95 % limit of the standard deviation of units."""
    from scipy.special import chdtri

    degrees = len(parts) - 1
    return float(np.std(parts, ddof=1)) * math.sqrt(degrees / float(chdtri(degrees, 1 - ALPHA / 2)))


def _many(n: int, spread: UnitSpread) -> bool:
    """Whether so many of n units are expected to differ that their spread alone says what can be seen."""
    return round(n * spread.differing) >= min(n, ENOUGH)


def _least(n: int, spread: UnitSpread, alpha: float, inflation: float, *, many: bool) -> float | None:
    """By the spread of many differences; of few that come in several amounts by the larger of both rules."""
    if _least_p(n, inflation) >= alpha:
        return None
    by_spread = 0.0
    if spread.sd is not None:
        effect = _smallest_effect(n, alpha, inflation)
        if effect is None or many:
            return None if effect is None else effect * spread.sd
        by_spread = effect * spread.sd
    share = _smallest_share(n, spread.differing, alpha)
    return None if share is None else max(share * spread.step * math.sqrt(inflation), by_spread)


def _least_p(n: int, inflation: float) -> float:
    """The p of n units that all differ by the same: hardly anything that n units show is rarer."""
    from scipy.special import bdtrc

    heads = math.ceil((n + n / math.sqrt(inflation)) / 2 - 1e-9)
    return float(2 * bdtrc(heads - 1, n, 0.5))


@lru_cache(maxsize=4096)
def _smallest_effect(n: int, alpha: float, inflation: float) -> float | None:
    """The smallest difference, in standard deviations of the units' differences, that n units show."""
    if _least_p(n, inflation) >= alpha:
        return None
    if n <= FEW_UNITS * inflation:
        return _smallest(lambda effect: float((_simulated_p(n, effect, inflation) < alpha).mean()), MOST)
    from scipy.special import nctdtr, stdtrit

    independent = n / inflation
    critical = float(stdtrit(independent - 1, 1 - alpha / 2))  # of Student's test, which flipping signs comes to

    def power(shift: float) -> float:
        return float(1 - nctdtr(independent - 1, shift, critical))  # the other tail is nothing where this is near POWER

    shift = _smallest(power, critical + 5.0)
    raised = RAISED if independent <= RAISED_UNITS else 1.0
    return None if shift is None else raised * shift / math.sqrt(independent)


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


@lru_cache(maxsize=2 * FEW_UNITS)
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
