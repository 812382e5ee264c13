"""What a fitted model answers to the lesson's held-out items: all that the kit looks at."""

from __future__ import annotations

import math
from collections.abc import Iterator
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


def behaviour(aligned: Aligned) -> tuple[Any, ...]:
    """All that a fitted model answers to the held-out items, exactly: log-likelihoods and samples."""
    answers: list[Any] = []
    if isinstance(aligned, Prefers):
        answers += [(p.p_a, p.a, p.b) for p in aligned.prefer(_held_out())]
    if isinstance(aligned, Generates):
        asked = [GenerateRequest(p.prompt, 8, temperature=1.0, seed=1) for p in lesson_pairs(HELD_OUT[:1])]
        answers += [completion.ids for group in aligned.generate(asked) for completion in group]
    return (*answers, *choices(aligned))


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
        return (0.0,) * len(_held_out())
    return tuple(_margin(answer) for part in _parts(_held_out(), at_once) for answer in aligned.prefer(part))


def likelihood(aligned: Aligned) -> bool:
    """Whether the model's rule of preference is its likelihood."""
    return isinstance(aligned, Prefers) and all(p.a is not None for p in aligned.prefer(_held_out()[:1]))


def _margin(preference: Preference) -> float:
    if preference.a is not None and preference.b is not None:
        return preference.a[0] - preference.b[0]
    p = min(max(preference.p_a, 1e-12), 1 - 1e-12)
    return math.log(p / (1 - p))
