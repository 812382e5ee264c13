"""Rows in words, and two runs' rows beside each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts import SampleRow
from harness.records.shown import compared, marked, shown

pytestmark = pytest.mark.core


def row(name: str = "a", score: float | None = 1.0, **detail: Any) -> SampleRow:
    return SampleRow(name, name, {} if score is None else {"accuracy": score}, detail)


def test_a_pair_is_its_prompt_its_two_answers_and_how_likely_the_better_is() -> None:
    item = shown(
        row(
            prompt=[{"role": "user", "content": "Why?"}],
            chosen="so",
            rejected="no",
            preferences=[{"pair": "a", "p_chosen": 0.25}],
        )
    )
    assert (item.prompt, item.answer, dict(item.beside)) == ("Why?", None, {"chosen": "so", "rejected": "no"})
    assert item.notes == ("P(chosen is better) = 0.250",)


def test_an_answer_of_any_task_is_found_and_a_conversation_names_its_speakers() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    item = shown(row(prompt=turns, output="Because.", reference="Since.", baseline=None))
    assert (item.prompt, item.answer, dict(item.beside)) == (
        "system: Be brief.\nuser: Why?",
        "Because.",
        {"reference": "Since."},
    )
    assert shown(row(instruction="Say A", choice="A", gold="B")).answer == "A"
    assert shown(row(instruction="Say A")).prompt == "Say A"
    assert shown(row(prompt="p", answer=[0.5, 0.5])).answer == "[0.5, 0.5]"


def test_an_answer_written_to_be_read_stands_in_and_says_so() -> None:
    item = shown(row(prompt="p"), {"a": "later"})
    assert item.answer == "later"
    assert "not scored" in item.notes[-1]
    both = shown(row(prompt="p", choice="A"), {"a": "later"})
    assert (both.answer, both.beside["written"]) == ("A", "later")
    assert "not scored" in both.notes[-1]


def test_wins_are_the_first_runs_and_items_without_the_metric_are_left_out() -> None:
    first = [shown(row(name, score)) for name, score in (("a", 1), ("b", 0), ("c", 0), ("d", None), ("e", 1))]
    second = [shown(row(name, score)) for name, score in (("a", 0), ("b", 1), ("c", 0), ("d", 1))]
    found = compared(first, second, "accuracy")
    assert [(item.first.id, item.outcome) for item in found] == [("a", "win"), ("b", "loss"), ("c", "same")]
    assert [item.answers_differ for item in found] == [True, True, False]
    turned = compared(first, second, "accuracy", falling=True)
    assert [item.outcome for item in turned] == ["loss", "win", "same"], "less is better"


@given(st.text(), st.text())
def test_pieces_make_up_the_texts_and_what_is_not_marked_is_in_both(first: str, second: str) -> None:
    left, right = marked(first, second)
    assert ("".join(text for _, text in left), "".join(text for _, text in right)) == (first, second)
    assert [text for differs, text in left if not differs] == [text for differs, text in right if not differs]


def test_only_the_word_that_differs_is_marked() -> None:
    left, right = marked("take one tablet", "take two tablets")
    assert [text for differs, text in left if differs] == ["one", "tablet"]
    assert [text for differs, text in right if differs] == ["two", "tablets"]
