"""Learning curves of tables: what they ask the methods to reach, which way is up, and what enters no curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import leaderboards
from leaderboards.board import board_page
from leaderboards.curves import Curves, Line, curves
from leaderboards.panels import panels
from leaderboards.planned import BoardPlan
from tests.unit.leaderboards.test_leaderboards import ITEMS, add, answers

pytestmark = pytest.mark.core
BUDGETS = (8, 16, 32, 64, 128)
UNFIT: dict[str, Any] = {"status": "over_cap", "reason": "went on"}


def at(labels: int, **more: Any) -> dict[str, Any]:
    """The changes of a run with that many labels."""
    return {"budget__labels": labels, "budget__preset": str(labels), **more}


def rows(store: Path, name: str, right: dict[int, int], draws: tuple[int, ...] = (0, 1), **more: Any) -> None:
    """A method that has so many items right at each number of labels, in every draw."""
    for labels, count in right.items():
        for draw in draws:
            add(store, name, answers(count), **at(labels, seed__draw=draw, **more))


def rising(first: int, step: int) -> dict[int, int]:
    return {labels: first + step * place for place, labels in enumerate(BUDGETS)}


def made(store: Path) -> Curves:
    found = leaderboards.ranked(store)
    (one,) = curves(found.tables, found.entries)
    return one


def line(found: Curves, label: str) -> Line:
    return next(one for one in found.lines if one.label == label)


def page(store: Path) -> str:
    found = leaderboards.ranked(store)
    return board_page(found, BoardPlan(title="B", about="A"), [], panels(found.tables), picture="b.svg")


def test_an_unfit_reference_is_no_target(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(16), **at(8))
    rows(tmp_path, "dpo", rising(10, 4))
    rows(tmp_path, "sft", rising(38, 0), **UNFIT)
    found = made(tmp_path)
    assert (found.target, found.target_labels) == ("base", None)
    reached = line(found, "dpo").reached
    assert reached is not None
    assert reached.target == pytest.approx(16 / 40)
    assert "- `medqa`: `dpo` needs" in page(tmp_path)
    assert "labels for the score of `base`" in page(tmp_path)


def test_the_target_is_the_references_largest_sound_budget(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(4), **at(8))
    rows(tmp_path, "dpo", rising(10, 4))
    rows(tmp_path, "sft", dict.fromkeys(BUDGETS[:-1], 20))
    rows(tmp_path, "sft", {128: 39}, **UNFIT)
    found = made(tmp_path)
    assert (found.target, found.target_labels) == ("sft", 64)
    reached = line(found, "dpo").reached
    assert reached is not None
    assert reached.target == pytest.approx(0.5)
    assert "labels for the score that `sft` has with 64" in page(tmp_path)


def test_unfit_points_are_marked(tmp_path: Path) -> None:
    rows(tmp_path, "dpo", {8: 10, 32: 12}, draws=(0,))
    rows(tmp_path, "dpo", {128: 40}, draws=(0,), **UNFIT)
    dpo = line(made(tmp_path), "dpo")
    assert ([point.labels for point in dpo.points], dpo.unfit) == ([8, 32, 128], (128,))


def test_where_less_is_better_a_curve_does_not_rise_and_a_lower_score_is_reached(tmp_path: Path) -> None:
    falling: dict[str, Any] = {"task__lower_is_better": ("accuracy",)}
    add(tmp_path, "base", answers(30), **at(8, **falling))
    rows(tmp_path, "dpo", dict(zip(BUDGETS, (28, 30, 20, 16, 8), strict=True)), **falling)
    rows(tmp_path, "sft", rising(18, 0), **falling)
    found = made(tmp_path)
    assert found.falling
    dpo = line(found, "dpo")
    means = [point.mean for point in dpo.points]
    assert means == pytest.approx([29 / 40, 29 / 40, 0.5, 0.4, 0.2]), "28 and 30 are one level"
    assert all(point.ci95[0] <= point.mean <= point.ci95[1] for point in dpo.points)
    assert dpo.reached is not None
    assert dpo.reached.target == pytest.approx(0.45)
    assert dpo.reached.labels is not None
    assert 32 < dpo.reached.labels < 64


def test_a_curve_is_of_the_draws_that_are_sound_at_every_budget(tmp_path: Path) -> None:
    for labels in BUDGETS:
        for draw, right in enumerate((10, 20, 30)):
            unfit = UNFIT if draw == BUDGETS.index(labels) % 2 else {}  # of three draws the first or the second
            add(tmp_path, "dpo", answers(right), **at(labels, seed__draw=draw, **unfit))
            add(tmp_path, "sft", answers(right), **at(labels, seed__draw=draw))
    dpo = line(made(tmp_path), "dpo")
    assert [point.mean for point in dpo.points] == pytest.approx([0.75] * 5), "the third is sound everywhere"
    assert dpo.reached is not None
    assert dpo.reached.target == pytest.approx(0.75), "the reference on the same draw"


def test_folds_have_points_and_no_curve(tmp_path: Path) -> None:
    """Their models share labels, so that units are not independent, as a curve's band takes them to be."""
    for labels in BUDGETS:
        for fold in (0, 1):
            mine = at(labels, data__fold={"index": fold, "of": 2})
            for name, right in (("sft", 5), ("dpo", 10)):
                add(tmp_path, name, answers(right, of=ITEMS[20 * fold : 20 * fold + 20]), **mine)
    found = made(tmp_path)
    dpo = line(found, "dpo")
    assert [point.mean for point in dpo.points] == [0.5] * 5
    assert not dpo.smoothed
    assert dpo.why_not is not None
    assert "folds" in dpo.why_not


def test_seeds_with_different_items_make_no_curve_and_stop_nothing(tmp_path: Path) -> None:
    rows(tmp_path, "sft", rising(10, 4))
    for labels in BUDGETS:
        add(tmp_path, "dpo", answers(10), **at(labels, seed__draw=0))
        add(tmp_path, "dpo", answers(10, of=ITEMS[:30]), **at(labels, seed__draw=0, seed__training=1))
        add(tmp_path, "dpo", answers(10), **at(labels, seed__draw=1))
    assert "dpo" not in [one.label for one in made(tmp_path).lines], "it has no score in any table"
