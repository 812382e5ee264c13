"""A board's picture, and what its plan says is missing."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import leaderboards
from harness.contracts import HarnessError
from harness.stats.curves import Reached
from leaderboards.board import board_page
from leaderboards.curves import labels_text
from leaderboards.panels import panels
from leaderboards.picture import CURVE_LEFT, CURVE_RIGHT, picture
from leaderboards.planned import BoardPlan, Missing, PlannedCell, PlannedRow, missing, plan_of
from tests.unit.leaderboards.site_store import ATTACK, fill
from tests.unit.leaderboards.test_leaderboards import ITEMS, add, answers

pytestmark = pytest.mark.core
SVG = "{http://www.w3.org/2000/svg}"


def drawn(store: Path, cells: list[PlannedCell] | None = None, title: str = "A board") -> ElementTree.Element:
    found = leaderboards.ranked(store)
    left = missing(found.tables, found.entries, cells or [])
    text = picture(title, panels(found.tables), left, len(cells or []))
    assert text == picture(title, panels(found.tables), left, len(cells or [])), "the same bytes for the same records"
    assert len(text.encode()) < 200 * 1024
    return ElementTree.fromstring(text)


def texts(svg: ElementTree.Element) -> list[str]:
    return [found.text or "" for found in svg.iter(f"{SVG}text")]


def marks(svg: ElementTree.Element, kind: str) -> int:
    return sum(kind in found.get("class", "").split() and "mark" in found.get("class", "") for found in svg.iter())


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    fill(store, budgets=(8, 32, 128))
    return store


def test_one_budget_has_a_line_for_every_row(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    for name, right in (("dpo", 30), ("sft", 1), ("random", 12), ("orpo", 11)):
        add(tmp_path, name, answers(right))
    add(tmp_path, "gem", answers(9), status="degenerate", reason="flat")
    cells = [PlannedCell("medqa", label, 0) for label in ("dpo", "selfie")]
    svg = drawn(tmp_path, cells)
    for kind in ("better", "worse", "cannot-tell", "control", "base", "degenerate"):
        assert marks(svg, kind) == 2, f"{kind}: the row's mark and the legend's"
    assert texts(svg).count("not run") == 1
    assert "selfie" in texts(svg)
    assert "1 of 2 planned cells have no score yet; the board's page lists them." in texts(svg)
    told = svg.find(f"{SVG}desc").text
    assert "medqa: 32 labels, accuracy, higher is better" in told
    assert "dpo 0.750 [" in told
    assert svg.find(f"{SVG}title").text == "A board"
    assert "prefers-color-scheme:dark" in svg.find(f"{SVG}style").text


def test_several_budgets_have_curves(several: Path) -> None:
    svg = drawn(
        several, [PlannedCell("medqa", "kto", 0, 8), PlannedCell("medqa", "sft", 0, 8), PlannedCell("gsm8k", "sft", 0)]
    )
    lines = list(svg.iter(f"{SVG}polyline"))
    assert len(lines) == 4
    assert all(len(line.get("points", "").split()) == 3 for line in lines)
    assert sum("control-line" in line.get("class", "") for line in lines) == 1
    assert "Without a score: kto failed" in texts(svg)
    assert "Nothing has been run yet of gsm8k." in texts(svg)
    assert {"8", "32", "128"} <= set(texts(svg))


def test_names_beside_curves_do_not_lie_on_each_other(tmp_path: Path) -> None:
    for labels in (8, 32):
        budget = {"budget__labels": labels, "budget__preset": str(labels)}
        add(tmp_path, "base", answers(10), **budget)
        for name in ("sft", "dpo", "gem", "kto", "orpo", "simpo", "ipo", "selfie", "random"):
            add(tmp_path, name, answers(20), **budget)
    svg = drawn(tmp_path)
    names = [found for found in svg.iter(f"{SVG}text") if "-name" in found.get("class", "")]
    places = sorted(float(found.get("y", "")) for found in names)
    assert len(places) == 10
    assert min(b - a for a, b in pairwise(places)) >= 12


def test_many_curves_are_told_apart_and_stay_beside_their_names(tmp_path: Path) -> None:
    methods = [f"m{number:02}" for number in range(20)]
    for labels in (8, 32):
        budget = {"budget__labels": labels, "budget__preset": str(labels)}
        add(tmp_path, "base", answers(10), **budget)
        for number, name in enumerate(methods):
            add(tmp_path, name, answers(10 + number), **budget)
    svg = drawn(tmp_path)
    dots = [found for found in svg.iter() if "dot" in found.get("class", "").split()]
    looks = [(found.get("class"), shape(found)) for found in dots]
    assert {looks.count(look) for look in looks} == {3}, "two points of a line, and one before its name"
    assert len(set(looks)) == len(methods)
    before_names = [place(found) for found in dots if place(found) > CURVE_RIGHT]
    assert len(before_names) == len(methods)
    assert all(CURVE_LEFT <= place(found) <= CURVE_RIGHT for found in dots if place(found) not in before_names)


def shape(dot: ElementTree.Element) -> str:
    """What a point looks like, wherever it stands."""
    return dot.get("d", "M0 0 circle").partition("m")[2]


def place(dot: ElementTree.Element) -> float:
    return float(dot.get("cx") or dot.get("d", "").removeprefix("M").split()[0])


@pytest.mark.parametrize("budgets", [(8,), (8, 32)])
def test_rows_that_nearly_share_a_label_have_names_of_their_own(tmp_path: Path, budgets: tuple[int, ...]) -> None:
    for labels in budgets:
        for rate in (0.0005, 0.005):
            changed = {"epochs": 3.0, "learning_rate": rate, "preset": "ours"}
            add(tmp_path, "dpo", answers(20), aligner__changed=changed, budget__labels=labels)
    named = [text for text in texts(drawn(tmp_path)) if text.startswith("dpo")]
    assert len(set(named)) == 2


def test_texts_of_strangers_stay_texts(several: Path) -> None:
    svg = drawn(several, title=ATTACK)
    assert {found.tag.removeprefix(SVG) for found in svg.iter()} <= {
        *("svg", "title", "desc", "style", "rect", "text", "path", "circle", "polyline"),
    }
    assert not any(name.startswith("on") or "href" in name for found in svg.iter() for name in found.attrib)
    assert not {"\x1b", "\u202e"} & set("".join(svg.itertext()))


# ---------------------------------------------------------------- what is missing


def test_cells_are_asked_for_by_budget_track_and_pool(several: Path) -> None:
    found = leaderboards.ranked(several)
    there = [
        PlannedCell("medqa", "sft", 0),
        PlannedCell("medqa", "sft", 1, 8, "labels", "medqa"),
        PlannedCell("medqa", "base", 1, 128),  # one run of base serves all draws
        PlannedCell("medqa", "gem", 0, 8),  # degenerate, which is a score
    ]
    not_there = [
        PlannedCell("medqa", "sft", 2),
        PlannedCell("medqa", "sft", 0, 16),
        PlannedCell("medqa", "sft", 0, 8, "labels+compute"),
        PlannedCell("medqa", "sft", 0, 8, None, "gsm8k"),
    ]
    left = missing(found.tables, found.entries, [*there, *not_there])
    assert left == [Missing(cell, None) for cell in not_there]


def test_a_cell_that_lacks_a_fold_has_no_score(tmp_path: Path) -> None:
    for fold in (0, 1):
        mine: dict[str, Any] = {"data__fold": {"index": fold, "of": 2}}
        items = ITEMS[20 * fold : 20 * fold + 20]
        add(tmp_path, "sft", answers(9, of=items), **mine)
        lost = {"status": "failed", "failure": {"reason": "lost", "traceback": ""}}
        add(tmp_path, "kto", None if fold else answers(9, of=items), **mine, **(lost if fold else {}))
        if not fold:
            add(tmp_path, "dpo", answers(9, of=items), **mine)
    found = leaderboards.ranked(tmp_path)
    cells = [PlannedCell("medqa", name, 0) for name in ("sft", "kto", "dpo")]
    left = missing(found.tables, found.entries, cells)
    assert left == [Missing(cells[1], "lost"), Missing(cells[2], None)]


def test_a_failed_cell_is_told_from_one_that_was_not_run(several: Path) -> None:
    found = leaderboards.ranked(several)
    parts = (
        PlannedRow(task="medqa", rows=("sft", "kto"), draws=(0, 2), labels=(8,)),
        PlannedRow(task="gsm8k", rows=("sft",), draws=(0, 1), why="no GPU was at hand"),
    )
    plan = BoardPlan(title="A board", about="About.", planned=parts)
    left = missing(found.tables, found.entries, plan.cells())
    page = board_page(found, plan, left, panels(found.tables), picture="a.svg")
    assert "4 of 6 planned cells have not been run:\n\n- `medqa`, `sft`, 8 labels: draws 2\n" in page
    assert "- `gsm8k`, `sft`: draws 0, 1: no GPU was at hand" in page
    assert (
        "1 of 6 planned cells were run and failed, so that they have no score:\n\n- `medqa`, `kto`, 8 labels:" in page
    )
    assert "](a.svg)" in page


def test_a_board_of_several_budgets_has_them_side_by_side(several: Path) -> None:
    found = leaderboards.ranked(several)
    page = board_page(found, BoardPlan(title="B", about="A"), [], panels(found.tables), picture="b.svg")
    assert "| aligner | 8 labels | 32 labels | 128 labels |" in page
    score = found.tables[0].row("sft").metrics["accuracy"].score
    assert f"| sft | {score.mean:.3f} [{score.ci95[0]:.3f}, {score.ci95[1]:.3f}] cannot tell |" in page
    assert "With fewer than 5 budgets no curve is fitted" in page


def test_with_five_budgets_the_page_says_how_many_labels_reach_the_reference(tmp_path: Path) -> None:
    fill(tmp_path)
    found = leaderboards.ranked(tmp_path)
    page = board_page(found, BoardPlan(title="B", about="A"), [], panels(found.tables), picture="b.svg")
    assert re.search(r"- `medqa`: `random` needs .* \[.*\] labels for the score that `sft` has with 128", page)
    assert "no curve is fitted" not in page


@pytest.mark.parametrize(
    ("labels", "ends", "text"),
    [
        (40.3, (0.0, math.inf), "40 [fewer than 8, more than 128]"),
        (None, (90.2, math.inf), "more than 128 [90, more than 128]"),
        (8.0, (0.0, 8.0), "8 [fewer than 8, 8]"),
        (None, (math.inf, math.inf), "more than 128 [more than 128, more than 128]"),
    ],
)
def test_labels_to_reach_a_score_in_words(labels: float | None, ends: tuple[float, float], text: str) -> None:
    assert labels_text(Reached(labels, ends, 0.0, 0.0, 0.5), (8, 32, 128)) == text


def test_a_plan_that_is_none_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "board.yaml").write_text("title: x\nabout: y\nplanned: [{task: medqa, rows: [sft], draw: [0]}]\n")
    with pytest.raises(HarnessError, match=r"is no plan of a board: planned\.0\.draws: Field required"):
        plan_of(tmp_path)
