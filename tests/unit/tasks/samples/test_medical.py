"""What the shipped MedMCQA and PubMedQA samples promise: size, balance, arguments of one form, no leak, no shortcut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from harness.contracts import Pool
from harness.data.leaks import find_leaks
from harness.data.sources import SampleSource
from harness.util.words import normalise
from tasks.datasets.closing import final_letter
from tasks.datasets.medmcqa import OPTIONS
from tasks.datasets.pubmedqa import ANSWERS, final_decision
from tasks.measures.shortcuts import bag_of_words, length_only
from tasks.pools.medmcqa import MedMCQAPool
from tasks.pools.pubmedqa import PubMedQAPool

SOURCE = SampleSource()
SPLITS = ("pool", "eval")
SIZES = {MedMCQAPool: 74, PubMedQAPool: 65}
"""Rows in each of the two splits."""
POOLS = tuple(SIZES)
SHORTCUT_LIMIT = 0.65
"""Chance is 0.5; 65 held-out pairs put a coin below 0.65 in 99 of 100 cases."""


def _rows(pool: Any, split: str) -> list[Mapping[str, Any]]:
    return list(SOURCE.rows(pool.dataset, split))


def _all(pool: Any) -> list[Mapping[str, Any]]:
    return [row for split in SPLITS for row in _rows(pool, split)]


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("pool", POOLS)
def test_size_and_ids(pool: Any, split: str) -> None:
    ids = [pair.id for pair in pool().pairs(SOURCE, split)]
    assert ids == [f"{split}-{number:03d}" for number in range(SIZES[pool])]


@pytest.mark.core
def test_every_medmcqa_row_is_whole() -> None:
    for row in _all(MedMCQAPool):
        assert len({normalise(row[column]) for column in OPTIONS}) == 4
        assert row["wrong_idx"] in set(range(4)) - {row["cop"]}
        assert row["question"].endswith("?")
        assert row["subject_name"]
        assert row["exp"] == row["explanation"]
    assert len({row["subject_name"] for row in _all(MedMCQAPool)}) == 15


@pytest.mark.core
def test_every_pubmedqa_row_is_whole() -> None:
    for row in _all(PubMedQAPool):
        contexts = row["context"]["contexts"]
        assert len(contexts) == len(row["context"]["labels"]) == 3
        assert 40 <= sum(len(part.split()) for part in contexts) <= 100
        assert row["wrong_decision"] in set(ANSWERS) - {row["final_decision"]}
        assert row["question"].endswith("?")
        assert row["long_answer"] not in "\n".join(contexts)


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("pool", "gold", "spread"), [(MedMCQAPool, "cop", 2), (PubMedQAPool, "final_decision", 4)])
def test_gold_answers_are_balanced(pool: Any, gold: str, spread: int, split: str) -> None:
    counts = Counter(row[gold] for row in _rows(pool, split))
    assert len(counts) == (4 if pool is MedMCQAPool else 3)
    assert max(counts.values()) - min(counts.values()) <= spread


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_a_decision_is_wrong_about_as_often_as_right(split: str) -> None:
    rows = _rows(PubMedQAPool, split)
    for decision in ANSWERS:
        right, wrong = (sum(row[key] == decision for row in rows) for key in ("final_decision", "wrong_decision"))
        assert abs(right - wrong) <= 5


@pytest.mark.core
@pytest.mark.parametrize("pool", POOLS)
def test_nothing_occurs_twice(pool: Any) -> None:
    rows = _all(pool)
    for key in ("question", "explanation", "wrong_argument"):
        assert len({normalise(row[key]) for row in rows}) == len(rows)


@pytest.mark.core
@pytest.mark.parametrize("pool", POOLS)
def test_pool_and_evaluation_do_not_leak(pool: Any) -> None:
    prompts = [{pair.id: pair.prompt[-1].content for pair in pool().pairs(SOURCE, split)} for split in SPLITS]
    questions = [{str(n): row["question"] for n, row in enumerate(_rows(pool, split))} for split in SPLITS]
    assert find_leaks(*prompts) == find_leaks(*questions) == ()


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("pool", POOLS)
def test_arguments_have_one_length(pool: Any, split: str) -> None:
    lengths = [[len(row[key].split()) for key in ("explanation", "wrong_argument")] for row in _rows(pool, split)]
    assert all(abs(right - wrong) <= 3 for right, wrong in lengths)
    longer = sum(right > wrong for right, wrong in lengths)
    shorter = sum(right < wrong for right, wrong in lengths)
    assert 0.35 <= longer / (longer + shorter) <= 0.65


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_gold_is_rarely_the_longest_option(split: str) -> None:
    rows = _rows(MedMCQAPool, split)
    options = [[len(row[column]) for column in OPTIONS] for row in rows]
    longest = sum(lengths[row["cop"]] == max(lengths) for row, lengths in zip(rows, options, strict=True))
    assert longest / len(rows) <= 0.4


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("pool", "read"), [(MedMCQAPool, final_letter), (PubMedQAPool, final_decision)])
def test_pairs_close_with_different_answers(pool: Any, read: Any, split: str) -> None:
    for pair in pool().pairs(SOURCE, split):
        chosen, rejected = read(pair.chosen), read(pair.rejected)
        assert chosen and rejected and chosen != rejected


@pytest.mark.parametrize("pool", POOLS)
def test_shortcuts_stay_near_chance(pool: type[Pool], capsys: pytest.CaptureFixture[str]) -> None:
    train, held_out = pool().pairs(SOURCE), pool().pairs(SOURCE, "eval")
    found = {"length only": length_only(train, held_out), "bag of words": bag_of_words(train, held_out)}
    with capsys.disabled():
        print(pool.name, "  ".join(f"{name} {accuracy:.3f}" for name, accuracy in found.items()), end=" ")
    assert all(accuracy <= SHORTCUT_LIMIT for accuracy in found.values())
