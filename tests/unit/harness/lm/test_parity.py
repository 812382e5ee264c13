"""The gate before another engine's samples count: hf judges its greedy tokens."""

from __future__ import annotations

from typing import Any

import pytest

from harness.contracts import HarnessError
from harness.lm.backends.hf import HfEngine
from harness.lm.backends.parity import Parity
from tests.tiny import tiny_model, tiny_tokenizer

PROMPTS = [[5, 9, 11], [7, 8, 20, 31], [12]]


@pytest.fixture(scope="module")
def engine() -> HfEngine:
    return HfEngine(tiny_model(), tiny_tokenizer())


def greedy(engine: Any) -> list[tuple[int, ...]]:
    return [one.ids for (one,) in engine.generate(PROMPTS, temperature=0.0, max_new_tokens=6)]


def test_samples_of_the_same_model_pass(engine: HfEngine) -> None:
    found = Parity.of(engine, PROMPTS, greedy(engine), "fp32")
    assert (found.items, found.same) == (3, 1.0)
    assert found.worst < 1e-4
    found.check("another engine")
    assert found.line().startswith("3 prompts, ")


def test_samples_of_another_model_are_refused(engine: HfEngine) -> None:
    others = greedy(HfEngine(tiny_model(seed=1), tiny_tokenizer()))
    with pytest.raises(HarnessError, match=r"^another engine samples from another model than transformers: .* nats"):
        Parity.of(engine, PROMPTS, others, "fp32").check("another engine")


def test_twenty_distinct_prompts_are_asked_and_long_ones_cut() -> None:
    asked = Parity.prompts([[i % 30, 1] for i in range(60)] + [[9] * 50], 30)
    assert len(asked) == Parity.most
    assert Parity.prompts([[9] * 50], 30) == [[9] * (30 - Parity.tokens)]
