"""Stores that lack what most have: every page and every figure is made of them, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

import leaderboards
from leaderboards.board import board_page
from leaderboards.html import write_figures, write_site
from leaderboards.panels import panels
from leaderboards.picture import picture
from leaderboards.planned import BoardPlan, Missing, PlannedCell
from tests.unit.leaderboards.pages import pages_of, values_that_sort_as_text, wrong_links
from tests.unit.leaderboards.test_leaderboards import ITEMS, add, answers
from tests.unit.leaderboards.test_picture import texts

pytest.importorskip("vl_convert", reason="the extra `site` is not installed")
pytest.importorskip("altair", reason="the extra `site` is not installed")

STRANGE = "../m <b>\"'&#?%\u202e 模型/\\{{ x }} [v=1, w=2]\n"
FAILED: Mapping[str, Any] = {"status": "failed", "failure": {"reason": "no memory", "traceback": ""}}
OUTPUTS: Mapping[str, Any] = {
    "outputs": {"generator": "another", "file": "answers.json", "sha256": "0" * 64},
    "aligner__changed": {"file": "0000000000"},
}
EXTRA = {"extra": answers(10)}
"""A metric that is not the task's main one."""
Fill = Callable[[Path], object]


def of(*names: str, values: Any = None, **changes: Any) -> Fill:
    """A run of each name."""
    given = answers(10) if values is None else values
    return lambda store: [add(store, name, given, **changes) for name in names]


def at_two_budgets(*names: str, values: Any = None, **changes: Any) -> Fill:
    budgets = [{"budget__labels": labels, "budget__preset": str(labels)} for labels in (8, 32)]
    return lambda store: [of(*names, values=values, **changes, **budget)(store) for budget in budgets]


def failed(*names: str) -> Fill:
    return lambda store: [add(store, name, None, **FAILED) for name in names]


def outputs(*beside: str) -> Fill:
    return lambda store: [add(store, "another", answers(10), **OUTPUTS), *of(*beside)(store)]


def failed_at_two_budgets(store: Path) -> None:
    for labels in (8, 32):
        add(store, "gem", None, budget__labels=labels, budget__preset=str(labels), **FAILED)


def without_samples(store: Path) -> None:
    (add(store, "base", answers(10)) / "samples.parquet").unlink()
    (add(store, "gem", answers(12)) / "samples.parquet").write_bytes(b"no parquet")


def of_infinite_values(store: Path) -> None:
    for name, value in (("base", math.nan), ("gem", math.inf)):
        path = add(store, name, answers(10)) / "samples.parquet"
        rows = pq.read_table(path)
        values = [value, *rows["value.accuracy"].to_pylist()[1:]]
        pq.write_table(rows.set_column(rows.column_names.index("value.accuracy"), "value.accuracy", [values]), path)


def with_a_strange_method(store: Path) -> None:
    add(store, "base", answers(10))
    add(store, "gem", answers(12), aligner__name=STRANGE, aligner__changed={STRANGE: STRANGE})


def of_folds(store: Path) -> None:
    of_fold(0, of)(store)
    of_fold(1, of)(store)


def of_folds_at_two_budgets(store: Path) -> None:
    of_fold(0, at_two_budgets)(store)
    of_fold(1, at_two_budgets)(store)


def of_fold(index: int, fill: Callable[..., Fill]) -> Fill:
    """The runs on one of two folds, which have other items."""
    items = ITEMS[20 * index : 20 * index + 20]
    return fill("base", "gem", values=answers(12, of=items), data__fold={"index": index, "of": 2})


STORES: Mapping[str, Fill] = {
    "no base": of("gem"),
    "no base, two budgets": at_two_budgets("gem"),
    "only a control": of("random"),
    "only controls, two budgets": at_two_budgets("random", "uniform"),
    "only base": of("base"),
    "only base, two budgets": at_two_budgets("base"),
    "one failed run": failed("gem"),
    "base failed": failed("base"),
    "base and a failed run": lambda store: [of("base")(store), failed("gem")(store)],
    "failed, two budgets": failed_at_two_budgets,
    "only degenerate": of("gem", status="degenerate", reason="flat"),
    "only over the cap": of("gem", status="over_cap", reason="long"),
    "only outputs": outputs(),
    "outputs and base": outputs("base"),
    "outputs and a failed run": lambda store: [outputs()(store), failed("gem")(store)],
    "one item": of("base", "gem", values=answers(1, of=["q00"])),
    "no items": of("base", "gem", values={}),
    "without the main metric": of("base", "gem", values=EXTRA),
    "without the main metric, two budgets": at_two_budgets("base", "gem", values=EXTRA),
    "without samples": without_samples,
    "infinite values": of_infinite_values,
    "without a cost": of("base", "gem", spent__flops=0.0, spent__labels=0, spent__peak_memory_bytes=0),
    "a judge that was not measured": of("gem", task__judge="mild", task__judge_version="1", task__baseline="base"),
    "folds": of_folds,
    "folds, two budgets": of_folds_at_two_budgets,
    "a fold is missing": of_fold(0, of),
    "a strange model": of("base", "gem", model__name=STRANGE),
    "a strange task": of("base", "gem", task__name=STRANGE),
    "a strange metric": of("base", "gem", values={STRANGE: answers(10)}, task__main_metric=STRANGE),
    "a strange method": with_a_strange_method,
}


@pytest.mark.parametrize("fill", STORES.values(), ids=STORES.keys())
def test_pages_and_figures_of_an_odd_store(fill: Fill, tmp_path: Path) -> None:
    fill(tmp_path / "store")
    found = leaderboards.ranked(tmp_path / "store")
    pages = pages_of(write_site(found, tmp_path / "site", price=2.0).parent)
    assert {"index.html", "records.html", "samples.html"} <= pages.keys()
    assert sum(name.startswith("t/") for name in pages) == len(found.tables)
    assert wrong_links(tmp_path / "site", pages) == []
    for name, page in pages.items():
        assert values_that_sort_as_text(page) == [], name
        assert "b" not in page.tags, name
    for path in write_figures(found, tmp_path / "figures"):
        if path.suffix == ".svg":
            assert marks(path), f"{path.name} shows nothing"
        else:
            assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("fill", STORES.values(), ids=STORES.keys())
def test_boards_and_texts_of_an_odd_store(fill: Fill, tmp_path: Path) -> None:
    fill(tmp_path)
    found = leaderboards.ranked(tmp_path)
    drawn = panels(found.tables)
    failed_cell = Missing(PlannedCell(found.tables[0].setting.task, "kto", 0), "no memory")
    for left in ([], [failed_cell]):
        svg = ElementTree.fromstring(picture("A board", drawn, left, len(left)))
        shown = " ".join(svg.itertext())
        assert ("no row has a score" in shown) == any(not panel.rows for panel in drawn)
        assert ("kto failed" in shown or "kto" in texts(svg)) == bool(left)
        assert board_page(found, BoardPlan(title="A board", about="About."), left, drawn, picture="a.svg")
    for form in leaderboards.FORMATS:
        assert leaderboards.render(found.tables, form)


def marks(path: Path) -> int:
    """Points, lines and texts of a figure's own, its axes left out."""
    return sum(
        "mark-symbol role-mark" in element.get("class", "") for element in ElementTree.parse(path).getroot().iter()
    )
