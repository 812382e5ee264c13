"""Results that only choose, and their files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from aligners.mean_of_groups import Means
from aligners.uniform import Flat
from harness.contracts import HarnessError, able_to, capabilities
from harness.opinions.results import log_distribution, read, write
from tests.unit.harness.opinions.asking import RATING, aligned, ask

pytestmark = pytest.mark.core


def test_log_distribution_is_normalised_and_finite_and_refuses_nan() -> None:
    assert math.fsum(map(math.exp, log_distribution([3.0, 0.0, 1.0]))) == pytest.approx(1)
    assert min(log_distribution([1.0, 0.0])) > -20
    with pytest.raises(HarnessError, match="nan"):
        log_distribution([float("nan"), 1.0])


def test_a_result_that_chooses_does_nothing_else_and_comes_back_from_its_files(tmp_path: Path) -> None:
    means = Means.of({"a": (RATING,)})
    result = aligned(means)
    assert capabilities(result) == {"choose"}
    with pytest.raises(HarnessError, match="the test asks for generate; the model's capabilities are: choose"):
        able_to("generate", result, by="the test")
    result.save(tmp_path)
    saved = read(tmp_path, "test")
    assert saved is not None
    assert Means(saved[0]["known"]).predict([ask()]) == means.predict([ask()])
    assert read(tmp_path, "another") is None


def test_arrays_come_back_bit_for_bit(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(3, 4))
    write(tmp_path, "x", {"a": [1]}, {"array": array})
    saved = read(tmp_path, "x")
    assert saved is not None
    assert saved[0] == {"a": [1]}
    assert np.array_equal(saved[1]["array"], array)


def test_prefer_requests_are_refused_by_name() -> None:
    with pytest.raises(HarnessError, match="selection asks for prefer; the model's capabilities are: choose"):
        able_to("prefer", aligned(Flat()), by="selection")
