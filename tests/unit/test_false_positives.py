"""The simulation of tables without an effect, in small: findings are rare, and a real effect is seen."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "false_positives.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="a source distribution holds no benchmarks")
TABLES = 50


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("false_positives", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their fields' types up
    spec.loader.exec_module(module)
    return module


def test_tables_without_an_effect_rarely_have_a_finding(simulation: ModuleType) -> None:
    found = [simulation.rates(metric, null, TABLES, 0) for metric in simulation.METRICS for null in simulation.NULLS]
    assert sum(one.with_verdict for one in found) / len(found) <= 0.065
    assert sum(one.single_tests for one in found) / len(found) <= 0.065


def test_an_effect_is_found(simulation: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = simulation.simulated

    def improved(metric: str, null: str, rng: Any) -> list[Any]:
        base, first, *others = honest(metric, null, rng)
        return [base, (first + 0.2).clip(0, 1), *others]

    monkeypatch.setattr(simulation, "simulated", improved)
    assert simulation.rates("adherence", "alike", TABLES, 0).with_verdict > 0.9
