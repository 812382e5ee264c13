"""What uniform, mean_of_groups, icl_groups and ridge compute."""

from __future__ import annotations

import math

import pytest

from aligners.icl_groups import IclGroupsConfig, prompt_of, shown_rating
from aligners.icl_groups import contexts_of as icl_contexts
from aligners.mean_of_groups import Means
from aligners.ridge import mean_ratings
from aligners.uniform import Flat
from harness.contracts import HarnessError, Rating
from tests.unit.harness.opinions.asking import LISTED, OPTIONS, RATING, aligned, ask

pytestmark = pytest.mark.core


def test_uniform_gives_every_option_the_same() -> None:
    assert aligned(Flat()).choose([ask(), ask("Which?", ("a", "b", "c"))]) == [
        pytest.approx([math.log(1 / 2)] * 2),
        pytest.approx([math.log(1 / 3)] * 3),
    ]


def test_means_are_the_groups_average_where_the_question_was_seen_and_uniform_where_not() -> None:
    groups = {"a": (RATING,), "b": (Rating("q", "is it right", OPTIONS, (0.75, 0.25)),), "c": (RATING,)}
    means = Means.of(groups)
    assert means.predict([ask()])[0] == pytest.approx([1.25 / 3, 1.75 / 3])
    assert means.predict([ask("Is it wrong?")]) == [[0.5, 0.5]]


def test_a_rating_is_shown_with_its_options_and_whole_per_cents() -> None:
    text = shown_rating(RATING)
    assert (
        text
        == "Question: Is it right?\nOptions:\nA. Acceptable\nB. Not acceptable\nAnswers of this group: A 25 %, B 75 %"
    )
    prompt = prompt_of([RATING], ask("And this?"))[0].content
    assert prompt.index("A 25 %") < prompt.index("Question: And this?")
    assert "%" not in prompt_of([], ask())[0].content


def test_swapped_shows_the_next_groups_ratings() -> None:
    other = Rating("q", LISTED, OPTIONS, (1.0, 0.0))
    groups = {"a": (RATING, other), "b": (other,)}
    assert icl_contexts(groups, IclGroupsConfig(shots=1)) == {"a": (RATING,), "b": (other,)}
    assert icl_contexts(groups, IclGroupsConfig(context="swapped")) == {"a": (other,), "b": (RATING, other)}
    with pytest.raises(HarnessError, match="only 'a'"):
        icl_contexts({"a": (RATING,)}, IclGroupsConfig(context="swapped"))


def test_mean_ratings_average_each_question_once() -> None:
    (one,) = mean_ratings({"a": (RATING,), "b": (Rating("q", "Is it right?", OPTIONS, (0.75, 0.25)),)})
    assert one.y == (0.5, 0.5)
