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
from leaderboards.picture import picture
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


def rows_of_draws(store: Path, shares: dict[str, tuple[float, ...]], **changes: Any) -> None:
    """Rows with the same figure on every item of a draw; a negative one is that of a degenerate run."""
    for name, found in shares.items():
        for draw, share in enumerate(found):
            items = [f"d{draw}q{i:02}" for i in range(40)]
            unfit = {"status": "degenerate", "reason": "flat"} if share < 0 else {}
            values = dict.fromkeys(items, abs(share))
            add(store, name, values, units={item: item for item in items}, **asked(draw), **changes, **unfit)


def test_where_less_is_better_the_lowest_stands_first_and_degenerate_rows_last(tmp_path: Path) -> None:
    shares = {"base": (0.5, 0.5), "gpo": (0.9, 0.9), "ridge": (0.2, 0.2), "icl_groups": (-0.1, -0.1)}
    rows_of_draws(tmp_path, shares, task__lower_is_better=("accuracy",))
    found = leaderboards.ranked(tmp_path)
    (together,) = over_draws(found.tables)
    assert [row.label for row in together.rows] == ["ridge", "base", "gpo", "icl_groups"]
    assert [row.degenerate for row in together.rows] == [False, False, False, True]
    assert together.rows[-1].score.mean == pytest.approx(0.1), "its figures are no secret"
    assert together.lower_is_better == ("accuracy",)
    page = board_page(found, BoardPlan(title="O", about="A"), [], panels(found.tables), picture="x.svg")
    assert "| aligner | draws | accuracy (lower is better) | Δ base | verdicts |" in page
    (panel,) = panels(found.tables)
    assert [(row.label, row.points[32].kind) for row in panel.rows][-1] == ("icl_groups", "degenerate")


def test_a_degenerate_draw_is_left_out_of_a_mean_as_long_as_another_is_sound(tmp_path: Path) -> None:
    rows_of_draws(tmp_path, {"base": (0.4, 0.4, 0.4), "gpo": (0.6, -1.0, 0.7), "ridge": (0.6, 0.6, 0.6)})
    found = leaderboards.ranked(tmp_path)
    (together,) = over_draws(found.tables)
    gpo = {row.label: row for row in together.rows}["gpo"]
    assert [row.label for row in together.rows] == ["ridge", "base", "gpo"], "rows of all draws stand first"
    assert gpo.score.mean == pytest.approx(0.65)
    assert gpo.versus_base is not None
    assert gpo.versus_base.mean == pytest.approx(0.25)
    assert (gpo.draws, gpo.ran, gpo.degenerate) == (2, 3, False)
    assert gpo.verdicts == {"better": 2, "degenerate": 1}
    page = board_page(found, BoardPlan(title="O", about="A"), [], panels(found.tables), picture="x.svg")
    assert "| gpo | 2/3 | 0.6500 ± 0.0500 | +0.2500 ± 0.0500 | better 2, degenerate 1 |" in page
    assert "Draws in which a row is degenerate are left out of its means" in page
    (panel,) = panels(found.tables)
    point = {row.label: row.points[32] for row in panel.rows}["gpo"]
    assert (point.draws, point.kind) == (2, "cannot tell"), "it is not better in every draw"


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


def test_a_score_is_of_the_draws_that_are_sound(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    for draw in (0, 1, 2):
        unfit = {"status": "degenerate", "reason": "flat"} if draw else {}
        add(tmp_path, "gem", answers(20), seed__draw=draw, data__pair_ids=[f"p{draw}"], **unfit)
        add(tmp_path, "sft", answers(20), seed__draw=draw, data__pair_ids=[f"p{draw}"])
    (panel,) = panels(leaderboards.ranked(tmp_path).tables)
    points = {row.label: row.points[32] for row in panel.rows}
    assert {label: point.draws for label, point in points.items()} == {"base": 1, "gem": 1, "sft": 3}
    assert panel.draws == 3
    assert [label for label, point in points.items() if panel.lacks_draws(point)] == ["gem"]


def test_a_sound_row_stands_for_its_method_where_another_table_has_it_degenerate(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    for draw in (0, 1):
        add(tmp_path, "gem", answers(40), seed__draw=draw, status="degenerate", reason="flat")
    add(tmp_path, "gem", answers(20), seed__draw=2, aligner__version="2")
    (panel,) = panels(leaderboards.ranked(tmp_path).tables)
    gem = next(row for row in panel.rows if row.label == "gem")
    assert (gem.points[32].kind, gem.points[32].mean, gem.points[32].draws) == ("better", 0.5, 1)


def test_a_degenerate_control_is_called_so_at_every_budget(tmp_path: Path) -> None:
    for labels in (8, 32):
        more: dict[str, Any] = {"budget__labels": labels, "budget__preset": str(labels)}
        add(tmp_path, "base", answers(10), **more)
        add(tmp_path, "random", answers(20), **more, status="degenerate", reason="flat")
        add(tmp_path, "uniform", answers(20), **more)
    found = leaderboards.ranked(tmp_path)
    page = board_page(found, BoardPlan(title="O", about="A"), [], panels(found.tables), picture="x.svg")
    budgets = page[page.index("## Scores by number of labels") :].split("\n## ")[0]
    (random,) = (line for line in budgets.splitlines() if line.startswith("| random |"))
    (uniform,) = (line for line in budgets.splitlines() if line.startswith("| uniform |"))
    assert random.count("] degenerate |") == 2
    assert "degenerate" not in uniform
    told = picture("O", panels(found.tables), [], 0)
    assert "random 0.500 (degenerate) at 8, 0.500 (degenerate) at 32" in told, "the picture in words"


def test_a_board_shows_them_and_what_is_missing(found: leaderboards.Ranking) -> None:
    part = PlannedRow(task="medqa", rows=("gpo", "ridge"), draws=(0, 1, 2))
    plan = BoardPlan(title="Opinions", about="About.", planned=(part,))
    left = missing(found.tables, found.entries, plan.cells())
    page = board_page(found, plan, left, panels(found.tables), picture="x.svg")
    assert "| gpo | 3 | 0.6000 ± 0.0577 | +0.4000 ± 0.0577 | better 3 |" in page
    assert "1 of 6 planned cells have not been run:\n\n- `medqa`, `ridge`: draws 2" in page
