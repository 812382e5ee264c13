"""What `plan` says that a task's items could show: units, how they are expected to differ, and the sentence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.cli.plan import sentences
from harness.contracts import FewShot, Rating
from harness.data.sources import SampleSource
from harness.records.store import Store
from harness.stats import ALPHA, UnitSpread, sign_flips
from harness.study.costs import CellCost
from harness.study.forecast import (
    DEGREES,
    RIGHT_OR_WRONG,
    CellForecast,
    Forecast,
    Showing,
    _shows,
    expected_spread,
    finished_records,
)
from harness.study.work import independent_units
from tasks.care_protocol import CareProtocol
from tasks.gsm8k import GSM8K
from tasks.opinions import OpinionQA

pytestmark = pytest.mark.core
BOARD = Path(__file__).parents[4] / "leaderboards" / "records" / "care_protocol"


def planned(task: Any, store: Path, limit: int | None = 24, **more: Any) -> Any:
    config = SimpleNamespace(store=store, limit=limit, task=task.name)
    source = SimpleNamespace(view=SampleSource)
    return SimpleNamespace(task=task, config=config, source=source, few_shot=FewShot(), **more)


def cell(aligner: str, units: int, items: int, **more: Any) -> CellForecast:
    facts: dict[str, Any] = {
        "run_id": "r", "fit_id": "f", "task": "care_protocol", "seed": 0, "draw_seed": 0, "fold": None,
        "shuffled": False, "labels": 32, "state": "new", "lengths": {}, "clipped": {}, "cost": CellCost(),
    }  # fmt: skip
    return CellForecast(**{**facts, **more}, aligner=aligner, units=units, items=items)


def test_two_questions_about_a_scenario_are_one_unit(tmp_path: Path) -> None:
    assert len(CareProtocol().questions(SampleSource(), 24)) == 24
    assert independent_units(planned(CareProtocol(), tmp_path)) == 12


def test_the_groups_that_a_question_is_asked_of_are_one_unit(tmp_path: Path) -> None:
    ratings = tuple(Rating(f"q{n}", "why?", ("yes", "no"), (0.5, 0.5)) for n in range(6))
    pool = SimpleNamespace(groups=lambda source: {"old": ratings, "young": ratings})
    plan = planned(OpinionQA(), tmp_path, None, pool=pool)
    plan.few_shot = FewShot(groups={"old": ratings[:2], "young": ratings[:2]})
    assert independent_units(plan) == 4


def test_a_plan_promises_what_the_records_of_the_task_bear_out() -> None:
    """Twelve scenarios were promised .6 where .1 shows, and .05 was said to take 3,495 questions."""
    records = list(finished_records({BOARD}))
    plan = planned(CareProtocol(), BOARD)
    cells = [cell("base", 12, 24), cell("sft", 12, 24), cell("gem", 12, 24)]
    [found] = _shows(cells, {"care_protocol": plan}, records, {BOARD, BOARD / "nothing here"})
    assert (found.items, found.units, found.comparisons) == (24, 12, 2)
    assert found.basis == "the median of finished runs of these methods on this task"
    store, methods = Store(BOARD), [r for r in records if r.aligner.name in ("sft", "gem")]
    spreads = []
    for record in methods:
        base = store.record(record.manifest.compared["base"]["run"])
        assert base is not None
        before = {row.id: row.values.get("adherence") for row in store.samples(base)}
        by_unit: dict[str, list[float]] = {}
        for row in store.samples(record):
            if (was := before.get(row.id)) is not None:
                by_unit.setdefault(row.unit, []).append(row.values["adherence"] - was)
        spreads.append(np.std([np.mean(part) for part in by_unit.values()], ddof=1))
    assert found.spread.sd is not None and found.difference is not None
    assert min(spreads) < found.spread.sd < max(spreads)
    draws = np.random.default_rng(0).normal(found.difference, found.spread.sd, size=(800, 12))
    assert 0.76 <= float((2 * sign_flips(draws) < ALPHA).mean()) <= 0.84
    assert 20 < found.needed < 88, "the board itself shows .031 to .046 on 88 scenarios"


def test_without_records_the_kind_of_metric_says_what_is_assumed(tmp_path: Path) -> None:
    assert expected_spread(CareProtocol(), [], {"sft"}, {tmp_path}) == (DEGREES, "assumed: no record says")
    assert expected_spread(GSM8K(), [], {"sft"}, {tmp_path})[0] == RIGHT_OR_WRONG
    others, basis = expected_spread(CareProtocol(), list(finished_records({BOARD})), {"unheard"}, {BOARD})
    assert others.sd is not None
    assert basis == "the median of finished runs of this task"


def test_of_units_that_nobody_can_count_nothing_is_said(tmp_path: Path) -> None:
    assert list(_shows([cell("gpo", 0, 0)], {"care_protocol": planned(CareProtocol(), tmp_path)}, [], {tmp_path})) == []


@pytest.mark.parametrize(
    ("items", "spread", "difference", "said"),
    [
        (
            24,
            DEGREES,
            0.2,
            "On 12 independent units (24 items) of medqa with 2 methods compared, a difference of 0.200 would be seen "
            "four times in five, where their differences to base have a standard deviation of 0.200 (assumed). "
            "A difference of .05 would take 99 independent units.",
        ),
        (
            12,
            RIGHT_OR_WRONG,
            None,
            "No difference, however large, would be seen reliably on 12 items of medqa with 2 methods compared, where "
            "30% of them differ from base (assumed). A difference of .05 would take 99 items.",
        ),
    ],
)
def test_the_sentence_counts_units(items: int, spread: UnitSpread, difference: float | None, said: str) -> None:
    shows = Showing("medqa", items, 12, 2, spread, "assumed", difference, 99)
    assert " ".join(sentences(Forecast((), (), (shows,), 0))) == said
