"""Means of figures over the steps or rounds of a fit, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Mapping

from harness.contracts import Bench

WEIGHT = "weight of "
"""Prefix of the sums that a figure's mean is divided by."""


def note(bench: Bench, figures: Mapping[str, float], weight: float = 1.0) -> None:
    """Add figures to the sums that survive a resume, each as a mean over `weight` things."""
    weighted = {name: weight * value for name, value in figures.items()}
    bench.tally(**weighted, **{WEIGHT + name: weight for name in figures})


def means(bench: Bench) -> dict[str, float]:
    """The mean of every figure that was noted, over what it was had for."""
    sums = bench.tally()
    return {name: value / sums[WEIGHT + name] for name, value in sums.items() if sums.get(WEIGHT + name)}
