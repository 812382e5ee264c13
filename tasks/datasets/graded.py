"""Graded answers to one question, and pairs of a better and a worse answer among them.

The rows of LiveQA-Med: Ben Abacha et al. 2017, "Overview of the Medical Question Answering Task at TREC 2017 LiveQA";
Ben Abacha and Demner-Fushman 2019, MedQuAD, arXiv:1901.08079 (CC BY 4.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

from harness.contracts import Dataset, HarnessError, Messages, Pair
from harness.util.hashes import content_hash
from tasks.datasets.documents import Row

LIVEQA_MED = Dataset(folder="liveqa_med", hub="")
_HEADER = re.compile(r"\AQuestion:.*?\nURL:[^\n]*\nAnswer:", re.DOTALL)
"""What stands before every answer of LiveQA-Med: the source's own question and address."""

T = TypeVar("T")
Q = TypeVar("Q")


def better_and_worse(grades: Mapping[str, float], gap: float) -> list[tuple[str, str]]:
    """Every two answers of one question whose grades differ by `gap` or more, the better one first."""
    return [(a, b) for a, high in grades.items() for b, low in grades.items() if high - low >= gap]


def answer_pairs(question: object, prompt: Messages, ordered: Iterable[tuple[str, str]]) -> list[Pair]:
    """Pairs of one question, in an order that no answer's place in the data decides; the question is the cluster.

    `question` is what the ids are hashed from: the text, or the turns of a conversation.
    """
    cluster = content_hash(question)[:16]
    found = {content_hash(question, better, worse)[:16]: (better, worse) for better, worse in ordered}
    return [Pair(identity, prompt, *found[identity], cluster) for identity in sorted(found)]


def in_turn(lists: Sequence[Sequence[T]]) -> tuple[T, ...]:
    """The first of every list, then the second of every list, and so on."""
    return tuple(item for turn in zip_longest(*lists, fillvalue=None) for item in turn if item is not None)


def graded_answers(rows: Iterable[Row]) -> tuple[dict[str, dict[str, float]], int]:
    """(mean grade of every distinct answer by question, number of empty answers)."""
    given = list(map(_judgement, rows))
    filled = [judgement for judgement in given if judgement[1]]
    return mean_grades(filled), len(given) - len(filled)


def mean_grades(judgements: Iterable[tuple[Q, str, float]]) -> dict[Q, dict[str, float]]:
    """The mean grade of every distinct answer, by question, from (question, answer, grade)."""
    given: dict[Q, dict[str, list[float]]] = {}
    for question, answer, grade in judgements:
        given.setdefault(question, {}).setdefault(answer, []).append(grade)
    return {q: {a: sum(g) / len(g) for a, g in answers.items()} for q, answers in given.items()}


def _judgement(row: Row) -> tuple[str, str, float]:
    question, answer, grade = row.get("question"), row.get("answer"), row.get("grade")
    if not (isinstance(question, str) and question.strip() and isinstance(answer, str) and grade in (1, 2, 3, 4)):
        named = row.get("doc", row.get("qid"))
        raise HarnessError(f"liveqa_med row {named!r} is malformed: expected question, answer and a grade from 1 to 4")
    return question.strip(), answer_text(answer), float(grade)


def answer_text(answer: str) -> str:
    """An answer without its header (question and address of its source) and the parenthesis that closes every row."""
    body, headers = _HEADER.subn("", answer)
    body = body.strip()
    return body.removesuffix(")").rstrip() if headers else body
