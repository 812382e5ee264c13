"""Sentence embeddings and the judge that rests on them; the model is in the installation, so these are unit tests."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts import HarnessError
from tasks.judges import similarity


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
