"""Which contexts are computed behind which shared prefix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

Ids = tuple[int, ...]
SHARED_PREFIX = 64
"""A common prefix of contexts at least this long (tokens) is computed once, unless a caller says otherwise."""
DEEPEST = 100
"""Divisions within divisions: beyond them contexts stay together."""
OVERHEAD = 64
"""What another shared prefix costs on a CPU beside its tokens, in tokens: a forward pass reads all weights."""


def clusters(
    contexts: Sequence[Ids], *, fewest_tokens: bool, shortest: int = SHARED_PREFIX
) -> Iterator[tuple[Ids, list[Ids]]]:
    """Contexts by the prefix of at least `shortest` tokens that they share, short ones first within each.

    The prefix is empty for those that share none; it never holds a context's last token. With `fewest_tokens` contexts
    that share a short prefix are divided into parts that share longer ones, where that leaves fewer tokens to compute;
    otherwise into the fewest parts whose common prefix is long enough.
    """
    ordered = sorted(contexts)
    common = [_common(a, b) for a, b in pairwise(ordered)]
    whole = _Division(ordered, common, fewest_tokens, shortest)
    alone: list[Ids] = []
    for part in whole.best(0, len(ordered))[1] if ordered else ():
        members = [ordered[place] for place in part.places]
        if part.depth:
            yield members[0][: part.depth], sorted(members, key=len)
        else:
            alone += members
    if alone:
        yield (), sorted(alone, key=len)


@dataclass(frozen=True, slots=True)
class _Part:
    """Contexts that share a prefix of `depth` tokens; 0: they share none."""

    places: tuple[int, ...]
    depth: int


@dataclass(frozen=True, slots=True)
class _Division:
    """Sorted contexts, and how much each has in common with the next: a trie, read from its root."""

    ordered: Sequence[Ids]
    common: Sequence[int]
    fewest_tokens: bool
    shortest: int

    def best(self, first: int, end: int, level: int = 0) -> tuple[int, list[_Part]]:
        """What the contexts from `first` to before `end` cost, in tokens, and how they are divided."""
        if end - first == 1:
            return len(self.ordered[first]), [_Part((first,), 0)]
        least = min(self.common[first : end - 1])
        depth = min(least, *(len(self.ordered[place]) - 1 for place in range(first, end)))
        if depth >= self.shortest and (level == DEEPEST or not self.fewest_tokens):
            behind = sum(len(self.ordered[place]) - depth for place in range(first, end))
            return depth + OVERHEAD + behind, [_Part(tuple(range(first, end)), depth)]
        return self._divided(depth, list(self._branches(first, end, least)), level + 1)

    def _branches(self, first: int, end: int, least: int) -> Iterator[tuple[int, int]]:
        """The contexts where they have more in common than `least`."""
        start = first
        for place in range(first, end):
            if place == end - 1 or self.common[place] == least:
                yield start, place + 1
                start = place + 1

    def _divided(self, depth: int, branches: Sequence[tuple[int, int]], level: int) -> tuple[int, list[_Part]]:
        """Every branch by itself, or those behind the common prefix that are cheaper there."""
        apart = [self.best(*branch, level) for branch in branches]
        cost, parts = sum(one for one, _ in apart), [part for _, some in apart for part in some]
        if depth < self.shortest:
            return cost, parts
        behind = [sum(len(self.ordered[i]) - depth for i in range(*branch)) for branch in branches]
        joined = [there <= alone for there, (alone, _) in zip(behind, apart, strict=True)]
        places = [i for branch, joins in zip(branches, joined, strict=True) if joins for i in range(*branch)]
        together = (
            depth
            + OVERHEAD
            + sum(there if joins else alone for there, joins, (alone, _) in zip(behind, joined, apart, strict=True))
        )
        if len(places) < 2 or together > cost:
            return cost, parts
        rest = [part for (_, some), joins in zip(apart, joined, strict=True) if not joins for part in some]
        return together, [_Part(tuple(places), depth), *rest]


def _common(a: Ids, b: Ids) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
