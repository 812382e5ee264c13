"""What the shipped dialogues promise: size, grades, turns, statements, lengths, no duplicates, no leak, no shortcut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from statistics import mean
from typing import Any

import pytest

from harness.contracts import Dataset, Pair
from harness.data.leaks import find_leaks
from harness.data.sources import SampleSource
from harness.util.words import normalise
from tasks.datasets.dialogues import DATASET, Dialogue, dialogues, pairs_of
from tasks.measures.shortcuts import bag_of_words, length_only
from tasks.medical_dialogue import MedicalDialogue
from tasks.pools.medical_dialogue import MedicalDialoguePool

SOURCE = SampleSource()
SPLITS = {"pool": 66, "eval": 71}
WITH_STATEMENTS = 41
SHORTCUT_LIMIT = 0.65
"""Chance is 0.5; the pairs of 71 held-out questions put a coin below 0.6."""


def _rows(split: str) -> list[Mapping[str, Any]]:
    return list(SOURCE.rows(Dataset(folder=DATASET.folder, hub=""), split))


def _grade_pair(found: list[Dialogue], better: float, worse: tuple[float, ...]) -> list[Pair]:
    grades = {dialogue.id: dialogue.grades for dialogue in found}
    pairs = pairs_of(found)
    return [p for p in pairs if grades[p.unit][p.chosen] == better and grades[p.unit][p.rejected] in worse]


@pytest.mark.core
@pytest.mark.parametrize(("split", "count"), SPLITS.items())
def test_every_row_is_whole(split: str, count: int) -> None:
    rows, found = _rows(split), dialogues(SOURCE, split)
    assert len(rows) == len(found) == count
    assert [row["id"] for row in rows] == [f"{split}-{n:03d}" for n in range(count)]
    for row in rows:
        best, middle, worst = (answer["grade"] for answer in row["answers"])
        assert (best, worst) == (4, 1)
        assert middle in (2, 3)
        assert row["topic"]
    assert all(len(dialogue.pairs) == 3 for dialogue in found)


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_a_quarter_has_several_turns(split: str) -> None:
    turns = Counter(len(dialogue.prompt) for dialogue in dialogues(SOURCE, split))
    assert turns[3] / SPLITS[split] >= 0.25


@pytest.mark.core
def test_statements_for_at_least_two_dozen_questions() -> None:
    found = [dialogue for dialogue in dialogues(SOURCE, "eval") if dialogue.must_have]
    assert len(found) == WITH_STATEMENTS >= 24
    assert all(len(dialogue.must_have) >= 2 for dialogue in found)
    assert not any(dialogue.statements for dialogue in dialogues(SOURCE, "pool"))


@pytest.mark.core
def test_nothing_occurs_twice() -> None:
    every = [dialogue for split in SPLITS for dialogue in dialogues(SOURCE, split)]
    questions = [normalise(dialogue.question) for dialogue in every]
    texts = [normalise(answer) for dialogue in every for answer in dialogue.grades]
    statements = [normalise(statement) for dialogue in every for statement in dialogue.statements]
    assert len(set(questions)) == sum(SPLITS.values())
    assert len(set(texts)) == 3 * sum(SPLITS.values())
    assert len(set(statements)) == len(statements)


@pytest.mark.core
def test_pool_and_evaluation_do_not_leak() -> None:
    assert find_leaks(MedicalDialoguePool().questions(SOURCE), MedicalDialogue().questions(SOURCE, None)) == ()


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_better_and_worse_answers_have_one_length(split: str) -> None:
    for row in _rows(split):
        lengths = [len(answer["text"].split()) for answer in row["answers"]]
        assert min(lengths) >= 40
        assert max(lengths) <= 80
        assert max(lengths) - min(lengths) <= 7
    pairs = pairs_of(dialogues(SOURCE, split))
    chosen, rejected = (mean(len(getattr(p, side).split()) for p in pairs) for side in ("chosen", "rejected"))
    assert chosen == pytest.approx(rejected, rel=0.02)


def test_shortcuts_stay_near_chance(capsys: pytest.CaptureFixture[str]) -> None:
    train, held_out = dialogues(SOURCE, "pool"), dialogues(SOURCE, "eval")
    kinds = {"4 > 3, 2": (4.0, (3.0, 2.0)), "4 > 1": (4.0, (1.0,)), "3 > 1": (3.0, (1.0,))}
    parts = {name: [_grade_pair(found, *kind) for found in (train, held_out)] for name, kind in kinds.items()}
    found = {
        name: (length_only(*both), bag_of_words(*both))
        for name, both in {"all": [list(pairs_of(train)), list(pairs_of(held_out))], **parts}.items()
    }
    with capsys.disabled():
        for name, (length, words) in found.items():
            print(f"\n{name}: length only {length:.3f}  bag of words {words:.3f}", end=" ")
    assert max(found["all"]) <= SHORTCUT_LIMIT
