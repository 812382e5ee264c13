"""A study's forecast: how cells add up, and how many items they are taken to have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.config import RunConfig
from harness.contracts import FewShot, HarnessError
from harness.study.costs import CellCost
from harness.study.outlook import GUESS, SURE, Expected, StudyForecast, _added, _expected, items_of, units
from tests.unit.leaderboards.test_leaderboards import record

pytestmark = pytest.mark.core


def planned(texts: dict[str, str] | None, revision: str = "new", limit: int | None = None, **more: Any) -> Any:
    """A planned run on items with these texts; None: they cannot be had."""

    def questions(view: object, limit: int | None) -> dict[str, str]:
        if texts is None:
            raise HarnessError("no data")
        return texts

    task = SimpleNamespace(questions=questions, main_metric="accuracy", **more)
    config = RunConfig(aligner="dpo", task="medqa", limit=limit)
    source = SimpleNamespace(view=lambda: None)
    plan = SimpleNamespace(task=task, source=source, task_revision=revision, few_shot=FewShot(), config=config)
    return SimpleNamespace(plan=plan, config=config)


def test_runs_of_one_kind_err_together() -> None:
    low, middle, high = _added([(10.0, True), (1.0, False)])
    assert (low, middle, high) == (10 * SURE[0] + GUESS[0], 11.0, 10 * SURE[1] + GUESS[1])


def test_items_are_those_of_records_of_the_same_questions() -> None:
    score = {"accuracy": {"mean": 0.5, "ci95": None, "n": 30}}
    known = [record("r1", "dpo", score, {})]
    assert (items_of(planned({}, "task-revision-1"), known), units(planned({}, "task-revision-1"), known)) == (40, 30)
    two = planned({"a": "why?", "b": "why?"})
    assert (items_of(two, known), units(two, known)) == (2, 1)
    scenarios = planned({"a": "why?", "b": "how?"}, units=lambda view, limit: {"a": "one", "b": "one"})
    assert (items_of(scenarios, known), units(scenarios, known)) == (2, 1)
    assert items_of(planned({}, "task-revision-1", limit=5), known) == 0
    assert (items_of(planned(None), []), units(planned(None), [])) == (0, 0)


def test_without_records_of_the_study_variances_are_those_that_plan_expects() -> None:
    """Degrees, such as a share of rules, differ by less than right and wrong answers do."""
    right_or_wrong, basis = _expected(planned({"a": "why?"}), [], ("dpo",))
    degrees, _ = _expected(planned({"a": "why?"}, graded_metrics=frozenset({"accuracy"})), [], ("dpo",))
    assert basis.startswith("assumed")
    assert right_or_wrong.units + right_or_wrong.rest == pytest.approx(0.3)
    assert degrees.units + degrees.rest == pytest.approx(0.2**2)


def test_what_the_index_keeps_of_a_forecast_is_what_the_report_holds_against_the_records() -> None:
    cost = CellCost(load_s=1.0, fit_s=2.0, evaluate_s=3.0, fit_flops=4.0, evaluate_flops=5.0, fit_tokens=6.0)
    forecast = StudyForecast({"r1": Expected(cost, 3)}, (0, 1, 2), (0, 1, 2), (0, 1, 2), 0, 0, 0.0, ())
    assert forecast.expected() == {"r1": {"seconds": 6.0, "flops": 9.0, "tokens": 6.0}}
