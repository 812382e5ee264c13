"""The smallest difference that a test could have shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from harness.stats.intervals import ALPHA

if TYPE_CHECKING:
    from harness.stats.intervals import Floats

POWER = 0.8


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
