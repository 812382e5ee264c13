"""Many tests at once, and several seeds of one method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.contracts import HarnessError
from harness.stats.intervals import same_items


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of a family of p-values, in the order given (Holm 1979).

    Comparing the results with alpha keeps the chance of one or more false findings in the family below alpha.
    """
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted


def average_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean value per item over the seeds' runs, each a mapping from item to value.

    Seeds answer the same questions, so they are no independent units: pooling them as such would shrink intervals by
    about the root of their number. Averaged first, what is left is the uncertainty over questions of the mean model;
    `seed_sd` says how far apart the seeds are. Raises HarnessError naming items that only some seeds have.
    """
    if not runs:
        raise HarnessError("no runs to average: expected the values of one seed or more")
    for other in runs[1:]:
        same_items(runs[0], other, None)
    by_item = zip(*(map(run.__getitem__, runs[0]) for run in runs), strict=True)
    return {item: math.fsum(values) / len(runs) for item, values in zip(runs[0], by_item, strict=True)}


def seed_sd(runs: Sequence[Mapping[str, float]]) -> float | None:
    """Standard deviation (n - 1) of the seeds' means; None below two seeds."""
    means = [math.fsum(run.values()) / len(run) for run in runs if run]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None
