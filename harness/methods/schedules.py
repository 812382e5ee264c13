"""How many steps a phase takes, at which rate, and in which order it goes through its items."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from harness.contracts import Aligned, Bench, FewShot, HarnessError, Pair, Regime, Schedule
from harness.util.hashes import content_hash

T = TypeVar("T")

SFT_RATE = 1e-3
"""Peak learning rate, for an adapter, of methods with a likelihood term: `sft`, `orpo`, `irpo`, `gem` (SFT).

The search's choice for `sft` (docs/log/learning-rates.md).
"""
CONTRAST_RATE = 5e-4
"""Peak learning rate, for an adapter, of methods without a likelihood term: `dpo`, its kin, and what trains with it.

The search's choice for `dpo` (docs/log/learning-rates.md).
"""
PAIR_EPOCHS, PAIR_WARMUP = 3.0, 0.1
"""Passes over the pairs and share of rising rate that the pair methods have by default."""


class OnPairs(Protocol):
    """The settings of a method's schedule on pairs."""

    @property
    def learning_rate(self) -> float:
        """The highest rate."""
        ...

    @property
    def epochs(self) -> float:
        """Passes over the pairs."""
        ...

    @property
    def warmup(self) -> float:
        """Share of steps with rising rate."""
        ...


def steps_over(regime: Regime, items: int, epochs: float) -> int:
    """Optimizer steps for `epochs` passes over `items` in the regime's batches, and never fewer than its minimum."""
    return max(regime.min_steps, math.ceil(epochs * items / regime.batch))


def require_pairs(name: str, pairs: Sequence[Pair]) -> None:
    """Raises HarnessError when there is nothing to learn from."""
    if not pairs:
        raise HarnessError(f"aligner {name} needs labelled pairs and was given none; raise --budget")


def fit_on_pairs(
    name: str,
    config: OnPairs,
    bench: Bench,
    few_shot: FewShot,
    trainer: Callable[[tuple[Pair, ...], Schedule], Any],
) -> Aligned:
    """What the pair methods do alike: hold pairs out, and train on the others at a rate that rises, then falls to 0.

    `trainer(pairs, schedule)` makes the trainer. Raises HarnessError without pairs.
    """
    require_pairs(name, few_shot.pairs)
    pairs, held_out = bench.split(few_shot.pairs)
    steps = steps_over(bench.regime, len(pairs), config.epochs)
    bench.train(trainer(pairs, Schedule(config.learning_rate, steps, config.warmup)), held_out=held_out)
    return bench.aligned()


def in_epochs(items: Sequence[T], count: int, *seed: object) -> list[T]:
    """`count` items: all of them in a random order that follows from `seed`, then all again in another, and so on.

    Items have a canonical JSON form; equal ones keep their order.
    """
    order: list[T] = []
    epoch = 0
    while items and len(order) < count:
        order += sorted(items, key=lambda item: content_hash(*seed, epoch, item))
        epoch += 1
    return order[:count]


def batches(items: Sequence[T], size: int, steps: int, *seed: object) -> list[list[T]]:
    """`steps` batches of `size` in the order of `in_epochs`; empty ones where there are no items."""
    places = in_epochs(range(len(items)), size * steps, *seed)
    return [[items[place] for place in places[step * size : (step + 1) * size]] for step in range(steps)]
