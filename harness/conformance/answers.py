"""What a fitted model answers to the lesson's held-out items: all that the kit looks at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.conformance.checks import T
from harness.conformance.lesson import HELD_OUT, TARGETS, UNLABELLED, lesson_pairs
from harness.contracts import (
    Aligned,
    ChooseRequest,
    Chooses,
    GenerateRequest,
    Generates,
    Preference,
    PreferRequest,
    Prefers,
    user,
)

NEVER = 10**9
"""Optimizer steps between checkpoints: no fit of the kit is interrupted. Also, items asked about at once: all."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a fitted model answers to the held-out items, each asked once."""

    preferences: tuple[Preference, ...]
    samples: tuple[tuple[int, ...], ...]
    choices: tuple[tuple[float, ...], ...]

    @property
    def behaviour(self) -> tuple[Any, ...]:
        """All of it, exactly: log-likelihoods, samples and choices."""
        return (*((p.p_a, p.a, p.b) for p in self.preferences), *self.samples, *self.choices)

    @property
    def margins(self) -> tuple[float, ...]:
        """As the function `margins` gives them."""
        return tuple(map(_margin, self.preferences)) or _silent()

    @property
    def likelihood(self) -> bool:
        """Whether the model's rule of preference is its likelihood."""
        return bool(self.preferences) and all(p.a is not None for p in self.preferences)


def answers(aligned: Aligned) -> Answers:
    """Ask a fitted model all held-out items."""
    preferences: tuple[Preference, ...] = ()
    samples: list[tuple[int, ...]] = []
    if isinstance(aligned, Prefers):
        preferences = tuple(aligned.prefer(_held_out()))
    if isinstance(aligned, Generates):
        asked = [GenerateRequest(p.prompt, 8, temperature=1.0, seed=1) for p in lesson_pairs(HELD_OUT[:1])]
        samples = [tuple(completion.ids) for group in aligned.generate(asked) for completion in group]
    return Answers(preferences, tuple(samples), choices(aligned))


def behaviour(aligned: Aligned) -> tuple[Any, ...]:
    """All that a fitted model answers to the held-out items, exactly."""
    return answers(aligned).behaviour


def choices(aligned: Aligned, at_once: int = NEVER) -> tuple[tuple[float, ...], ...]:
    """Log-probabilities that the result gives the options of the held-out questions; empty where it cannot choose."""
    if not isinstance(aligned, Chooses):
        return ()
    return tuple(tuple(row) for part in _parts(_asked_of_groups(), at_once) for row in aligned.choose(part))


def _parts(asked: list[T], at_once: int) -> Iterator[list[T]]:
    for start in range(0, len(asked), at_once):
        yield asked[start : start + at_once]


def _asked_of_groups() -> list[ChooseRequest]:
    return [
        ChooseRequest(user(f"Do you like the {noun}?"), ("A", "B"), ("yes", "no"), group)
        for group in TARGETS
        for noun in (*UNLABELLED, *HELD_OUT[:2])
    ]


def _held_out() -> list[PreferRequest]:
    return [PreferRequest(p.prompt, p.chosen, p.rejected) for p in lesson_pairs(HELD_OUT)]


def margins(aligned: Aligned, at_once: int = NEVER) -> tuple[float, ...]:
    """log pi(right) - log pi(wrong) of every held-out pair, in nats, or the log-odds of a rule that is no likelihood.

    0 where the model cannot say.
    """
    if not isinstance(aligned, Prefers):
        return _silent()
    return tuple(_margin(answer) for part in _parts(_held_out(), at_once) for answer in aligned.prefer(part))


def _silent() -> tuple[float, ...]:
    return (0.0,) * len(_held_out())


def _margin(preference: Preference) -> float:
    if preference.a is not None and preference.b is not None:
        return preference.a[0] - preference.b[0]
    p = min(max(preference.p_a, 1e-12), 1 - 1e-12)
    return math.log(p / (1 - p))
