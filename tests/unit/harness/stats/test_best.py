"""Which methods cannot be told from the best."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts import HarnessError
from harness.stats.best import among_the_best

UNITS = {f"q{i}": f"q{i}" for i in range(80)}


def values(rng: np.random.Generator, level: float) -> dict[str, float]:
    return {unit: float(level + 0.3 * rng.normal()) for unit in UNITS}


def test_a_method_far_below_is_out_and_near_ones_stay() -> None:
    rng = np.random.default_rng(0)
    methods = {"good": values(rng, 0.8), "as good": values(rng, 0.8), "poor": values(rng, 0.3)}
    assert among_the_best(methods, UNITS) == {"good", "as good"}


def test_equal_methods_are_in_the_set_together() -> None:
    rng = np.random.default_rng(1)
    good, poor = values(rng, 0.8), values(rng, 0.3)
    assert among_the_best({"a": good, "b": dict(good), "c": poor, "d": dict(poor)}, UNITS) == {"a", "b"}
    assert among_the_best({"a": good, "b": dict(good)}, UNITS) == {"a", "b"}
    assert among_the_best({"alone": good}, UNITS) == {"alone"}


@pytest.mark.parametrize("right", [(11, 11), (11, 11, 11), (11, 11, 30), (30, 11, 11), (30, 30, 2, 2)])
def test_methods_with_equal_means_and_other_answers_are_told_apart_from_the_rest_alone(right: tuple[int, ...]) -> None:
    """`arch` fails where two of the worst have one mean, which few questions make likely."""
    rng = np.random.default_rng(3)
    methods = {}
    for place, count in enumerate(right):
        chosen = set(rng.permutation(len(UNITS))[:count])
        methods[f"{place}"] = {unit: float(i in chosen) for i, unit in enumerate(UNITS)}
    assert among_the_best(methods, UNITS) == {f"{i}" for i, count in enumerate(right) if count == max(right)}


def test_a_method_that_is_behind_by_the_same_on_every_unit_is_out() -> None:
    """Without spread between two of them the procedure named the middle one of three constants the best."""
    flat = {name: dict.fromkeys(UNITS, level) for name, level in (("best", 0.9), ("middle", 0.5), ("poor", 0.3))}
    assert among_the_best(flat, UNITS) == {"best"}
    rng = np.random.default_rng(4)
    good = values(rng, 0.8)
    behind = {unit: value - 0.01 for unit, value in good.items()}
    assert among_the_best({"good": good, "behind": behind, "as good": values(rng, 0.8)}, UNITS) == {"good", "as good"}


def test_the_best_is_in_the_set_often_enough() -> None:
    rng, held = np.random.default_rng(2), 0
    for index in range(60):
        question = {unit: float(rng.normal()) for unit in UNITS}
        methods = {
            name: {unit: question[unit] + level + 0.3 * float(rng.normal()) for unit in UNITS}
            for name, level in (("best", 0.05), ("second", 0.0), ("third", 0.0), ("last", -0.4))
        }
        found = among_the_best(methods, UNITS, seed=index)
        held += "best" in found
        assert "last" not in found
    assert held / 60 >= 0.93


def test_nothing_to_compare_and_other_items_are_refused() -> None:
    with pytest.raises(HarnessError, match="no methods"):
        among_the_best({}, {})
    with pytest.raises(HarnessError, match="different items"):
        among_the_best({"a": {"x": 1.0}, "b": {"y": 1.0}}, {"x": "x", "y": "y"})
