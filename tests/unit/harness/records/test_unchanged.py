"""Whether a run gave another run's answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.contracts import SampleRow
from harness.records.unchanged import same_answers, unmoved

pytestmark = pytest.mark.core
ROWS = [SampleRow(str(i), str(i), {"acc": float(i % 2), "p_gold": 0.3}, {"choice": i % 2}) for i in range(4)]
BASE = {row.id: row for row in ROWS}


def with_row(**changed: Any) -> list[SampleRow]:
    return [*ROWS[:-1], replace(ROWS[-1], **changed)]


def test_figures_move_without_an_answer_changing() -> None:
    detail = {"choice": 1, "loglik": 0.25}
    assert same_answers(with_row(values={"acc": 1.0, "p_gold": 0.4}, detail=detail), BASE, "p_gold")


@pytest.mark.parametrize("changed", [{"detail": {"choice": 0}}, {"values": {"acc": 0.0, "p_gold": 0.3}}, {"id": "new"}])
def test_another_answer_figure_or_item_is_a_difference(changed: dict[str, Any]) -> None:
    assert not same_answers(with_row(**changed), BASE, "p_gold")


def test_without_details_every_figure_counts() -> None:
    bare = [replace(row, detail={}) for row in ROWS]
    base = {row.id: row for row in bare}
    assert same_answers(bare, base, "acc")
    moved = [*bare[:-1], replace(bare[-1], values={"acc": 1.0, "p_gold": 0.4})]
    assert not same_answers(moved, base, "acc")


# ---------------------------------------------------------------- to the last digit, although weights moved


def row(identity: str, likelihood: float, **values: float) -> SampleRow:
    return SampleRow(identity, identity, {"acc": 1.0, **values}, {"answer": "A", "loglik": likelihood})


STILL = {identity: row(identity, -1.5) for identity in ("a", "b")}


def test_all_items_as_base_is_said_once_with_figures() -> None:
    (said,) = unmoved([row("a", -1.5, gain=0.0), row("b", -1.5, gain=0.0)], STILL, 0.25)
    assert "by 0.25, and all 2 items are answered exactly as by the base model" in said


@pytest.mark.parametrize(
    ("rows", "base", "change"),
    [
        ([row("a", -1.5), row("b", -1.500001)], STILL, 0.25),
        ([row("a", -1.5), row("b", -1.5, acc=0.0)], STILL, 0.25),
        ([row("a", -1.5), row("b", -1.5)], STILL, 0.0),
        ([row("a", -1.5), row("b", -1.5)], STILL, None),
        ([row("a", -1.5), row("b", -1.5)], None, 0.25),
        ([row("c", -1.5)], STILL, 0.25),
    ],
    ids=["a digit", "a value", "no change", "no adapter", "no base", "other items"],
)
def test_anything_else_is_no_warning(rows: Any, base: Any, change: float | None) -> None:
    assert unmoved(rows, base, change) == ()
