"""Learning curves: isotonic means against the library's, crossings by hand, and how often intervals hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.contracts import HarnessError
from harness.stats import wilson
from harness.stats.curves import crossings, isotonic, labels_to_reach, learning_curve

pytestmark = pytest.mark.core
BUDGETS = np.array([8.0, 16.0, 32.0, 64.0, 128.0])
STUDIES = 120


def test_isotonic_means_are_scikit_learns() -> None:
    from sklearn.isotonic import IsotonicRegression

    rows = np.random.default_rng(0).normal(size=(50, 6)) + np.linspace(0, 1, 6)
    for row, found in zip(rows, isotonic(rows), strict=True):
        np.testing.assert_allclose(found, IsotonicRegression().fit_transform(np.arange(6), row), atol=1e-12)


def test_crossings_lie_on_straight_lines_in_log_labels() -> None:
    curves = np.array([[0.0, 0.2, 0.4, 0.6, 0.8]] * 4)
    found = crossings(curves, np.array([0.5, 0.9, -0.1, 0.4]), BUDGETS)
    assert found[0] == pytest.approx(math.sqrt(32 * 64))
    assert math.isinf(found[1])
    assert found[2] == 0.0
    assert found[3] == pytest.approx(32)


def study(
    rng: np.random.Generator, *, draws: int, units: int, slope: float, spread: float
) -> tuple[dict[int, list[dict[str, float]]], list[dict[str, float]], dict[str, str]]:
    """A method that reaches the target, 0.5, at 40 labels; its questions are shared by all budgets."""
    names = [f"q{i}" for i in range(units)]
    question = 0.3 * rng.normal(size=units)

    def values(level: float) -> list[dict[str, float]]:
        shift = spread * rng.normal(size=(draws, 1))
        noise = 0.3 * rng.normal(size=(draws, units))
        return [dict(zip(names, row, strict=True)) for row in (level + question + shift + noise).tolist()]

    curve = {int(n): values(0.5 + slope * math.log(n / 40)) for n in BUDGETS}
    return curve, values(0.5), {name: name for name in names}


def test_the_labels_that_reach_a_target_are_inside_the_interval_often_enough() -> None:
    rng, held = np.random.default_rng(3), 0
    for index in range(STUDIES):
        curve, target, units = study(rng, draws=6, units=40, slope=0.1, spread=0.08)
        found = labels_to_reach(curve, target, units, seed=index, resamples=400)
        held += found.ci95[0] <= 40 <= found.ci95[1]
    assert held / STUDIES >= 0.93 - 0.04


def test_a_target_beyond_the_range_is_said_to_be_beyond_it() -> None:
    curve, target, units = study(np.random.default_rng(0), draws=6, units=40, slope=0.0, spread=0.0)
    high = [{name: value + 5 for name, value in draw.items()} for draw in target]
    found = labels_to_reach(curve, high, units, resamples=200)
    assert found.labels is None
    assert found.beyond_range == 1.0
    assert math.isinf(found.ci95[1])
    low = [{name: value - 5 for name, value in draw.items()} for draw in target]
    early = labels_to_reach(curve, low, units, resamples=200)
    assert (early.labels, early.below_range, early.ci95[0]) == (8.0, 1.0, 0.0)


def test_a_curve_rises_and_its_band_holds_its_mean() -> None:
    curve, _, units = study(np.random.default_rng(1), draws=6, units=40, slope=0.1, spread=0.1)
    found = learning_curve(curve, units, resamples=300)
    means = [point.mean for point in found.points]
    assert means == sorted(means)
    assert all(point.ci95[0] <= point.mean <= point.ci95[1] for point in found.points)
    assert [point.labels for point in found.points] == [8, 16, 32, 64, 128]
    assert (found.n_draws, found.n_units) == (6, 40)


def test_of_a_single_draw_the_interval_is_over_items() -> None:
    curve, target, units = study(np.random.default_rng(1), draws=1, units=40, slope=0.1, spread=0.0)
    found = labels_to_reach(curve, target, units, resamples=300)
    assert found.labels is not None
    assert 0 < found.ci95[0] < found.labels < found.ci95[1]


def test_too_few_budgets_and_unequal_draws_are_refused() -> None:
    curve, target, units = study(np.random.default_rng(1), draws=3, units=5, slope=0.1, spread=0.1)
    with pytest.raises(HarnessError, match="needs 5 budgets or more, and 4"):
        learning_curve({n: curve[n] for n in (8, 16, 32, 64)}, units)
    with pytest.raises(HarnessError, match="3 draws at every budget were expected"):
        labels_to_reach(curve, target[:2], units)


def test_a_budget_at_the_ceiling_is_no_certainty() -> None:
    names = [f"q{i}" for i in range(30)]
    rng = np.random.default_rng(4)
    some = [[dict(zip(names, map(float, rng.random(30)), strict=True))] for _ in range(4)]
    values = {int(n): draws for n, draws in zip(BUDGETS, [*some, [dict.fromkeys(names, 1.0)]], strict=True)}
    last = learning_curve(values, {name: name for name in names}, resamples=200).points[-1]
    assert (last.mean, last.ci95) == (1.0, pytest.approx(wilson(1.0, 30)))
