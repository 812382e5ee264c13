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


def test_after_the_cap_work_is_refused_before_it_begins() -> None:
    meter = Meter(cap_flops=100.0)
    meter.admit()
    with pytest.raises(BudgetExceeded):
        meter.flops(101)
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            meter.admit()
    assert (meter.spend.flops, meter.stops) == (101, 3)


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_nothing_is_taken_back(amount: float) -> None:
    meter = Meter()
    meter.flops(5)
    with pytest.raises(ValueError, match="cannot be spent"):
        meter.flops(amount)
    assert meter.spend.flops == 5


def test_what_a_meter_shows_cannot_be_changed() -> None:
    meter = Meter(cap_flops=10.0)
    meter.flops(5)
    with pytest.raises(AttributeError):
        meter.spend.flops = 0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        meter.cap_flops = 1e30  # type: ignore[misc]
    earlier = meter.spend
    meter.flops(1)
    assert (earlier.flops, meter.spend.flops) == (5, 6)


def test_a_checkpoint_cannot_take_back_what_this_process_spent() -> None:
    meter = Meter(cap_flops=10.0)
    meter.flops(2)
    saved = meter.state()
    meter.flops(7)
    meter.restore(saved)
    assert meter.spend.flops == 9


def test_a_second_model_spends_from_the_same_budget_at_its_own_price() -> None:
    meter = Meter(cap_flops=1e4, model=MODEL)
    judge = meter.beside(FlopModel(body=10, head=0, layers=1, attention_width=1))
    judge.forward(tokens=2, positions=2, keys=0)
    assert meter.spend.flops == 2 * 10 * 2
    with pytest.raises(BudgetExceeded):
        judge.flops(1e4)
    with pytest.raises(BudgetExceeded):
        meter.admit()
