"""Which methods cannot be told from the best: the model confidence set of Hansen, Lunde and Nason (2011), by `arch`.

The set holds the best method with 95 % confidence. Losses are negated unit means, resampled by unit (block size 1, for
units are independent). Draws are averaged before: the set speaks of new questions for these draws, not of new draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.contracts import HarnessError
from harness.stats.intervals import ALPHA, by_unit, checked, same_items

RESAMPLES = 2_000
SAME = 1e-9
"""Differences below this come from rounding."""
APART = 1e-12
"""By so much equal means are moved apart: `arch` drops the worst column at each step, and fails where two are that."""


def among_the_best(
    methods: Mapping[str, Mapping[str, float]], units: Mapping[str, str], *, seed: int = 0
) -> frozenset[str]:
    """Names of the methods that cannot be told from the best.

    `methods` maps a name to values by item, and higher is better.
    Methods with equal values on every unit are one column and are in the set together. Raises HarnessError without
    methods, and for items that only some of them have.
    """
    if not methods:
        raise HarnessError("no methods to compare: expected the values of one method or more")
    first = next(iter(methods.values()))
    for values in methods.values():
        same_items(first, values, units)
    columns = {name: _losses(values, units) for name, values in sorted(methods.items())}
    twins: dict[bytes, list[str]] = {}
    for name, losses in columns.items():
        twins.setdefault(np.round(losses, 12).tobytes(), []).append(name)
    kept = _confidence_set(np.column_stack([columns[names[0]] for names in twins.values()]), seed)
    return frozenset(name for place, names in enumerate(twins.values()) if place in kept for name in names)


def _losses(values: Mapping[str, float], units: Mapping[str, str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    items = sorted(values)
    labels = [units[item] for item in items]
    sums, sizes = by_unit(checked([values[item] for item in items], labels), labels)
    return np.asarray(-sums / sizes, dtype=np.float64)


def _confidence_set(losses: np.ndarray[tuple[int, int], np.dtype[np.float64]], seed: int) -> frozenset[int]:
    """Columns in the set. One column, or one unit, leaves nothing to tell apart."""
    if losses.shape[1] == 1 or losses.shape[0] < 2:
        return frozenset(range(losses.shape[1]))
    candidates = [place for place in range(losses.shape[1]) if not _surely_worse(losses, place)]
    if len(candidates) == 1:
        return frozenset(candidates)
    from arch.bootstrap import MCS

    apart = losses[:, candidates] + APART * np.arange(len(candidates))
    chosen = MCS(apart, size=ALPHA, reps=RESAMPLES, block_size=1, seed=seed)
    chosen.compute()
    included: Any = chosen.included
    return frozenset(candidates[int(place)] for place in included)


def _surely_worse(losses: np.ndarray[tuple[int, int], np.dtype[np.float64]], place: int) -> bool:
    """Whether another column is better by the same amount on every unit: no resample says otherwise.

    Such a pair has a difference without spread, by which the set's procedure would divide.
    """
    behind = losses[:, [place]] - losses
    return bool((np.ptp(behind, axis=0) < SAME)[behind.mean(axis=0) > SAME].any())
