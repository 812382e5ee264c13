"""Draws crossed with units: the two-way layout worked out by hand, and how often intervals and tests are right."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts import HarnessError
from harness.stats import mean_interval, paired_test, wilson
from harness.stats.crossed import ENOUGH_DRAWS, crossed, crossed_difference

pytestmark = pytest.mark.core
STUDIES = 250
"""Simulated studies of each kind."""


def as_draws(table: np.ndarray) -> tuple[list[dict[str, float]], dict[str, str]]:
    names = [f"q{i}" for i in range(table.shape[1])]
    return [dict(zip(names, map(float, row), strict=True)) for row in table], {name: name for name in names}


def test_variance_and_degrees_are_those_of_the_two_way_layout() -> None:
    table = np.array([[1.0, 2.0, 4.0, 1.0], [2.0, 4.0, 4.0, 3.0], [0.0, 1.0, 5.0, 0.0]])
    found = crossed(*as_draws(table))
    # Mean squares by hand: rows 4 * sum((2, 3.25, 1.5) - 2.25)^2 / 2, columns 3 * sum((1, 7/3, 13/3, 4/3) - 2.25)^2 / 3
    rows, columns = 4 * (0.0625 + 1.0 + 0.5625) / 2, 3 * sum((m - 2.25) ** 2 for m in (1, 7 / 3, 13 / 3, 4 / 3)) / 3
    rest = (((table - 2.25) ** 2).sum() - 2 * rows - 3 * columns) / 6
    variance = (rows + columns - rest) / 12
    degrees = (rows + columns - rest) ** 2 / (rows**2 / 2 + columns**2 / 3 + rest**2 / 6)
    assert found.mean == pytest.approx(2.25)
    assert found.degrees == pytest.approx(degrees)
    assert found.components.draws == pytest.approx((rows - rest) / 4)
    assert found.components.units == pytest.approx((columns - rest) / 3)
    assert found.components.rest == pytest.approx(rest)
    low, high = found.ci95 or (0.0, 0.0)
    assert (high - low) / 2 / np.sqrt(variance) == pytest.approx(2.776, abs=0.3)  # t of about 4 degrees
    assert (low + high) / 2 == pytest.approx(found.mean)


def test_several_items_of_a_unit_weigh_as_items() -> None:
    draws = [{"a1": 1.0, "a2": 1.0, "b": 0.0}, {"a1": 0.0, "a2": 1.0, "b": 1.0}]
    found = crossed(draws, {"a1": "a", "a2": "a", "b": "b"})
    assert found.mean == pytest.approx(4 / 6)
    assert (found.n_draws, found.n_units) == (2, 2)


def test_a_difference_may_be_taken_to_one_run_that_serves_every_draw() -> None:
    table = np.random.default_rng(0).normal(size=(6, 20))
    draws, units = as_draws(table)
    base = [dict.fromkeys(units, 0.5)]
    found = crossed_difference(draws, base, units)
    assert found.mean == pytest.approx(float(table.mean()) - 0.5)
    assert found.scope == "new draws and new questions"
    with pytest.raises(HarnessError, match="6 draws of one method and 2 of the other"):
        crossed_difference(draws, draws[:2], units)


def test_below_six_draws_p_speaks_of_these_draws() -> None:
    rng = np.random.default_rng(1)
    table = 0.5 + rng.normal(size=(ENOUGH_DRAWS - 1, 1)) + 0.1 * rng.normal(size=(ENOUGH_DRAWS - 1, 40))
    found = crossed(*as_draws(table))
    assert found.scope == "new questions for these draws"
    assert found.p < 1e-4, "every question says the same in these draws"
    low, _ = found.ci95 or (0.0, 0.0)
    assert low < 0, "the interval is for new draws, and five draws that differ so much do not exclude 0"


def test_one_draw_has_no_interval_for_new_draws() -> None:
    found = crossed(*as_draws(np.ones((1, 10))))
    assert found.ci95 is None
    assert found.p < 0.01


@pytest.mark.parametrize("draws", [3, ENOUGH_DRAWS])
@pytest.mark.parametrize("value", [0.5, 1.0, 1 / 3])
def test_equal_values_everywhere_are_no_certainty(draws: int, value: float) -> None:
    """There were an interval without width and, from six draws on, a p of 0, with two questions as with a thousand."""
    scores, units = as_draws(np.full((draws, 40), value))
    found = crossed(scores, units)
    assert found.ci95 == mean_interval([value] * 40, sorted(units)).ci95
    assert found.p == pytest.approx(2.0**-39)
    few = crossed(*as_draws(np.full((draws, 2), value)))
    assert few.p == 0.5
    nothing = crossed(*as_draws(np.zeros((draws, 40))))
    assert (nothing.ci95, nothing.p) == (pytest.approx(wilson(0.0, 40)), 1.0)
    base = dict.fromkeys(units, 0.25)
    apart = crossed_difference(scores, [base], units)
    expected = paired_test(scores[0], base, units)
    assert (apart.mean, apart.ci95, apart.p) == (pytest.approx(value - 0.25), expected.ci95, expected.p)
    same = crossed_difference(scores, scores, units)
    assert (same.ci95, same.p) == (None, 1.0)


def test_items_that_differ_are_named() -> None:
    with pytest.raises(HarnessError, match="different items"):
        crossed([{"a": 1.0}, {"b": 1.0}], {"a": "a", "b": "b"})
    with pytest.raises(HarnessError, match="no draws"):
        crossed([], {})


def simulated(draws: int, sd: tuple[float, float, float], units: int = 60) -> tuple[float, float]:
    """(coverage, false positives) of studies without any effect."""
    rng = np.random.default_rng([draws, units, *(int(100 * s) for s in sd)])
    covered = false = 0
    for _ in range(STUDIES):
        a, b = sd[0] * rng.normal(size=(draws, 1)), sd[1] * rng.normal(size=(1, units))
        found = crossed(*as_draws(a + b + sd[2] * rng.normal(size=(draws, units))))
        low, high = found.ci95 or (0.0, 0.0)
        covered += low <= 0 <= high
        false += found.p < 0.05
    return covered / STUDIES, false / STUDIES


@pytest.mark.parametrize("sd", [(0.0, 1.0, 1.0), (0.3, 1.0, 1.0), (1.0, 0.3, 1.0)])
@pytest.mark.parametrize("draws", [ENOUGH_DRAWS, 10])
def test_intervals_cover_and_tests_hold_their_level(draws: int, sd: tuple[float, float, float]) -> None:
    coverage, false = simulated(draws, sd)
    slack = 2.6 * np.sqrt(0.05 * 0.95 / STUDIES)  # 250 studies cannot tell .95 from less than this below it
    assert coverage >= 0.95 - slack
    assert false <= 0.05 + slack


def test_an_interval_over_units_alone_would_be_too_narrow() -> None:
    """What the draws add: without them, intervals of such studies miss more often than one time in four."""
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(STUDIES):
        table = 0.2 * rng.normal(size=(6, 1)) + 0.3 * rng.normal(size=(1, 60)) + 0.3 * rng.normal(size=(6, 60))
        columns = table.mean(axis=0)
        missed += abs(columns.mean()) > 2 * columns.std(ddof=1) / np.sqrt(60)
    assert missed / STUDIES > 0.25
