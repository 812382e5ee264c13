"""Tables of several draws, together."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

import leaderboards
from leaderboards.board import board_page
from leaderboards.draws import over_draws
from leaderboards.panels import panels
from leaderboards.planned import BoardPlan, PlannedRow, missing
from tests.unit.leaderboards.test_leaderboards import add, answers

pytestmark = pytest.mark.core


def asked(draw: int) -> dict[str, Any]:
    """A draw of groups' opinions, which decides what is asked."""
    groups = {"answers": {"groups": {"auxiliary": {"them": f"a{draw}"}}}}
    ratings = {"us": [f"r{draw}"]}
    return {"data__rating_ids": ratings, "data__pair_ids": [], "seed__draw": draw, "manifest__decisive": groups}


@pytest.fixture
def found(tmp_path: Path) -> leaderboards.Ranking:
    for draw, right in enumerate((20, 24, 28)):
        items = [f"d{draw}q{i:02}" for i in range(40)]
        units = {item: item for item in items}
        add(tmp_path, "base", answers(8, of=items), units=units, **asked(draw))
        if draw < 2:
            add(tmp_path, "ridge", answers(38, of=items), units=units, **asked(draw))
        add(tmp_path, "gpo", answers(right, of=items), units=units, **asked(draw))
    return leaderboards.ranked(tmp_path)


def test_means_and_their_errors_over_the_draws(found: leaderboards.Ranking) -> None:
    assert len(found.tables) == 3
    (together,) = over_draws(found.tables)
    rows = {row.label: row for row in together.rows}
    assert list(rows) == ["gpo", "base", "ridge"], "rows of all draws stand first"
    assert rows["gpo"].score.mean == pytest.approx(0.6)
    assert rows["gpo"].score.error == pytest.approx(stdev([0.5, 0.6, 0.7]) / math.sqrt(3))
    assert rows["gpo"].versus_base.mean == pytest.approx(0.4)
    assert rows["gpo"].verdicts == {"better": 3}
    assert rows["base"].score.error == 0
    assert rows["base"].versus_base is None
    assert rows["ridge"].draws == 2


def test_one_table_is_not_taken_together_with_itself(found: leaderboards.Ranking) -> None:
    assert over_draws(found.tables[:1]) == []


def test_rows_of_other_draws_of_the_same_items_are_not_taken_together(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    for draw in (0, 1):
        add(tmp_path, "sft", answers(30), seed__draw=draw, data__pair_ids=[f"p{draw}"])
    add(tmp_path, "dpo", answers(20), data__pair_ids=["p0"])
    found = leaderboards.ranked(tmp_path)
    assert sorted(table.setting.draw_seeds for table in found.tables) == [(0,), (0, 1)]
    assert over_draws(found.tables) == []
    (panel,) = panels(found.tables)
    assert {row.label: row.points[32].draws for row in panel.rows} == {"base": 1, "sft": 2, "dpo": 1}


def test_a_board_shows_them_and_what_is_missing(found: leaderboards.Ranking) -> None:
    part = PlannedRow(task="medqa", rows=("gpo", "ridge"), draws=(0, 1, 2))
    plan = BoardPlan(title="Opinions", about="About.", planned=(part,))
    left = missing(found.tables, found.entries, plan.cells())
    page = board_page(found, plan, left, panels(found.tables), picture="x.svg")
    assert "| gpo | 3 | 0.6000 ± 0.0577 | +0.4000 ± 0.0577 | better 3 |" in page
    assert "1 of 6 planned cells have not been run:\n\n- `medqa`, `ridge`: draws 2" in page
