"""How often a table without any effect has a finding, for the metrics of multiple choice and of care_protocol.

    python benchmarks/false_positives.py --tables 1000 --seed 0

Each simulated table has a base and three methods that have base's mean on every item, by construction, and are tested
as a leaderboard does: sign flips over units, Holm over the methods. Two kinds of null hypothesis: `alike`, where
methods and base are drawn from one distribution, and `surer`, where a method's figures spread more than base's at the
same mean, as those of a model that training made certain do. Printed for each: the share of tables with a verdict, its
standard error, and the share of single tests below 0.05. Both shares should be at most 0.065.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from harness.stats import ALPHA, holm, paired_tests
from leaderboards.rank import verdict

Floats = NDArray[np.float64]
METHODS, LETTERS, RULES = 3, 4, 6
QUESTIONS, SCENARIOS = (24, 1), (88, 2)
"""Independent units of a table, and items of each: `cpu-demo`'s questions, care_protocol's scenarios."""
NULLS = ("alike", "surer")


def p_gold(rng: np.random.Generator, means: Floats, spread: float) -> Floats:
    """A probability with the item's mean: Beta, the wider the larger the spread."""
    return rng.beta(means / spread, (1 - means) / spread)


def acc_cyclic(rng: np.random.Generator, means: Floats, spread: float) -> Floats:
    """The share of four rotations of the letters that are answered rightly; a letter that is always given has 1/4."""
    chances = rng.beta(means / spread, (1 - means) / spread)
    return rng.binomial(LETTERS, chances) / LETTERS


def adherence(rng: np.random.Generator, means: Floats, spread: float) -> Floats:
    """The share of six rules that are kept; those of an answer hang together."""
    chances = rng.beta(means / spread, (1 - means) / spread)
    return rng.binomial(RULES, chances) / RULES


def right(rng: np.random.Generator, means: Floats, spread: float) -> Floats:
    """An answer that is right or wrong."""
    return rng.binomial(1, rng.beta(means / spread, (1 - means) / spread)).astype(np.float64)


def seldom(rng: np.random.Generator, means: Floats, spread: float) -> Floats:
    """An answer that few models get right: all six rules are kept, each with nearly the item's chance."""
    return right(rng, means**3, spread)


def closeness(rng: np.random.Generator, means: Floats, spread: float) -> Floats:
    """A cosine: it has a mean for each item and spreads evenly around it, beyond neither -1 nor 1."""
    return means + rng.uniform(-1.0, 1.0, len(means)) * np.minimum(1.0 - means, 0.6) * math.sqrt(spread)


METRICS: dict[str, tuple[tuple[int, int], Callable[[np.random.Generator, Floats, float], Floats]]] = {
    "p_gold": (QUESTIONS, p_gold),
    "acc_cyclic": (QUESTIONS, acc_cyclic),
    "acc_written": (QUESTIONS, right),
    "adherence": (SCENARIOS, adherence),
    "urgency_acc": (SCENARIOS, right),
    "all_rules": (SCENARIOS, seldom),
    "closeness": (SCENARIOS, closeness),
}


def simulated(metric: str, null: str, rng: np.random.Generator) -> list[Floats]:
    """Base's values and those of the methods, items in order; items of a unit share what makes it hard."""
    (units, items), drawn = METRICS[metric]
    means = np.repeat(rng.beta(2.0, 4.0, units).clip(0.02, 0.98), items)
    spreads = [0.1, *([0.1] * METHODS if null == "alike" else (0.2, 0.5, 1.0))]
    return [drawn(rng, means, spread) for spread in spreads]


@dataclass(frozen=True)
class Rates:
    """Of tables without an effect."""

    metric: str
    null: str
    tables: int
    with_verdict: float
    """Share of tables in which a method is called better or worse."""
    single_tests: float
    """Share of unadjusted tests below 0.05."""
    error: float
    """Standard error of the former."""


def rates(metric: str, null: str, tables: int, seed: int) -> Rates:
    rng = np.random.default_rng([seed, list(METRICS).index(metric), NULLS.index(null)])
    (units, items), _ = METRICS[metric]
    labels = {f"item {i}": f"unit {i // items}" for i in range(units * items)}
    found, below = 0, 0
    for number in range(tables):
        base, *rows = (dict(zip(labels, map(float, row), strict=True)) for row in simulated(metric, null, rng))
        tests = paired_tests(rows, base, labels, seed=number, comparisons=METHODS)
        adjusted = holm([test.p for test in tests])
        found += any(verdict(test.difference, p) != "cannot tell" for test, p in zip(tests, adjusted, strict=True))
        below += sum(test.p < ALPHA for test in tests)
    share = found / tables
    error = math.sqrt(share * (1 - share) / tables)
    return Rates(metric, null, tables, share, below / (tables * METHODS), round(error, 4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for metric in METRICS:
        for null in NULLS:
            print(json.dumps(asdict(rates(metric, null, options.tables, options.seed))), flush=True)


if __name__ == "__main__":
    main()
