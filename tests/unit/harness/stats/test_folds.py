"""Intervals and tests of cross-validated figures: their models share data, and the intervals allow for it."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats import SHARED_BY_FOLDS, mean_interval, mean_intervals, paired_test, paired_tests, sign_flip, wilson
from harness.stats.paired import sign_flips
from tests.folds_simulated import World, covered

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    "world",
    [World(40, 40, 10, 0.0, "mean"), World(40, 20, 60, 1.0, "ridge"), World(100, 100, 10, 0.0, "mean")],
    ids=lambda world: f"{world.pairs}-{world.learner}",
)
def test_intervals_cover_the_mean_of_the_five_fits(world: World) -> None:
    """1,000 tables of every world: `python -m tests.folds_simulated`; here 200 of those that share the most."""
    found = covered(world, 200)
    assert found.score >= 0.93
    assert found.difference >= 0.93
    assert found.as_if_independent < 0.93, "these worlds are the ones that need it"
    if world.signal == 0.0:
        assert found.better <= 0.03


def test_units_that_share_count_half() -> None:
    values, units = [1.0] * 30 + [0.0] * 10, [f"u{n}" for n in range(40)]
    plain, shared = (mean_interval(values, units, inflation=x) for x in (1.0, SHARED_BY_FOLDS))
    assert plain.ci95 == wilson(0.75, 40)
    assert (shared.ci95, shared.n) == (wilson(0.75, 20), 40)


def test_a_bootstrap_widens_by_the_root_and_stays_a_share() -> None:
    rng = np.random.default_rng(0)
    rows = [
        dict(zip(map(str, range(30)), map(float, values), strict=True)) for values in (rng.random(30), [0.5] * 29 + [1])
    ]
    units = {str(n): f"u{n}" for n in range(30)}
    for plain, shared in zip(mean_intervals(rows, units), mean_intervals(rows, units, inflation=2.0), strict=True):
        assert plain.ci95 and shared.ci95
        assert shared.ci95[1] - shared.mean == pytest.approx(2**0.5 * (plain.ci95[1] - plain.mean))
    high = mean_interval([1.0] * 19 + [0.5], [str(n) for n in range(20)], inflation=2.0).ci95
    assert high is not None and high[1] == 1.0


def test_a_total_counts_as_smaller_by_the_root() -> None:
    sums = np.array([[1.0] * 8])
    assert sign_flip([1.0] * 8) == pytest.approx(2 / 256)
    assert float(sign_flips(sums, inflation=2.0)[0]) == pytest.approx(2 * (1 + 8) / 256), "8 / root 2 is above 5"
    ids = [str(n) for n in range(8)]
    half, all_right = dict.fromkeys(ids, 0.5), dict.fromkeys(ids, 1.0)
    units = {i: i for i in ids}
    plain, [shared] = paired_test(all_right, half, units), paired_tests([all_right], half, units, inflation=2.0)
    assert (plain.difference, shared.difference) == (0.5, 0.5)
    assert plain.p < shared.p


def test_where_eight_shared_units_show_nothing_no_difference_is_promised() -> None:
    """Eight equal signs have a p of .070 then, whatever their size."""
    ids, rng = [str(n) for n in range(8)], np.random.default_rng(1)
    units, base = {i: i for i in ids}, dict.fromkeys(ids, 0.0)
    row = dict(zip(ids, map(float, 5 * rng.normal(size=8)), strict=True))
    [alone], [shared] = (paired_tests([row], base, units, inflation=x) for x in (1.0, SHARED_BY_FOLDS))
    assert alone.mdd is not None
    assert shared.mdd is None


def test_what_shared_units_promise_is_kept_where_they_share_as_much_as_they_can() -> None:
    ids, rng = [str(n) for n in range(20)], np.random.default_rng(2)
    row = rng.normal(size=20)
    [found] = paired_tests([dict(zip(ids, map(float, row), strict=True))], dict.fromkeys(ids, 0.0),
                           {i: i for i in ids}, inflation=2.0)  # fmt: skip
    limit = row.std(ddof=1) * (19 / 8.907) ** 0.5  # chi-square of 19 degrees at .025
    assert found.mdd is not None
    rows = found.mdd + limit * (rng.normal(size=(1_000, 20)) + rng.normal(size=(1_000, 1)) / 20**0.5)
    assert 0.76 <= float((sign_flips(rows, inflation=2.0) < 0.05).mean()) <= 0.84


def test_limits_of_a_difference_of_shares_stay_within_one() -> None:
    ids = [str(n) for n in range(40)]
    base, row = ({i: float(n < right) for n, i in enumerate(ids)} for right in (1, 40))
    [found] = paired_tests([row], base, {i: i for i in ids}, inflation=2.0)
    assert found.ci95 is not None
    assert (found.difference, found.ci95[1]) == (0.975, 1.0)


def test_a_difference_that_is_the_same_everywhere_is_not_certain() -> None:
    ids = [str(n) for n in range(40)]
    units = {i: i for i in ids}
    against_half = paired_test(dict.fromkeys(ids, 1.0), dict.fromkeys(ids, 0.5), units)
    low, high = wilson(1.0, 40)
    assert against_half.ci95 == pytest.approx((low - 0.5, high - 0.5))
    graded = dict(zip(ids, [0.2, 0.4] * 20, strict=True))
    shifted = {i: value + 0.3 for i, value in graded.items()}
    found = paired_test(shifted, graded, units)
    assert found.ci95 == pytest.approx((0.3 * (2 * low - 1), 0.3))
    same = paired_test(graded, graded, units)
    assert (same.ci95, same.p) == (None, 1.0)
    assert same.mdd is not None, "what could have been seen is said even where nothing differs"
