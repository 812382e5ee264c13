"""Dialogues on the public data: counts, the pairs of LiveQA-Med, and what the offline judge of entailment is worth."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.data.leaks import find_leaks
from harness.data.sources import open_source
from tasks.datasets.dialogues import DATASET, Dialogue, dialogues, pairs_of
from tasks.measures.entailment import Known, Measured, by_similarity, measure
from tasks.medical_dialogue import MedicalDialogue
from tasks.pools.medical_dialogue import MedicalDialoguePool
from tasks.pools.pairs import LiveQAMedPool

DATA = Path(os.environ.get("HARNESS_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not (DATA / "k_qa").is_dir(), reason="no public data folder: set HARNESS_DATA"),
]


@pytest.mark.parametrize(
    ("layout", "split", "questions", "with_pairs", "with_references", "with_statements"),
    [
        ("liveqa_med", "pool", 35, 32, 26, 0),
        ("liveqa_med", "eval", 44, 38, 31, 0),
        ("k_qa", "pool", 71, 0, 71, 71),
        ("k_qa", "eval", 74, 0, 74, 74),
    ],
)
def test_counts(
    layout: str, split: str, questions: int, with_pairs: int, with_references: int, with_statements: int
) -> None:
    found = dialogues(open_source(str(DATA), DATASET), split, layout)
    assert len(found) == questions
    assert sum(bool(dialogue.pairs) for dialogue in found) == with_pairs
    assert sum(bool(dialogue.references) for dialogue in found) == with_references
    assert sum(bool(dialogue.statements) for dialogue in found) == with_statements


@pytest.mark.parametrize("split", ["pool", "eval"])
def test_graded_pairs_are_those_of_liveqa_med(split: str) -> None:
    source = open_source(str(DATA), DATASET)
    pairs = LiveQAMedPool().pairs(source, split)
    assert pairs_of(dialogues(source, split, "liveqa_med")) == pairs
    assert list(MedicalDialoguePool().pairs(source, split)) == list(pairs), "K-QA adds none"


def test_no_training_question_is_asked_again() -> None:
    source = open_source(str(DATA), DATASET)
    assert find_leaks(MedicalDialoguePool().questions(source), MedicalDialogue().questions(source, None)) == ()


def _measured(found: list[Dialogue]) -> Measured:
    from tasks.judges.similarity import embed

    measured = measure(by_similarity(embed), [Known(d.id, d.references[0], d.statements) for d in found])
    assert measured is not None
    return measured


def test_similarity_tells_topics_and_not_negations() -> None:
    measured = _measured(dialogues(open_source(str(DATA), DATASET), "eval", "k_qa"))
    assert measured.entailment.n == 200
    assert measured.entailment.mean > 0.95
    assert measured.entailment.above_chance
    assert measured.negation is not None
    assert measured.negation.mean < 0.55
    assert not measured.tells_contradiction
