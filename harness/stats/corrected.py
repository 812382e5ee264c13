"""A mean of cheap verdicts on many items, corrected by dear ones on a few: prediction-powered inference (PPI++).

Angelopoulos, Duchi and Zrnic 2023, arXiv:2311.01453. The dear verdicts' mean is unbiased whatever the cheap ones are;
the cheap ones only make its interval narrower, by a weight that the data choose. The items with dear verdicts have to
be a random part of all: the first of an ordered list are not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.contracts import HarnessError
from harness.stats.intervals import ALPHA

LEAST = 2
"""Items with a dear verdict, and items without, that a spread is taken from."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """A corrected mean with its 95 % interval (normal approximation over items)."""

    mean: float
    ci95: tuple[float, float]
    gold: int
    """Items with a dear verdict."""
    judged: int
    """Items with a cheap verdict alone."""
    weight: float
    """From 0, the dear verdicts alone, to 1, the cheap ones taken in full."""


def corrected_mean(gold: Mapping[str, float], judged: Mapping[str, float]) -> Corrected:
    """The mean of `gold` over all items of `judged`, of which it has a part.

    Raises HarnessError where gold has items that were not judged, or either part has fewer than two items.
    """
    from scipy.stats import norm

    missing = sorted(gold.keys() - judged.keys())
    if missing:
        raise HarnessError(
            f"{len(missing)} items have a gold verdict but no cheap verdict; the first is {missing[0][:60]!r}"
        )
    rest = np.array([value for item, value in judged.items() if item not in gold])
    if min(len(gold), len(rest)) < LEAST:
        raise HarnessError(f"a correction needs {LEAST} items with a gold verdict and {LEAST} without")
    dear = np.array(list(gold.values()))
    cheap = np.array([judged[item] for item in gold])
    weight = _weight(dear, cheap, rest)
    mean = float(weight * rest.mean() + (dear - weight * cheap).mean())
    spread = math.hypot(
        weight * rest.std() / math.sqrt(len(rest)), (dear - weight * cheap).std() / math.sqrt(len(dear))
    )
    half = float(norm.ppf(1 - ALPHA / 2)) * spread
    return Corrected(mean, (mean - half, mean + half), len(dear), len(rest), weight)


def _weight(
    dear: np.ndarray[tuple[int], np.dtype[np.float64]],
    cheap: np.ndarray[tuple[int], np.dtype[np.float64]],
    rest: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> float:
    """Eq. 11 of the paper, for a mean: what makes the variance least, cut to [0, 1]."""
    variance = float(np.concatenate([cheap, rest]).var(ddof=1))
    if variance == 0:
        return 0.0
    covariance = float(((dear - dear.mean()) * (cheap - cheap.mean())).mean())
    return min(1.0, max(0.0, covariance / ((1 + len(dear) / len(rest)) * variance)))
