"""Whether a run gave another run's answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.contracts import SampleRow
from harness.records.unchanged import same_answers

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
