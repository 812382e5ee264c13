"""What the shipped MedQA sample promises: size, balance, no duplicates, arguments of one form, no leak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from harness.data.leaks import find_leaks
from harness.data.sources import SampleSource
from harness.util.words import normalise
from tasks.datasets.closing import final_letter
from tasks.datasets.medqa import DATASET, LETTERS
from tasks.measures.shortcuts import bag_of_words, length_only
from tasks.medqa import MedQA
from tasks.pools.medqa import MedQAPool

SOURCE = SampleSource()
SPLITS = {"pool": 72, "eval": 103}
SHORTCUT_LIMIT = 0.65
"""Chance is 0.5; 103 held-out pairs put a coin below 0.60 in 97 of 100 cases."""


def _rows(split: str) -> list[Mapping[str, Any]]:
    return list(SOURCE.rows(DATASET, split))


@pytest.mark.core
@pytest.mark.parametrize(("split", "count"), SPLITS.items())
def test_every_row_is_whole(split: str, count: int) -> None:
    rows = _rows(split)
    assert len(rows) == count
    assert len({row["id"] for row in rows}) == count
    for row in rows:
        assert tuple(row["options"]) == LETTERS
        assert len({normalise(text) for text in row["options"].values()}) == 4
        assert row["answer"] == row["options"][row["answer_idx"]]
        assert row["wrong_idx"] in set(LETTERS) - {row["answer_idx"]}
        assert row["question"].endswith("?")
        assert row["topic"]


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_gold_letters_are_balanced(split: str) -> None:
    counts = Counter(row["answer_idx"] for row in _rows(split))
    assert set(counts) == set(LETTERS)
    assert max(counts.values()) - min(counts.values()) <= 2


@pytest.mark.core
def test_no_question_occurs_twice() -> None:
    questions = [normalise(row["question"]) for split in SPLITS for row in _rows(split)]
    assert len(set(questions)) == sum(SPLITS.values())


@pytest.mark.core
def test_pool_and_evaluation_do_not_leak() -> None:
    assert find_leaks(MedQAPool().questions(SOURCE), MedQA().questions(SOURCE, None)) == ()


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_arguments_have_one_length(split: str) -> None:
    lengths = [[len(row[key].split()) for key in ("explanation", "wrong_argument")] for row in _rows(split)]
    assert all(abs(right - wrong) <= 3 for right, wrong in lengths)
    longer = sum(right > wrong for right, wrong in lengths)
    shorter = sum(right < wrong for right, wrong in lengths)
    assert 0.35 <= longer / (longer + shorter) <= 0.65


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_gold_is_rarely_the_longest_option(split: str) -> None:
    rows = _rows(split)
    longest = sum(len(row["answer"]) == max(map(len, row["options"].values())) for row in rows)
    assert longest / len(rows) <= 0.4


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_pairs_close_with_different_letters(split: str) -> None:
    for pair in MedQAPool().pairs(SOURCE, split):
        assert {final_letter(pair.chosen), final_letter(pair.rejected)} < set(LETTERS)
        assert final_letter(pair.chosen) != final_letter(pair.rejected)


def test_shortcuts_stay_near_chance(capsys: pytest.CaptureFixture[str]) -> None:
    pool = MedQAPool()
    train, held_out = pool.pairs(SOURCE), pool.pairs(SOURCE, "eval")
    found = {"length only": length_only(train, held_out), "bag of words": bag_of_words(train, held_out)}
    with capsys.disabled():
        print("  ".join(f"{name} {accuracy:.3f}" for name, accuracy in found.items()), end=" ")
    assert all(accuracy <= SHORTCUT_LIMIT for accuracy in found.values())
