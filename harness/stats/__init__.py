"""Intervals and paired tests over independent units.

Items (pairs, questions) may share a *unit*, the thing that was sampled independently (usually the question). Every
figure here is the plain mean over items, every uncertainty comes from the units (docs/decisions/0002-statistics.md
says why). Pure numpy, seeded: the same numbers give the same interval, whatever their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.stats.families import average_seeds, holm, seed_sd
from harness.stats.intervals import ALPHA, RESAMPLES, Estimate, mean_interval, wilson
from harness.stats.paired import EXACT_OUTCOMES, PERMUTATIONS, Paired, paired_test, sign_flip
from harness.stats.power import POWER, minimal_detectable_difference

if TYPE_CHECKING:
    from harness.stats.intervals import Floats

__all__ = [
    "ALPHA",
    "EXACT_OUTCOMES",
    "PERMUTATIONS",
    "POWER",
    "RESAMPLES",
    "Estimate",
    "Floats",
    "Paired",
    "average_seeds",
    "holm",
    "mean_interval",
    "minimal_detectable_difference",
    "paired_test",
    "seed_sd",
    "sign_flip",
    "wilson",
]
