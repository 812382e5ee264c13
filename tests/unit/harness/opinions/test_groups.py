"""Whose ratings are read on behalf of a group."""

from __future__ import annotations

import pytest

from harness.contracts import FewShot, HarnessError, Rating
from harness.opinions.groups import next_groups, read_ratings, require_groups

pytestmark = pytest.mark.core

A, B, C = ((Rating(name, "Is it?", ("yes", "no"), (0.5, 0.5)),) for name in "abc")


def test_the_next_group_follows_in_order_of_name_and_the_first_after_the_last() -> None:
    assert next_groups(["c", "a", "b"]) == {"a": "b", "b": "c", "c": "a"}
    assert next_groups(["a"]) == next_groups([]) == {}


def test_swapped_every_group_is_read_by_the_next_ones_ratings() -> None:
    groups = {"c": C, "a": A, "b": B}
    assert list(read_ratings(groups, "own").items()) == [("a", A), ("b", B), ("c", C)]
    assert read_ratings(groups, "swapped") == {"a": B, "b": C, "c": A}
    assert read_ratings({}, "swapped") == {}


def test_one_group_alone_cannot_be_swapped_and_none_is_refused() -> None:
    assert read_ratings({"a": A}, "own") == {"a": A}
    with pytest.raises(HarnessError, match="needs two target groups, there is only 'a'"):
        read_ratings({"a": A}, "swapped")
    with pytest.raises(HarnessError, match="aligner ridge needs groups"):
        require_groups("ridge", FewShot())
