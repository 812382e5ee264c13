"""Orders and numbers of steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts import Prompt, user
from harness.methods.schedules import batches, in_epochs, steps_over
from tests.tiny import flat_regime

core = pytest.mark.core
REGIME = flat_regime(4, 32, "last", 256, 64, 64, 4)


@core
def test_batches_go_through_every_item_once_an_epoch_and_depend_on_the_seed() -> None:
    items = "abcdefgh"
    rows = batches(items, 4, 6, "x", 1)
    assert [len(row) for row in rows] == [4] * 6
    for epoch in range(3):
        assert sorted(rows[2 * epoch] + rows[2 * epoch + 1]) == list(items)
    assert rows[:2] != rows[2:4]
    assert rows != batches(items, 4, 6, "x", 2)
    assert batches(items, 4, 4, "x", 1) == rows[:4]
    assert batches("a", 3, 2, 0) == [["a"] * 3] * 2


@core
@given(st.integers(1, 7), st.integers(1, 5), st.integers(1, 6))
def test_a_batch_may_reach_into_the_next_epoch_but_no_item_waits_for_two(items: int, size: int, steps: int) -> None:
    flat = [place for row in batches(range(items), size, steps, 0) for place in row]
    assert len(flat) == size * steps
    for start in range(0, len(flat) - items + 1, items):
        assert sorted(flat[start : start + items]) == list(range(items))


@core
def test_without_items_batches_are_empty() -> None:
    assert batches([], 4, 2, 1) == [[], []]
    assert in_epochs([], 5, 1) == []


@core
def test_items_may_be_any_values() -> None:
    prompts = [Prompt(str(i), user(f"{i}?")) for i in range(5)]
    order = in_epochs(prompts, 5, "x")
    assert sorted(one.id for one in order) == [one.id for one in prompts]
    assert order != prompts


@core
@pytest.mark.parametrize(("pairs", "epochs", "steps"), [(8, 3.0, 32), (64, 3.0, 48), (43, 3.0, 33), (64, 1.0, 32)])
def test_steps_are_the_passes_and_at_least_the_regimes(pairs: int, epochs: float, steps: int) -> None:
    assert steps_over(REGIME, pairs, epochs) == steps
    assert steps_over(REGIME.with_budget(min_steps=1), 1, 0.1) == 1
