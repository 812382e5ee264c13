"""Where an answer's reasoning ends and its final part begins, in token ids."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.contracts import Spans

Decode = Callable[[Sequence[int]], str]
MIN_MARKER_RATE, MIN_GROUPS_USED, MIN_REASONING = 0.80, 0.75, 8
"""Floors: scored samples that the marker splits, groups that can be compared, tokens of reasoning."""


def marker_pattern(marker: str) -> re.Pattern[str]:
    """The marker in any case, with any white space between its words."""
    return re.compile(r"\s+".join(re.escape(word) for word in marker.split()) or re.escape(marker), re.IGNORECASE)


def marker_tokens(ids: Sequence[int], decode: Decode, marker: str) -> tuple[int, int] | None:
    """Token range of the last marker, or None.

    Works on token ids under any tokenisation, without encoding text again. The range ends with the shortest prefix
    whose text holds as many markers as the whole: that count never falls as tokens are added, so it can be bisected.
    It starts with the last offset from which the decoded range still holds one.
    """
    pattern = marker_pattern(marker)

    def count(end: int) -> int:
        return sum(1 for _ in pattern.finditer(decode(ids[:end])))

    total = count(len(ids))
    if total == 0:
        return None
    low, high = 1, len(ids)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) == total else (middle + 1, high)
    start = low - 1
    while start > 0 and not pattern.search(decode(ids[start:low])):
        start -= 1
    return start, low


@dataclass(frozen=True, slots=True)
class Split:
    """Reasoning is tokens [0, reasoning), the final answer [final, length); the marker itself is in neither."""

    reasoning: int
    final: int
    length: int
    marked: bool
    """Found by the marker, not by position."""

    @property
    def reasoned(self) -> bool:
        """Whether there is reasoning enough to filter by."""
        return self.reasoning >= MIN_REASONING


def split(ids: Sequence[int], decode: Decode, marker: str, shares: tuple[float, float], spans: Spans) -> Split:
    """Split an answer of at least two tokens (end of turn excluded) so that neither span is empty.

    Under `marker` the final answer begins after the last one. Without one, and under `positional`, it is a share of the
    tokens: the first of `shares` where the marker occurs nowhere, the second where it does.
    """
    length, found = len(ids), marker_tokens(ids, decode, marker)
    if spans == "marker" and found is not None:
        return Split(max(1, found[0]), min(found[1], length - 1), length, marked=True)
    final = max(1, length - max(1, math.floor(shares[found is not None] * length + 1e-9)))
    return Split(final, final, length, marked=False)


def split_ahead(spans: Spans, marker: str, *, by_pool: bool) -> str:
    """Where the final answer of a sample will begin, and who says so, in words."""
    where = f'after the marker "{marker}"' if spans == "marker" else "by position, without a floor on markers"
    return f"{where}, {'as the pool says' if by_pool else 'as was asked for'}"


def nothing_to_filter(figures: Mapping[str, float], spans: Spans) -> str | None:
    """Why SEGA was not GEM any more, or None: no marker to split by, no reasoning to filter, no groups to compare."""
    rate, used = figures.get("marker_rate", 1.0), figures["groups_used"]
    if spans == "marker" and rate < MIN_MARKER_RATE:
        return f"{rate:.0%} of the scored samples were split by the marker, {MIN_MARKER_RATE:.0%} are needed"
    if used < MIN_GROUPS_USED:
        return f"{used:.0%} of the groups could be used, {MIN_GROUPS_USED:.0%} are needed"
    if figures.get("reasoned", 1.0) < 0.5:  # then the median is below the floor
        return f"most scored samples reason for fewer than {MIN_REASONING} tokens, so that there is nothing to filter"
    return None
