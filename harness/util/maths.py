"""Logarithms and shares of a few numbers, without numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), for any x."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def softmax(values: Sequence[float]) -> list[float]:
    """Shares that sum to 1, in proportion to e^value."""
    top = max(values)
    shares = [math.exp(value - top) for value in values]
    return [share / sum(shares) for share in shares]


def log_softmax(values: Sequence[float]) -> list[float]:
    """Natural logarithms of the shares that `softmax` gives, also where a share is too small for a float."""
    top = max(values)
    log_sum = top + math.log(sum(math.exp(value - top) for value in values))
    return [value - log_sum for value in values]


def logit(p: float) -> float:
    """log p/(1-p) of a probability, which is kept 1e-12 away from 0 and 1."""
    clipped = min(max(p, 1e-12), 1 - 1e-12)
    return math.log(clipped) - math.log1p(-clipped)
