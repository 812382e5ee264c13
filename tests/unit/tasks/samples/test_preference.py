"""What the shipped UltraFeedback sample promises: size, kinds, one form on both sides, no leak, no shortcut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import pytest

from harness.data.leaks import find_leaks
from harness.data.sources import SampleSource
from harness.util.words import normalise
from tasks.measures.shortcuts import bag_of_words, length_only
from tasks.pools.pairs import UltraFeedbackPool
from tasks.preference import PreferenceTask

SOURCE = SampleSource()
SPLITS = {"pool": 102, "eval": 102}
KINDS = 16
SHORTCUT_LIMIT = 0.65
"""Chance is 0.5; 102 held-out pairs put a coin below 0.60 in 97 of 100 cases."""


def _rows(split: str) -> list[Mapping[str, Any]]:
    return list(SOURCE.rows(UltraFeedbackPool.dataset, split))


@pytest.mark.core
@pytest.mark.parametrize(("split", "count"), SPLITS.items())
def test_every_row_is_a_pair(split: str, count: int) -> None:
    rows = _rows(split)
    assert len({row["id"] for row in rows}) == len(rows) == count
    assert len(UltraFeedbackPool().pairs(SOURCE, split)) == count
    assert UltraFeedbackPool().dropped(SOURCE, split) == {}
    assert all(row["flaw"].strip() for row in rows)


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_kinds_are_spread_evenly(split: str) -> None:
    counts = Counter(row["kind"] for row in _rows(split))
    assert len(counts) == KINDS
    assert max(counts.values()) <= min(counts.values()) + 2


@pytest.mark.core
def test_nothing_occurs_twice() -> None:
    rows = [row for split in SPLITS for row in _rows(split)]
    prompts = {normalise(row["prompt"]) for row in rows}
    answers = {normalise(row[side]) for row in rows for side in ("chosen", "rejected")}
    assert len(prompts) == len(rows)
    assert len(answers) == 2 * len(rows)


@pytest.mark.core
def test_pool_and_evaluation_do_not_leak() -> None:
    assert find_leaks(UltraFeedbackPool().questions(SOURCE), PreferenceTask().questions(SOURCE, None)) == ()


@pytest.mark.core
@pytest.mark.parametrize("unit", [lambda text: len(text.split()), len], ids=["words", "characters"])
@pytest.mark.parametrize("split", SPLITS)
def test_both_sides_have_one_length(split: str, unit: Any) -> None:
    lengths = [(unit(row["chosen"]), unit(row["rejected"])) for row in _rows(split)]
    chosen, rejected = (fmean(side) for side in zip(*lengths, strict=True))
    assert abs(chosen - rejected) / chosen < 0.02
    assert sum(a > b for a, b in lengths) / len(lengths) <= 0.55
    assert sum(a < b for a, b in lengths) / len(lengths) <= 0.55


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_answers_are_short_and_of_equal_size(split: str) -> None:
    for row in _rows(split):
        words = [len(row[side].split()) for side in ("chosen", "rejected")]
        assert all(25 <= count <= 80 for count in words), row["id"]
        assert abs(words[0] - words[1]) <= 4, row["id"]


def test_shortcuts_stay_near_chance(capsys: pytest.CaptureFixture[str]) -> None:
    pool = UltraFeedbackPool()
    train, held_out = pool.pairs(SOURCE), pool.pairs(SOURCE, "eval")
    found = {"length only": length_only(train, held_out), "bag of words": bag_of_words(train, held_out)}
    with capsys.disabled():
        print("  ".join(f"{name} {accuracy:.3f}" for name, accuracy in found.items()), end=" ")
    assert all(accuracy <= SHORTCUT_LIMIT for accuracy in found.values())
