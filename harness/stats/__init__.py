"""Intervals and paired tests over independent units.

Items (pairs, questions) may share a *unit*, the thing that was sampled independently (usually the question). Every
figure here is the plain mean over items, every uncertainty comes from the units (docs/decisions/0002-statistics.md
says why). Pure numpy, seeded: the same numbers give the same interval, whatever their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.stats.families import average_seeds, holm, seed_sd
from harness.stats.intervals import ALPHA, RESAMPLES, SHARED_BY_FOLDS, Estimate, mean_interval, same_items, wilson
from harness.stats.paired import Paired, paired_test, paired_tests, sign_flip, sign_flips
from harness.stats.power import (
    POWER,
    UnitSpread,
    planned_difference,
    smallest_detectable_difference,
    spread_of,
    units_needed,
)
from harness.stats.resampling import EXACT_OUTCOMES, PERMUTATIONS, mean_intervals

if TYPE_CHECKING:
    from harness.stats.intervals import Floats

__all__ = [
    "ALPHA",
    "EXACT_OUTCOMES",
    "PERMUTATIONS",
    "POWER",
    "RESAMPLES",
    "SHARED_BY_FOLDS",
    "Estimate",
    "Floats",
    "Paired",
    "UnitSpread",
    "average_seeds",
    "holm",
    "mean_interval",
    "mean_intervals",
    "paired_test",
    "paired_tests",
    "planned_difference",
    "same_items",
    "seed_sd",
    "sign_flip",
    "sign_flips",
    "smallest_detectable_difference",
    "spread_of",
    "units_needed",
    "wilson",
]
