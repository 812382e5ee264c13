"""Rows whose texts were left out."""

from __future__ import annotations

import hashlib
import json

import pytest

from harness.contracts import SampleRow
from harness.records.shown import shown
from harness.records.texts import is_hashed, without_texts

pytestmark = pytest.mark.core

SECRET = "a patient's words"
ROW = SampleRow(
    "pair:1",
    "u",
    {"accuracy": 1.0},
    {
        "prompt": [{"role": "user", "content": SECRET}],
        "output": SECRET,
        "finish": "stop",
        "options": [{"text": SECRET, "logprob": -1.0}],
        "preferences": [{"pair": "1", "p_chosen": 0.5, "chosen": [1, 2.0], "rejected": None}],
    },
)


def test_no_text_is_left_and_figures_ids_and_speakers_are() -> None:
    [row] = without_texts([ROW])
    assert SECRET not in json.dumps(row.detail)
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert row.detail["output"] == {"sha256": digest}
    assert is_hashed(row.detail["output"])
    assert row.detail["prompt"] == [{"role": "user", "content": {"sha256": digest}}]
    assert (row.id, row.unit, row.values, row.detail["finish"]) == ("pair:1", "u", {"accuracy": 1.0}, "stop")
    assert row.detail["preferences"] == ROW.detail["preferences"]
    assert row.detail["options"][0]["logprob"] == -1.0


def test_a_reader_is_told_that_a_text_was_not_kept() -> None:
    [row] = without_texts([ROW])
    item = shown(row)
    assert item.answer is not None
    assert item.answer.startswith("(not kept; sha256 ")
    assert item.prompt == item.answer


def test_equal_texts_stay_equal() -> None:
    first, second = without_texts([ROW, ROW])
    assert first == second
