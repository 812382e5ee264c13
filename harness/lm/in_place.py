"""Rows that leave a batch: the last ones that stay move into their places, so that little is copied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def without_gaps(stays: Sequence[bool]) -> list[int]:
    """Which row each place holds once all that stay stand at the front: their own, or one from behind in a gap."""
    size = sum(stays)
    from_behind = iter([row for row in range(size, len(stays)) if stays[row]])
    return [place if stays[place] else next(from_behind) for place in range(size)]


def move_rows(states: Iterable[Tensor], kept: Tensor) -> None:
    """Put row `kept[i]` of every tensor at its place i, for the places where another one stands."""
    places = torch.arange(len(kept), device=kept.device)
    moved = places[kept != places]
    if len(moved):
        for one in states:
            one[moved] = one[kept[moved]]
