"""A step's log-probabilities in pieces: where memory runs out, each piece is computed again for its gradient.

A loss that compares the answers of a batch (advantages of a group, a divergence, a mean over tokens) is no sum of the
losses of its halves. Its log-probabilities are: each piece of them is computed, what its gradient needs is thrown away,
and it is computed once more when the gradient arrives. The loss and its gradient stay those of the whole batch, memory
is that of one piece, and the price is a second forward.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

import torch
from torch.utils.checkpoint import checkpoint

from harness.lm.rows import Group, TokenStats

Scored = list[list[TokenStats]]


class Pieces:
    """How many of a step's answers are computed at a time."""

    def __init__(self) -> None:
        self.at_once: int | None = None
        """None: all of them."""
        self.seen = 0
        """Most answers that were computed at a time, with a gradient, since this was last set to 0."""

    def halve(self) -> bool:
        """Compute half as many answers at a time as were seen; False where that was a single one, or none."""
        if self.seen <= 1:
            return False
        self.at_once = -(-self.seen // 2)
        return True


_PIECES: ContextVar[Pieces | None] = ContextVar("pieces", default=None)


@contextmanager
def in_pieces(pieces: Pieces) -> Iterator[None]:
    """Compute log-probabilities with a gradient in pieces as `pieces` says, inside a `with` block."""
    pieces.seen = 0
    token = _PIECES.set(pieces)
    try:
        yield
    finally:
        _PIECES.reset(token)


def piecewise(groups: Sequence[Group], compute: Callable[[Sequence[Group]], Scored]) -> Scored:
    """`compute(groups)`, with a gradient piece by piece where that was asked for."""
    pieces = _PIECES.get()
    if pieces is None or not torch.is_grad_enabled():
        return compute(groups)
    answers = sum(len(group.completions) for group in groups)
    size = min(answers, pieces.at_once or answers)
    pieces.seen = max(pieces.seen, size)
    if size == answers:
        return compute(groups)
    found: Scored = [[] for _ in groups]
    for places, piece in _divided(groups, size):
        # The gradient is computed on another thread where there is a GPU, and that thread knows no context of ours.
        context = contextvars.copy_context()
        scored = checkpoint(lambda part, known=context: known.copy().run(compute, part), piece, use_reentrant=False)
        for place, stats in zip(places, scored, strict=True):
            found[place] += stats
    return found


def _divided(groups: Sequence[Group], size: int) -> Iterator[tuple[list[int], list[Group]]]:
    """Pieces of at most `size` answers, in order: which groups they are from, and these groups with those answers."""
    places: list[int] = []
    piece: list[Group] = []
    room = size
    for place, group in enumerate(groups):
        rest = list(group.completions)
        while rest:
            places.append(place)
            piece.append(replace(group, completions=rest[:room]))
            room, rest = room - len(rest[:room]), rest[room:]
            if room == 0:
                yield places, piece
                places, piece, room = [], [], size
    if piece:
        yield places, piece
