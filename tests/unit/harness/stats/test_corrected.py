"""Prediction-powered inference for a mean, against the figures of `ppi-python` and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts import HarnessError
from harness.stats.corrected import corrected_mean

pytestmark = pytest.mark.core


def verdicts(n: int, many: int, noise: float) -> tuple[dict[str, float], dict[str, float]]:
    i = np.arange(n + many)
    truth = ((i * 7) % 10) / 10
    judge = np.clip(truth * 0.6 + 0.3 + noise * (((i * 13) % 11) / 11 - 0.5), 0, 1)
    return {str(k): float(truth[k]) for k in range(n)}, {str(k): float(judge[k]) for k in i}


@pytest.mark.parametrize(
    ("n", "many", "noise", "mean", "low", "high"),
    [  # ppi_mean_pointestimate and ppi_mean_ci(alpha=0.05) of ppi-python 0.2.3
        (20, 180, 0.2, 0.45525253, 0.38962302, 0.52088203),
        (50, 50, 1.0, 0.44778508, 0.37330239, 0.52226776),
        (12, 400, 0.0, 0.44333333, 0.37316615, 0.51350052),
    ],
)
def test_it_gives_what_the_authors_package_gives(n, many, noise, mean, low, high) -> None:
    found = corrected_mean(*verdicts(n, many, noise))
    assert (found.mean, *found.ci95) == pytest.approx((mean, low, high), abs=1e-8)
    assert (found.gold, found.judged) == (n, many)


def test_a_biased_judge_is_corrected_and_narrows_the_interval() -> None:
    rng = np.random.default_rng(0)
    hits, widths = 0, []
    for _ in range(400):
        truth = rng.random(500)
        judge = np.clip(truth + 0.3 + 0.05 * rng.standard_normal(500), 0, 1.3)
        picked = rng.permutation(500)[:60]
        found = corrected_mean({str(i): truth[i] for i in picked}, {str(i): judge[i] for i in range(500)})
        hits += found.ci95[0] <= 0.5 <= found.ci95[1]
        widths.append((found.ci95[1] - found.ci95[0]) / (2 * 1.96 * truth[picked].std() / np.sqrt(60)))
    assert 0.92 < hits / 400 < 0.975
    assert np.mean(widths) < 0.6


def test_a_judge_that_says_nothing_has_no_weight() -> None:
    gold = {str(i): float(i % 2) for i in range(10)}
    found = corrected_mean(gold, {**dict.fromkeys(map(str, range(50)), 0.9)})
    assert found.weight == 0
    assert found.mean == pytest.approx(0.5)


def test_gold_without_a_verdict_and_too_little_of_either_are_refused() -> None:
    with pytest.raises(HarnessError, match="gold verdict but no cheap verdict; the first is 'z'"):
        corrected_mean({"z": 1.0, "a": 0.0}, {"a": 1.0, "b": 0.0})
    with pytest.raises(HarnessError, match="needs 2 items"):
        corrected_mean({"a": 0.0}, {"a": 1.0, "b": 0.0, "c": 1.0})
