"""The search of learning rates: its pool, its rule on forged cells, and the page that it wrote."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "pilot_learning_rates.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="a source distribution holds no benchmarks")
BASE = (2.0, 2.2, 1.8, 2.0)


@pytest.fixture(scope="module")
def search() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pilot_learning_rates", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their fields' types up
    spec.loader.exec_module(module)
    return module


def forged(search: ModuleType, rates: Mapping[float, tuple[float, float, float]], draws: tuple[int, ...]) -> object:
    """Cells in which every question has the rate's form, accuracy and loss, but for a little noise in each."""
    noise = (0.01, -0.01, 0.02, -0.02)
    return {
        (rate, draw): search.Cell("sft", rate, draw, *(tuple(value + one for one in noise) for value in values))
        for rate, values in rates.items()
        for draw in draws
    }


def test_the_pool_keeps_labels_and_held_out_questions_apart(search: ModuleType) -> None:
    held = {pair.id for pair in search.held_out()}
    assert len(held) == search.HELD_OUT
    for draw in (*search.DRAWS["likelihood"], *search.DRAWS["contrast"]):
        bought = {pair.id for pair in search.labels(draw)}
        asked = {prompt.id.removeprefix("u") for prompt in search.prompts(draw)}
        assert len(bought) == len(asked) == search.LABELS
        assert not bought & held
        assert not asked & held
        assert not asked & bought


def test_every_chosen_answer_has_the_form_and_half_of_the_rejected_ones(search: ModuleType) -> None:
    for pairs in (search.held_out(), *map(search.labels, range(6))):
        assert all(search.has_form(pair.chosen) and not search.loops(pair.chosen) for pair in pairs)
        assert sum(search.has_form(pair.rejected) for pair in pairs) == len(pairs) / 2


def test_form_and_loops(search: ModuleType) -> None:
    right = "It came on within seconds.\nWatch for fever and vomiting.\nFinal Answer: today"
    assert search.has_form(right)
    assert not search.has_form(right + "\nFinal Answer: today")
    assert not search.has_form(right.replace("today", "tomorrow"))
    assert search.loops("see the doctor " * 3)
    assert not search.loops("see the doctor " * 2)


def test_where_nobody_writes_the_form_the_lower_loss_decides_and_not_the_lower_rate(search: ModuleType) -> None:
    rates = {1e-4: (0.0, 0.7, 1.8), 1e-3: (0.0, 0.7, 1.2), 5e-3: (0.0, 0.7, 1.6)}
    assert search.choose(forged(search, rates, (0,)), rates, (0,), BASE) == 1e-3


def test_written_answers_decide_before_accuracy_and_accuracy_before_the_lower_rate(search: ModuleType) -> None:
    rates = {1e-4: (0.2, 0.9, 1.0), 2e-4: (0.8, 0.7, 1.0), 5e-4: (0.8, 0.9, 1.0), 1e-3: (0.8, 0.9, 1.0)}
    assert search.choose(forged(search, rates, (0,)), rates, (0,), BASE) == 5e-4


def test_a_loss_above_bases_is_left_where_another_rate_has_none(search: ModuleType) -> None:
    harmful = {1e-4: (0.8, 0.9, 3.0), 2e-4: (0.8, 0.9, 1.9)}
    assert search.choose(forged(search, harmful, (0,)), harmful, (0,), BASE) == 2e-4
    harmful[2e-4] = (0.8, 0.9, 4.0)
    assert search.choose(forged(search, harmful, (0,)), harmful, (0,), BASE) == 1e-4


def test_a_difference_of_less_than_a_standard_error_is_none(search: ModuleType) -> None:
    def cell(rate: float, form: tuple[float, ...]) -> object:
        return search.Cell("sft", rate, 0, form, (1.0,) * 4, (1.0,) * 4)

    found = {(1e-3, 0): cell(1e-3, (0.0, 1.0, 0.0, 1.0)), (2e-3, 0): cell(2e-3, (1.0, 1.0, 1.0, 0.0))}
    assert search.choose(found, (1e-3, 2e-3), (0,), BASE) == 1e-3
    found[2e-3, 0] = cell(2e-3, (1.0, 1.0, 1.0, 1.0))
    assert search.choose(found, (1e-3, 2e-3), (0,), BASE) == 2e-3


@pytest.mark.parametrize("best", [1e-4, 1e-3, 5e-2])
def test_the_rates_go_on_until_the_best_lies_inside(search: ModuleType, best: float) -> None:
    """Form falls with every step away from the best rate, wherever that is."""

    def figures(rate: float) -> tuple[float, float, float]:
        return 0.9 - 0.1 * abs(search.SERIES.index(rate) - search.SERIES.index(best)), 0.9, 1.0

    draws = search.DRAWS["contrast"]
    found: dict[tuple[float, int], object] = {}
    for _ in range(60):
        missing = search.wanted(found, draws, BASE)
        if not missing:
            break
        rate, draw = missing[0]
        found.update(forged(search, {rate: figures(rate)}, (draw,)))  # type: ignore[call-overload]
    assert not search.wanted(found, draws, BASE)
    assert search.choose(found, search.complete(found, draws), draws, BASE) == best
    assert set(search.neighbours(best)) <= set(search.complete(found, draws))


def test_the_page_has_the_table_of_the_results(search: ModuleType) -> None:
    page = search.PAGE.read_text(encoding="utf-8")
    assert search.with_table(page, search.page_table(search.read(search.RESULTS))) == page
