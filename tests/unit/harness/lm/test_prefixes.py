"""Which contexts share which prefix: all of them once, behind a prefix that they have, with few tokens to compute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.lm.prefixes import OVERHEAD, SHARED_PREFIX, Ids, clusters

pytestmark = pytest.mark.core


def tokens(found: dict[Ids, list[Ids]]) -> int:
    return sum(len(shared) + sum(len(one) - len(shared) for one in members) for shared, members in found.items())


def made(contexts: list[Ids], *, fewest_tokens: bool = True) -> dict[Ids, list[Ids]]:
    return dict(clusters(contexts, fewest_tokens=fewest_tokens))


@pytest.mark.parametrize("fewest_tokens", [True, False])
def test_contexts_share_at_least_64_tokens(*, fewest_tokens: bool) -> None:
    long, short = tuple(range(64)), tuple(range(200, 263))
    contexts = [(*long, 1), (*long, 2), (*short, 1), (*short, 2), (5,)]
    found = made(contexts, fewest_tokens=fewest_tokens)
    assert set(found[long]) == set(contexts[:2])
    assert set(found[()]) == set(contexts[2:])


def test_a_short_prefix_of_all_does_not_hide_the_long_ones_of_some() -> None:
    """As in few-shot prompts: all begin alike, and those of a group share hundreds of tokens more."""
    head = tuple(range(70))
    groups = [(*head, *range(1000 * g, 1000 * g + 300)) for g in (1, 2, 3)]
    contexts = [(*group, 9, question) for group in groups for question in range(5)]
    odd = (*head, 7)
    found = made([*contexts, odd, (*head, 8)])
    assert {shared[70] for shared in found if len(shared) > 70} == {1000, 2000, 3000}
    assert set(found[head]) == {odd, (*head, 8)}
    assert len(made(contexts, fewest_tokens=False)) == 1


def test_parts_that_hardly_share_more_stay_together() -> None:
    head = tuple(range(70))
    contexts = [(*head, *range(100 * g, 100 * g + 20), question) for g in (1, 2, 3) for question in range(3)]
    assert list(made(contexts)) == [head]


def test_contexts_that_each_begin_the_next_are_divided_too() -> None:
    """A window that grows by a token is as deep as it is long."""
    whole = tuple(range(3000))
    contexts = [whole[:n] for n in range(1, 3000)]
    for fewest in (True, False):
        found = made(contexts, fewest_tokens=fewest)
        assert sorted(one for members in found.values() for one in members) == sorted(contexts)


some = st.lists(st.integers(0, 1), min_size=1, max_size=6).map(tuple)


@given(st.lists(some, min_size=1, max_size=12, unique=True), st.integers(0, 2))
def test_every_context_comes_once_behind_what_it_begins_with(short: list[Ids], scale: int) -> None:
    """Each symbol stands for a run of tokens, so that prefixes are long enough to be shared."""
    contexts = [tuple(symbol * 1000 + i for symbol in one for i in range(40 * scale + 1)) for one in short]
    found = made(contexts)
    assert sorted(one for members in found.values() for one in members) == sorted(contexts)
    for shared, members in found.items():
        assert not shared or len(shared) >= SHARED_PREFIX
        assert all(one[: len(shared)] == shared and len(one) > len(shared) for one in members if shared)
    coarse = made(contexts, fewest_tokens=False)
    overheads = OVERHEAD * sum(bool(shared) for shared in found)
    assert tokens(found) + overheads <= tokens(coarse) + OVERHEAD * sum(bool(shared) for shared in coarse)
