"""Embeddings by question, and features."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from harness.opinions.features import Embedder, Features
from harness.opinions.questions import (
    option_question,
)
from tests.unit.harness.opinions.asking import OPTIONS

pytestmark = pytest.mark.core


@pytest.mark.parametrize("pool", ["all", "answer"])
def test_each_question_is_embedded_once_and_alone_under_the_base_weights(pool: Any) -> None:
    calls: list[tuple[str, ...]] = []
    entered: list[bool] = []

    def embed(texts: Sequence[str], *, layer: int, spans: Any) -> Any:
        calls.append(tuple(texts))
        assert (layer, len(calls)) == (3, len(entered))
        assert (spans is not None) == (pool == "answer")
        return np.ones((len(texts), 2), np.float32)

    @contextmanager
    def off() -> Any:
        entered.append(True)
        yield

    embedder = Embedder(embed, 3, pool, off)
    first, second = option_question("One?", OPTIONS), option_question("Two?", OPTIONS)
    for question in (first, second, first, option_question("One?", OPTIONS)):
        embedder(question)
    assert calls == [first.texts, second.texts]


def test_features_are_centred_by_question_and_standardised() -> None:
    rng = np.random.default_rng(0)
    raw = [(rng.normal(size=(k, 5)) * [1, 2, 3, 4, 0] + 100 * i).astype(np.float32) for i, k in enumerate((2, 3, 4))]
    features = Features.of(raw, "question", standardise=True)
    rows = np.concatenate([features(one) for one in raw])
    assert np.allclose(rows.std(0), [1, 1, 1, 1, 0], atol=1e-4)
    assert np.allclose(features(raw[1]).sum(0), 0, atol=1e-3)
    both = Features.of(raw, "both", standardise=False)(raw[0])
    assert np.array_equal(both, np.concatenate([raw[0], raw[0] - raw[0].mean(0)], axis=1))
    assert np.array_equal(Features.of(raw, "none", standardise=False)(raw[0]), raw[0])
