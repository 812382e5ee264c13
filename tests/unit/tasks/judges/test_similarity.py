"""Sentence embeddings and the judge that rests on them; the model is in the installation, so these are unit tests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.contracts import HarnessError, JudgeItem, user
from tasks.judges import similarity
from tasks.judges.similarity import SCALE, Relevance, Similarity


def test_embeddings_have_unit_length_and_the_order_of_the_texts() -> None:
    texts = ["The cat sat on the mat.", "Shares fell sharply.", "The cat sat on the mat.", "A cat was on a mat."]
    found = similarity.embed(texts)
    assert found.shape == (4, similarity.DIMENSIONS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(found[0], found[2])
    assert found[0] @ found[3] > 0.7 > 0.3 > found[0] @ found[1]


def test_a_batch_does_not_change_an_embedding() -> None:
    alone = similarity.embed(["Rain is expected."])
    beside = similarity.embed(["Rain is expected.", "word " * 200])
    np.testing.assert_allclose(alone[0], beside[0], atol=1e-5)


def test_no_text_no_row() -> None:
    assert similarity.embed([]).shape == (0, similarity.DIMENSIONS)


def test_a_missing_model_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "MODEL_PACKAGE", "no_such_model_wheel")
    with pytest.raises(HarnessError, match="pip install no-such-model-wheel"):
        similarity.embed(["text"])


REFERENCE = "Paris is the capital of France."
CLOSE, FAR = "The French capital is Paris.", "Bread needs flour, water and salt."


def item(a: str, b: str, reference: str | None = REFERENCE) -> JudgeItem:
    return JudgeItem("i", user("What is the capital of France?"), a, b, reference)


def test_the_rule_is_the_difference_of_cosines_on_a_scale() -> None:
    (found,) = Similarity().compare([item(CLOSE, FAR)])
    a, b, reference = similarity.embed([CLOSE, FAR, REFERENCE])
    expected = 1 / (1 + math.exp(-float(a @ reference - b @ reference) / SCALE))
    assert found.p_a == pytest.approx(expected, abs=1e-5)
    assert found.p_a > 0.99
    assert found.per_order == (found.p_a,)
    assert (found.tokens, found.cost, found.status) == (0, 0.0, "ok")
    assert found.raw.startswith("cosine 0.")


def test_without_a_reference_there_is_no_verdict_and_others_keep_theirs() -> None:
    found = Similarity().compare([item(CLOSE, FAR, None), item(CLOSE, FAR), item(FAR, CLOSE, ""), item(FAR, CLOSE)])
    assert [v.status for v in found] == [similarity.NO_REFERENCE, "ok", similarity.NO_REFERENCE, "ok"]
    assert [v.p_a > 0.9 for v in found] == [False, True, False, False]
    assert found[0].p_a == 0.5
    assert found[1].p_a + found[3].p_a == pytest.approx(1.0)


def test_relevance_needs_no_reference() -> None:
    (found,) = Relevance().compare([item(CLOSE, FAR, None)])
    assert found.p_a > 0.9
    assert Similarity.named("instruction") is Relevance
    with pytest.raises(HarnessError, match="there are similarity and similarity:instruction"):
        Similarity.named("question")
