"""When a study starts no further cell: at its limits, of the call alone, and while another cell does the same work."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.plugins.registry import load
from harness.study.drive import Driver
from harness.study.events import EVENTS, Events
from harness.study.file import study_of
from tests.unit.leaderboards.test_leaderboards import record

pytestmark = pytest.mark.core


class Idle:
    """An executor that is never asked for anything."""

    name, threads = "idle", 1

    def close(self) -> None:
        pass


def driver(folder: Path, **values: Any) -> Driver:
    study = study_of({"name": "s", "aligners": ["dpo"], "tasks": ["medqa"], "store": str(folder), **values})
    planned = SimpleNamespace(state="run", reason="", words="dpo on medqa")
    plan: Any = SimpleNamespace(study=study, runs={"r1": planned})
    return Driver(plan, load(plugins=False), Idle(), Events(folder / EVENTS), expected_flops={"r1": 5e12})  # type: ignore[arg-type]


def judged(run: str = "r1") -> Any:
    return record(run, "dpo", {}, {"task.judge": "local", "spent.inference": {"flops": 1e12}})


def test_hours_are_those_of_this_call(tmp_path: Path) -> None:
    made = driver(tmp_path, limits={"hours": 2})
    assert made._limit() is None
    made.spent.began = time.monotonic() - 7201
    assert made._limit() == "the limit of 2 hours is reached"


def test_flops_are_those_of_fits_and_evaluations_and_of_what_is_under_way(tmp_path: Path) -> None:
    made = driver(tmp_path, limits={"flops": 8e12})
    made._recorded("r1", judged())
    assert made.spent.flops == 3.5e12
    assert made._limit() is None
    made._flight["handle"] = "r1"
    assert made._limit() == "the limit of 8e+12 FLOPs is reached"


def test_money_is_that_of_the_judged_answers_by_the_studys_prices(tmp_path: Path) -> None:
    made = driver(tmp_path, limits={"usd": 1.0}, prices={"local": 0.02})
    made._recorded("r1", judged())
    assert made.spent.usd == pytest.approx(0.8)
    assert made._limit() is None
    made._recorded("r1", judged())
    assert made._limit() == "the limit of 1 US dollars for judges is reached"


@pytest.mark.parametrize(("aligner", "waits"), [("base", False), ("sft", True)])
def test_a_cell_waits_for_the_fit_that_it_shares_and_base_has_none(tmp_path: Path, aligner: str, waits: bool) -> None:
    made = driver(tmp_path)

    def planned(task: str) -> Any:
        plan = SimpleNamespace(fit_id="f" * 16, answers_id=task)
        return SimpleNamespace(plan=plan, config=SimpleNamespace(aligner=aligner))

    made.runs["r1"] = SimpleNamespace(planned=planned("medqa"))  # type: ignore[assignment]
    made._flight["handle"] = "r1"
    assert made._shares(planned("gsm8k")) is waits
    assert made._shares(planned("medqa")), "the answers to be judged are the same"
