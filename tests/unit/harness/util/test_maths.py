"""Shares and logarithms of a few numbers."""

from __future__ import annotations

import math

import pytest

from harness.util.maths import log_softmax, sigmoid, softmax

pytestmark = pytest.mark.core


def test_the_sigmoid_is_exact_and_never_overflows() -> None:
    assert sigmoid(0.0) == 0.5
    assert sigmoid(1.3) == pytest.approx(1 / (1 + math.exp(-1.3)))
    assert sigmoid(-1.3) == pytest.approx(1 - sigmoid(1.3))
    assert (sigmoid(1e4), sigmoid(-1e4)) == (1.0, 0.0)


def test_shares_sum_to_one_and_their_logarithms_stay_finite() -> None:
    values = [1.0, -2.0, 1000.0]
    assert softmax([0.0, math.log(3)]) == pytest.approx([0.25, 0.75])
    assert math.fsum(softmax(values)) == pytest.approx(1)
    assert log_softmax(values)[1] == pytest.approx(-1002.0)
    assert [math.exp(v) for v in log_softmax(values)] == pytest.approx(softmax(values))
