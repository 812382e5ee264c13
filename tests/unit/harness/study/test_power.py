"""What a design can show: at the stated difference the study's test finds it four times in five."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.crossed import Components, crossed
from harness.study.power import Design, advice, detectable, matched, surely_detectable

pytestmark = pytest.mark.core

STUDIES = 300
COMPONENTS = Components(draws=0.03**2, units=0.05, rest=0.08)


def power(design: Design, difference: float, seed: int) -> float:
    rng, c = np.random.default_rng(seed), design.components
    names = [f"q{i}" for i in range(design.units)]
    hits = 0
    for _ in range(STUDIES):
        rows = (
            difference
            + rng.normal(0, c.draws**0.5, (design.draws, 1))
            + rng.normal(0, c.units**0.5, (1, design.units))
            + rng.normal(0, c.rest**0.5, (design.draws, design.units))
        )
        values = [dict(zip(names, map(float, row), strict=True)) for row in rows]
        hits += crossed(values, {name: name for name in names}).p < 0.05
    return hits / STUDIES


def test_over_draws_and_units_the_stated_difference_is_found_four_times_in_five() -> None:
    design = Design(COMPONENTS, draws=8, units=60)
    assert power(design, detectable(design) or 0.0, 1) == pytest.approx(0.8, abs=0.08)


def test_a_small_spread_that_was_seen_promises_less_than_it_would() -> None:
    """Variances estimated from few draws: their upper limit stands in for them."""
    design = Design(COMPONENTS, draws=6, units=60)
    assert (surely_detectable(design) or 0.0) > 1.2 * (detectable(design) or 0.0)
    assert surely_detectable(Design(COMPONENTS, 8, 1)) is None


@pytest.mark.parametrize("design", [Design(COMPONENTS, 8, 60), Design(Components(0.0, 0.0, 0.0), 3, 40)])
def test_a_matched_design_detects_what_it_was_matched_to(design: Design) -> None:
    assert detectable(matched(design, 0.123, 4), 4) == pytest.approx(0.123)


def test_more_units_more_draws_and_fewer_comparisons_show_more() -> None:
    least = detectable(Design(COMPONENTS, 8, 60)) or 0.0
    assert (detectable(Design(COMPONENTS, 8, 240)) or 1.0) < least
    assert (detectable(Design(COMPONENTS, 16, 60)) or 1.0) < least
    assert (detectable(Design(COMPONENTS, 8, 60), 6) or 0.0) > least
    assert detectable(Design(COMPONENTS, 8, 1)) is None


def test_the_advice_names_units_that_suffice() -> None:
    said = advice(Design(COMPONENTS, 3, 40), 2)
    assert len(said) == 2
    units = int(said[1].split("about ")[1].split()[0])
    assert (
        (detectable(Design(COMPONENTS, 3, units), 2) or 1.0) <= 0.05 < (detectable(Design(COMPONENTS, 3, 40), 2) or 0)
    )
    assert advice(Design(COMPONENTS, 3, 4000), 2)[0].startswith("With 3 draws and 4000 units")
    assert advice(Design(Components(0.0, 0.0, 0.0), 3, 40), 2) == []


def test_of_a_design_that_finds_no_share_the_advice_says_so() -> None:
    said = advice(Design(Components(draws=0.0004, units=0.10, rest=0.10), 1, 2), 1)
    assert "no difference to base, however large, would be found" in said[0]
