"""Resamples and sign flips that many figures over the same units share: drawn once, applied by matrix products."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.stats.intervals import (
    CHUNK,
    RESAMPLES,
    Estimate,
    are_equal,
    by_unit,
    checked,
    expanded_tail,
    mean_interval,
    same_items,
    widened,
    within,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.stats.intervals import Floats

KEPT = 40_000_000
"""Largest number of draws (units times resamples) that is kept for the next figure: bytes."""


PERMUTATIONS = 20_000
"""Random sign flips of one test, where the exact distribution is too large."""


EXACT_OUTCOMES = 2**14
"""Up to so many distinct outcomes, the sign-flip distribution is enumerated."""


FEW = 4
"""Distinct values up to which `intervals.bootstrap` is quick: means of 0/1 answers over three seeds have four."""


def mean_intervals(
    rows: Sequence[Mapping[str, float]],
    units: Mapping[str, str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    inflation: float = 1.0,
) -> list[Estimate]:
    """`intervals.mean_interval` of several mappings from the same items to values; they share their draws.

    Raises HarnessError for items that only some rows have, and as `mean_interval` does.
    """
    if not rows:
        return []
    for row in rows:
        same_items(rows[0], row, units)
    items = sorted(rows[0])
    labels = [units[item] for item in items]
    found: list[Estimate] = []
    late: dict[int, tuple[Floats, Floats]] = {}
    values: dict[int, Floats] = {}
    for place, row in enumerate(rows):
        data = checked([row[item] for item in items], labels)
        sums, sizes = by_unit(data, labels)
        if is_quick(data, sums, sizes):
            found.append(mean_interval(data, labels, seed=seed, resamples=resamples, inflation=inflation))
        else:
            late[place], values[place] = (sums, sizes), data
            found.append(Estimate(math.fsum(data) / len(data), None, len(sums)))
    if late:
        sizes = next(iter(late.values()))[1]
        limits = bootstraps(np.array([sums for sums, _ in late.values()]), sizes, seed=seed, resamples=resamples)
        for place, (low, high) in zip(late, limits, strict=True):
            wide = widened((float(low), float(high)), found[place].mean, inflation)
            found[place] = replace(found[place], ci95=within(values[place], *wide))
    return found


def is_quick(data: Floats, sums: Floats, sizes: Floats) -> bool:
    """Whether an interval takes no time by itself: too few units, Wilson's, or a bootstrap of few distinct values."""
    if len(sums) < 2 or len(np.unique(sums)) <= FEW or are_equal(sums, sizes):
        return True
    return bool(np.isin(data, (0.0, 1.0)).all())


def bootstraps(sums: Floats, sizes: Floats, *, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """Percentile intervals (R, 2) of R ratios, whole units drawn again, from sums (R, U) and sizes (U,).

    The same distribution as `intervals.bootstrap`, with the same widened tails. Units are sorted, so that their order
    makes no difference; all R figures see the same draws.
    """
    rows, n = sums.shape
    order = np.argsort(sums, axis=1, kind="stable")
    ordered, weights = np.take_along_axis(sums, order, axis=1), sizes[order]
    even = bool((sizes == sizes[0]).all())
    means = np.empty((resamples, rows))
    for start, counts in _chunks(n, resamples, seed, _drawn):
        totals = counts @ ordered.T
        means[start : start + len(counts)] = totals / (n * sizes[0] if even else counts @ weights.T)
    tail = expanded_tail(n)
    # Rounded: the last bits of a matrix product hang on how many rows it has.
    limits = np.round(np.quantile(means, [tail, 1 - tail], axis=0).T, 12)
    centre = sums.sum(axis=1) / sizes.sum()
    return np.column_stack([np.minimum(limits[:, 0], centre), np.maximum(limits[:, 1], centre)])


def flipped_tails(sums: Floats, least: Floats, *, draws: int, seed: int = 0) -> Floats:
    """Two-sided p-values (R,) that random signs give totals of sums (R, U) as far from 0 as `least` (R,).

    (hits + 1) / (draws + 1), which is never 0.
    """
    ordered = np.sort(np.abs(sums), axis=1)
    hits = np.zeros(len(sums))
    for _, signs in _chunks(ordered.shape[1], draws, seed, _flipped):
        hits += (np.abs(signs @ ordered.T) >= least).sum(axis=0)
    return np.asarray((hits + 1) / (draws + 1), dtype=np.float64)


def _chunks(n: int, draws: int, seed: int, draw: Any) -> Iterator[tuple[int, Floats]]:
    """The draws in pieces of `CHUNK` rows as floats, each with its first row's number."""
    whole = _kept(n, draws, seed, draw) if n * draws <= KEPT else None
    rng = np.random.default_rng(seed)
    for start in range(0, draws, CHUNK):
        rows = min(CHUNK, draws - start)
        piece = draw(rng, rows, n) if whole is None else whole[start : start + rows]
        yield start, piece.astype(np.float64)


@lru_cache(maxsize=6)
def _kept(n: int, draws: int, seed: int, draw: Any) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    return np.concatenate([draw(rng, min(CHUNK, draws - start), n) for start in range(0, draws, CHUNK)])


def _drawn(rng: np.random.Generator, rows: int, n: int) -> NDArray[np.uint8]:
    """How often each of n units is drawn, (rows, n)."""
    places = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(places.ravel(), minlength=rows * n).reshape(rows, n).astype(np.uint8)


def _flipped(rng: np.random.Generator, rows: int, n: int) -> NDArray[np.int8]:
    """Signs, (rows, n)."""
    return 2 * rng.integers(0, 2, size=(rows, n), dtype=np.int8) - 1
