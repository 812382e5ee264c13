"""Option texts, and ratings that were bought."""

from __future__ import annotations

import pytest

from harness.contracts import HarnessError, Pair, Rating, user
from harness.opinions.questions import (
    answers_question,
    bare,
    known_group,
    option_question,
    rated,
    rated_pairs,
    same_question,
)
from tests.unit.harness.opinions.asking import LISTED, OPTIONS

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    "prompt",
    [
        "Is it right?",
        LISTED,
        "question: Is it right?\n\nOptions:\nA. Acceptable\nB. Not acceptable",
        "Is it right? Answer:",
    ],
)
def test_a_question_is_the_same_with_and_without_its_listed_options(prompt: str) -> None:
    assert bare(prompt, OPTIONS) == "Is it right?"
    assert option_question(prompt, OPTIONS) == option_question("Is it right?", OPTIONS)
    assert same_question(prompt, OPTIONS) == same_question("is it  RIGHT", ("acceptable", "not acceptable."))


def test_options_of_another_question_stay_in_its_text() -> None:
    assert bare(LISTED, ("Yes", "No")) == "Is it right?\nOptions: A. Acceptable B. Not acceptable"
    assert same_question("Is it right?", OPTIONS) != same_question("Is it right?", OPTIONS[::-1])


def test_an_option_text_holds_prompt_options_and_the_answer_and_its_span_is_the_answer() -> None:
    question = option_question(LISTED, OPTIONS)
    assert question.texts[1] == "Is it right?\nOptions: A. Acceptable B. Not acceptable\nAnswer: B. Not acceptable"
    assert [text[a:b] for text, (a, b) in zip(question.texts, question.spans, strict=True)] == list(OPTIONS)


def test_an_empty_answer_still_has_a_span() -> None:
    question = answers_question("Say nothing.", ("", "word"))
    assert all(last > first for first, last in question.spans)


@pytest.mark.parametrize("count", [0, 27])
def test_a_question_without_options_or_with_too_many_is_refused(count: int) -> None:
    with pytest.raises(HarnessError, match=f"1 to 26 options was expected, {count}"):
        option_question("What?", ("x",) * count)


@pytest.mark.parametrize("y", [(0.5,), (0.5, 0.6), (float("nan"), 1.0), (-0.1, 1.1)])
def test_a_rating_that_is_no_distribution_is_refused(y: tuple[float, ...]) -> None:
    with pytest.raises(HarnessError, match="'q'"):
        rated([Rating("q", "Is it?", OPTIONS, y)])


def test_a_pair_is_a_question_of_two_answers() -> None:
    pair = Pair("p", user("Say."), "good", "bad")
    (one,), (other,) = rated_pairs([pair]), rated_pairs([pair], swapped=True)
    assert [text.rpartition("\n")[2] for text in one.question.texts] == ["good", "bad"]
    assert (one.y, other.y) == ((1.0, 0.0), (0.0, 1.0))


def test_an_unknown_group_is_named_with_its_nearest() -> None:
    assert known_group("north", {"north": ()}) == "north"
    with pytest.raises(HarnessError, match=r"'nort'.*'north'"):
        known_group("nort", {"south": (), "north": ()})
