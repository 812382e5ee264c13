"""A forecast: from records of the same kind, carried over to the new size; wide where there are none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aligners.dpo import Dpo
from harness.config import RunConfig, budget_of
from harness.contracts import Lengths
from harness.study import outlook as outlook_module
from harness.study.outlook import expect
from tests.unit.leaderboards.test_leaderboards import record


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(outlook_module, "count_parameters", lambda folder: 1_000)
    monkeypatch.setattr(outlook_module, "probe", lambda threads: 1e6)
    return SimpleNamespace(
        config=RunConfig(aligner="dpo", task="medqa", budget=budget_of({"preset": "8", "min_steps": 64}, "budget")),
        files=SimpleNamespace(weights_hash="0123456789abcdef", folder=Path()),
        machine=SimpleNamespace(device="cpu", threads=1),
        lengths=Lengths(prompt=60, completion=40, new_tokens=20),
        aligner_class=Dpo,
    )


def test_records_of_the_same_kind_are_scaled_by_pairs_and_items(plan: Any) -> None:
    """The record's fit saw 32 steps of 4 in 60 s, with 2.5e12 FLOPs; the plan sees twice the pairs, half the items."""
    known = [record("r1", "dpo", {}, {"spent.inference": {"flops": 4e11}})]
    found = expect(plan, known, fitted=False, items=20)
    assert found.sure
    assert found.flops == pytest.approx(2 * 2.5e12 + 2e11)
    assert found.seconds == pytest.approx(1.0 + 2 * 60.0 + 10.0)
    again = expect(plan, known, fitted=True, items=20)
    assert (again.flops, again.seconds) == (pytest.approx(2e11), pytest.approx(11.0))


def test_without_records_a_model_of_the_work_stands_in(plan: Any) -> None:
    found = expect(plan, [], fitted=False, items=20)
    assert not found.sure
    assert found.flops == pytest.approx(1_000 * 0.6 * (5 * 64 * 4 * (60 + 2 * 40) + 2 * 20 * 80))
    assert found.seconds == pytest.approx(outlook_module.LOADING_S + found.flops / 1e6)


def test_records_of_another_model_say_nothing(plan: Any) -> None:
    other = record("r1", "dpo", {}, {"model.weights_hash": "f" * 16})
    assert expect(plan, [other], fitted=False, items=20) == expect(plan, [], fitted=False, items=20)
