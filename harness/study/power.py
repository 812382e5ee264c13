"""What a number of draws and units can show, given the variances of the differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.stats import ALPHA, POWER
from harness.stats.crossed import ENOUGH_DRAWS, Components

TARGET = 0.05
"""Five points: the difference that the advice is about."""
MOST_UNITS = 100_000
MOST_DRAWS = 60
DRAWS_DIFFER = 0.02
"""Standard deviation over draws of a difference, where no record says."""


@dataclass(frozen=True, slots=True)
class Design:
    """Variances of a difference, and how many draws and units it is observed on."""

    components: Components
    draws: int
    units: int


def detectable(design: Design, comparisons: int = 1) -> float | None:
    """The smallest true difference that the study's test finds four times in five; None below two units.

    From six draws on the test is Student's over draws and units; below, it is over units for these draws, and the
    spread over draws does not enter. `comparisons` is the size of Holm's family.
    """
    if design.units < 2:
        return None
    variance, degrees = _variance(design)
    if variance <= 0:
        return None
    from scipy.special import stdtrit

    alpha = ALPHA / max(comparisons, 1)
    return float(stdtrit(degrees, 1 - alpha / 2) + stdtrit(degrees, POWER)) * math.sqrt(variance)


def surely_detectable(design: Design, comparisons: int = 1) -> float | None:
    """`detectable` of a design whose variances were observed: their upper 95 % limit stands in for them.

    An observed spread may be small by luck, and a design must not promise more because it was.
    """
    least = detectable(design, comparisons)
    if least is None:
        return None
    from scipy.special import chdtri

    _, degrees = _variance(design)
    return least * math.sqrt(degrees / float(chdtri(degrees, 1 - ALPHA / 2)))


def matched(design: Design, least: float, comparisons: int = 1) -> Design:
    """The design of which `least` is the detectable difference: the same variances, times one factor.

    Where no variance was seen, all of it is taken to be that of units.
    """
    found = detectable(design, comparisons)
    if found is None:
        design = replace(design, components=Components(0.0, 1.0, 0.0))
        found = detectable(design, comparisons)
    if found is None:
        return design
    c, factor = design.components, (least / found) ** 2
    return replace(design, components=Components(factor * c.draws, factor * c.units, factor * c.rest))


def _variance(design: Design) -> tuple[float, float]:
    """Variance of the mean difference that the test divides by, and its degrees of freedom."""
    c, draws, units = design.components, design.draws, design.units
    if draws < ENOUGH_DRAWS:
        return (c.units + c.rest / max(draws, 1)) / units, units - 1.0
    by_draw, by_unit = units * c.draws + c.rest, draws * c.units + c.rest
    total = by_draw + by_unit - c.rest
    if total <= 0:
        return 0.0, 1.0
    spread = by_draw**2 / (draws - 1) + by_unit**2 / (units - 1) + c.rest**2 / ((draws - 1) * (units - 1))
    return total / (draws * units), total**2 / spread


def advice(design: Design, comparisons: int, *, basis: str | None = None) -> list[str]:
    """What the design can show, and what five points would take, in sentences; nothing where no difference was seen.

    `basis` says where variances come from that the study itself has not seen.
    """
    least = detectable(design, comparisons)
    if least is None:
        return []
    by = "" if basis is None else f" (variances {basis if basis.startswith('assumed') else f'by {basis}'})"
    found = (
        "no difference to base, however large," if least > 1 else f"a difference to base of {100 * least:.1f} points"
    )
    said = (
        f"With {design.draws} {'draw' if design.draws == 1 else 'draws'} and {design.units} units, {found} "
        f"would be found four times in five{by}."
    )
    if least <= TARGET:
        return [said]
    units = _smallest(lambda n: Design(design.components, design.draws, n), design.units, MOST_UNITS, comparisons)
    draws = _smallest(lambda n: Design(design.components, n, design.units), design.draws, MOST_DRAWS, comparisons)
    ways = [
        *([f"about {_rounded(units)} units"] if units is not None else []),
        *([f"{draws - design.draws} more draws"] if draws is not None else []),
    ]
    if not ways:
        return [said, "Neither more units nor more draws alone would show 5 points here; both are needed."]
    return [said, f"To see 5 points here you need {' or '.join(ways)}."]


def _smallest(at: Callable[[int], Design], start: int, most: int, comparisons: int) -> int | None:
    """The smallest number from `start` on at which five points are found."""

    def enough(number: int) -> bool:
        least = detectable(at(number), comparisons)
        return least is not None and least <= TARGET

    if most <= 10 * MOST_DRAWS:
        return next((number for number in range(start + 1, most + 1) if enough(number)), None)
    if not enough(most):
        return None
    low, high = start, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _rounded(number: int) -> int:
    """Two digits that count: what comes of estimated variances says no more."""
    size: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // size) * size
