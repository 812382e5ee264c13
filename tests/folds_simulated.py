"""Do intervals under `--folds` cover what they estimate, although the folds' models share data?

    python -m tests.folds_simulated [--tables 1000] [--seed 0]

A learner of known kind is fitted five times, each time without a fifth of the pairs, and asked about that fifth. A pair
is a point x, the difference of its two answers, and right where w.x > 0; since the true direction is known, so is the
true accuracy of every fitted w, and with it what is estimated: the mean over the five. Beside it the same learner is
fitted to shuffled labels, as a verdict needs. Each line gives, over so many made-up tables, the coverage of the
interval of the method's score and of its difference to the control, the coverage that intervals for independent
units would have, and how often the method is called better. Where no direction is true (`signal` 0), that is an error.

Some seconds a line, on one core.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.stats import ALPHA, SHARED_BY_FOLDS, mean_interval, paired_tests

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FOLDS = 5
RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class World:
    """Pairs, and a learner."""

    pairs: int
    prompts: int
    """Pairs of one prompt share half of their variance, and are held out together."""
    width: int
    """Dimensions of a pair."""
    signal: float
    """How far the mean of the pairs lies from 0, in standard deviations."""
    learner: str
    """`mean` of the pairs, `ridge` regression, or `least_squares`, which interpolates and is the least stable."""
    noise: float = 0.0
    """Of the training seed, half of it common to all folds, beside a weight vector of length 1."""


SIZES = ((20, 20), (40, 40), (40, 20), (100, 100), (195, 195))
LEARNERS: tuple[tuple[Any, ...], ...] = (
    (10, 0.0, "mean"),
    (2, 0.5, "mean"),
    (20, 0.5, "mean"),
    (20, 1.0, "mean", 1.0),
    (10, 2.0, "mean"),
    (60, 1.0, "ridge"),
    (31, 0.7, "least_squares"),
)
WORLDS = tuple(World(*size, *rest) for size in SIZES for rest in LEARNERS)


@dataclass(frozen=True, slots=True)
class Made:
    """One table: right or wrong of method and control by pair, each pair's unit, and the true means."""

    method: Floats
    control: Floats
    units: list[str]
    true_method: float
    true_control: float


def made(world: World, seed: int) -> Made:
    """Five fits of the method, and five on shuffled labels."""
    rng = np.random.default_rng([seed, world.pairs, world.prompts, world.width])
    unit = np.arange(world.pairs) % world.prompts
    own = 0.5 if world.prompts < world.pairs else 0.0
    shared = rng.normal(size=(world.prompts, world.width)) * math.sqrt(own)
    x = shared[unit] + rng.normal(size=(world.pairs, world.width)) * math.sqrt(1 - own)
    x[:, 0] += world.signal
    fold = rng.permutation(np.arange(world.prompts) % FOLDS)[unit]
    common = rng.normal(size=world.width)
    right, truth = np.zeros((2, world.pairs)), np.zeros(2)
    for index in range(FOLDS):
        held = fold == index
        flips = rng.permutation(np.where(np.arange((~held).sum()) % 2, -1.0, 1.0))
        for row, signs in enumerate((np.ones_like(flips), flips)):
            weights = _fitted(x[~held] * signs[:, None], world, common, rng)
            right[row, held] = x[held] @ weights > 0
            accuracy = NormalDist().cdf(world.signal * weights[0] / float(np.linalg.norm(weights)))
            truth[row] += accuracy * held.mean()
    return Made(right[0], right[1], [str(u) for u in unit], float(truth[0]), float(truth[1]))


def _fitted(x: Floats, world: World, common: Floats, rng: np.random.Generator) -> Floats:
    ones, weights = np.ones(len(x)), np.zeros(world.width)
    if world.learner == "mean":
        weights = x.mean(axis=0)
    elif world.learner == "ridge":
        weights = np.linalg.solve(x.T @ x + np.eye(world.width), x.T @ ones)
    else:
        weights = np.linalg.lstsq(x, ones, rcond=None)[0]
    jitter = (common + rng.normal(size=world.width)) / math.sqrt(2 * world.width)
    return np.asarray(weights / np.linalg.norm(weights) + world.noise * jitter)


@dataclass(frozen=True, slots=True)
class Covered:
    """Shares of tables."""

    score: float
    difference: float
    as_if_independent: float
    better: float
    """Tables whose method beats both one half and its control."""


def covered(world: World, tables: int, seed: int = 0) -> Covered:
    """The shares over `tables` tables."""
    found = np.array([_covers(made(world, seed + number)) for number in range(tables)], dtype=np.float64)
    return Covered(*map(float, found.mean(axis=0)))


def _covers(one: Made) -> tuple[bool, bool, bool, bool]:
    ids = [str(number) for number in range(len(one.units))]
    units = dict(zip(ids, one.units, strict=True))
    method, control, half = (
        dict(zip(ids, map(float, values), strict=True)) for values in (one.method, one.control, np.full(len(ids), 0.5))
    )
    own, naive = (
        mean_interval(one.method, one.units, resamples=RESAMPLES, inflation=inflation).ci95
        for inflation in (SHARED_BY_FOLDS, 1.0)
    )
    [base] = paired_tests([method], half, units, inflation=SHARED_BY_FOLDS)
    [beside] = paired_tests([method], control, units, inflation=SHARED_BY_FOLDS)
    better = max(base.p, beside.p) < ALPHA and base.difference > 0 and beside.difference > 0
    gap = one.true_method - one.true_control
    return _within(own, one.true_method), _within(beside.ci95, gap), _within(naive, one.true_method), better


def _within(limits: tuple[float, float] | None, value: float) -> bool:
    """No limits claim nothing."""
    return limits is None or limits[0] - 1e-9 <= value <= limits[1] + 1e-9


def main() -> None:
    """Print one line for each world."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print("pairs prompts width signal learner noise: score difference as-if-independent better")
    for world in WORLDS:
        found = covered(world, asked.tables, asked.seed)
        what = f"{world.pairs} {world.prompts} {world.width} {world.signal} {world.learner} {world.noise}"
        shares = (found.score, found.difference, found.as_if_independent, found.better)
        print(f"{what}: {' '.join(f'{share:.3f}' for share in shares)}", flush=True)


if __name__ == "__main__":
    main()
