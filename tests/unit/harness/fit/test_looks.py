"""When held-out pairs are looked at: as often for a method of many phases as for a method of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.fit.phases import HELD_OUT_LOOKS, look_steps


@pytest.mark.parametrize(("steps", "expected"), [(32, {8, 16, 24, 32}), (187, {47, 94, 141, 187}), (3, {1, 2, 3})])
def test_looks_lie_at_equal_distances_and_the_last_step_is_one(steps: int, expected: set[int]) -> None:
    assert look_steps(steps) == expected


@given(st.integers(HELD_OUT_LOOKS, 5000))
def test_every_fit_has_as_many(steps: int) -> None:
    found = sorted(look_steps(steps))
    assert len(found) == HELD_OUT_LOOKS
    assert found[-1] == steps
    gaps = [b - a for a, b in zip([0, *found], found, strict=False)]
    assert max(gaps) - min(gaps) <= 1
