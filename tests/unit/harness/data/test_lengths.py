"""A study's lengths from its pool: the rule, what is measured, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from harness.contracts import AskedLengths, Lengths, Message, Pair, user
from harness.data import lengths as module
from harness.data.clipping import measure
from harness.data.lengths import Tokens, measured, percentile, settled_lengths
from tests.tiny import tiny_tokenizer

OPEN = AskedLengths()
CAPS = Lengths(prompt=100, completion=60, new_tokens=80)


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer()


def pair(name: str, words: int, *before: Message) -> Pair:
    return Pair(name, (*before, *user("word " * words)), "yes " * words, "no")


def test_nineteen_of_twenty_are_not_cut() -> None:
    assert percentile(range(1, 101)) == 95
    assert percentile(range(20)) == 18
    assert percentile([7]) == 7
    assert percentile([30, 10, 20]) == 30, "of three, two are less than the share"


def test_open_lengths_are_the_pools_and_samples_have_room() -> None:
    found = settled_lengths(OPEN, Tokens((20, 30, 40), (10, 20)), CAPS)
    assert found == Lengths(prompt=40, completion=20, new_tokens=30)


@pytest.mark.parametrize(("longest", "new_tokens"), [(31, 47), (40, 60), (60, 80), (500, 80)])
def test_the_profile_caps_and_no_sample_is_shorter_than_an_answer(longest: int, new_tokens: int) -> None:
    found = settled_lengths(OPEN, Tokens((longest,), (longest,)), CAPS)
    assert (found.prompt, found.completion) == (min(longest, 100), min(longest, 60))
    assert found.new_tokens == new_tokens >= found.completion


def test_a_cap_on_samples_below_the_answers_gives_way() -> None:
    caps = Lengths(prompt=100, completion=60, new_tokens=10)
    assert settled_lengths(OPEN, Tokens((50,), (50,)), caps).new_tokens == 50


def test_what_was_asked_for_stands_above_any_cap() -> None:
    asked = AskedLengths(prompt=900, completion=700, new_tokens=5, sample_prompts=3)
    found = settled_lengths(asked, Tokens((20,), (10,)), CAPS)
    assert found == Lengths(prompt=900, completion=700, new_tokens=5, sample_prompts=3)


def test_room_follows_the_answers_that_were_asked_for() -> None:
    assert settled_lengths(AskedLengths(completion=30), Tokens((20,), (10,)), CAPS).new_tokens == 45


def test_a_pool_without_answers_has_the_fixed_numbers() -> None:
    assert settled_lengths(OPEN, Tokens((), ()), CAPS) == CAPS


def test_tiny_texts_still_make_lengths_that_are_allowed() -> None:
    assert settled_lengths(OPEN, Tokens((3,), (1,)), CAPS) == Lengths(prompt=8, completion=4, new_tokens=6)


def test_shares_are_of_what_is_longer() -> None:
    tokens = Tokens((10, 20, 30, 40), (1, 2))
    assert tokens.longer(Lengths(prompt=20, completion=4)) == {"pool_prompts": 0.5, "pool_answers": 0.0}
    assert Tokens((), ()).longer(CAPS) == {}


def test_counts_are_those_that_clipping_counts(tokenizer: Any) -> None:
    pairs = [pair(str(n), n) for n in range(1, 9)]
    tokens = measured(tokenizer, pairs)
    assert (len(tokens.prompts), len(tokens.answers)) == (8, 16)
    for completion in sorted(set(tokens.answers)):
        lengths = Lengths(prompt=max(8, percentile(tokens.prompts)), completion=max(4, completion))
        cut = measure(tokenizer, pairs, prompt=lengths.prompt, completion=lengths.completion)
        shares = {"pool_prompts": cut.shares["prompts"], "pool_answers": cut.shares["answers"]}
        assert tokens.longer(lengths) == shares


def test_what_is_measured_depends_on_no_order_and_is_bounded(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEASURED", 3)
    pairs = [pair(str(n), n) for n in range(1, 9)]
    tokens = measured(tokenizer, pairs)
    assert len(tokens.prompts) == 3
    assert measured(tokenizer, pairs[::-1]) == tokens
    assert len(set(tokens.prompts)) == 3, "the pairs differ, so an order of rows would have shown"


def test_a_prompt_that_the_template_refuses_is_passed_over(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('no') }}{% endif %}{{ messages[-1]['content'] }}"
    )
    tokens = measured(tokenizer, [pair("a", 3), pair("b", 3, Message("assistant", "Hi!"))])
    assert (len(tokens.prompts), len(tokens.answers)) == (1, 2)
