from __future__ import annotations

import pytest

from harness.contracts import BudgetExceeded
from harness.meter import FlopModel, Meter

pytestmark = pytest.mark.core

MODEL = FlopModel(body=1000, head=100, layers=2, attention_width=8, trainable=50)


def test_forward_follows_the_formula() -> None:
    assert MODEL.forward(3, 5, 2) == 2 * 1000 * 3 + 2 * 100 * 2 + 4 * 2 * 8 * 3 * 5


def test_backward_adds_weight_gradients_of_the_adapter_only() -> None:
    assert MODEL.backward(3, 5, 2) == 2 * 1000 * 3 + 2 * 100 * 2 + 2 * 50 * 3 + 2 * 4 * 2 * 8 * 3 * 5


def test_training_counts_forward_and_backward() -> None:
    meter = Meter()
    meter.attach(MODEL)
    meter.forward(tokens=3, positions=4, keys=4, projected=1, train=True)
    assert meter.spend.trained_tokens == meter.spend.forward_tokens == 3
    assert meter.spend.flops == MODEL.forward(4, 4, 1) + MODEL.backward(4, 4, 1)


def test_the_cap_stops_and_what_was_spent_stays() -> None:
    meter = Meter(cap_flops=100.0)
    meter.flops(60)
    with pytest.raises(BudgetExceeded, match="of 1"):
        meter.flops(60)
    assert meter.spend.flops == 120


def test_a_label_is_counted_once() -> None:
    meter = Meter()
    for item in ("a", "b", "a"):
        meter.label(item)
        meter.prompt(item)
    assert (meter.spend.labels, meter.spend.prompts) == (2, 2)


def test_state_round_trip_keeps_what_was_labelled() -> None:
    meter = Meter()
    meter.label("a")
    meter.flops(5)
    other = Meter()
    other.restore(meter.state())
    other.label("a")
    assert other.spend == meter.spend


def test_an_unattached_meter_refuses_to_guess() -> None:
    with pytest.raises(RuntimeError, match="attached"):
        Meter().forward(tokens=1, positions=1, keys=1)
