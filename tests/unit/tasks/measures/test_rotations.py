"""Multiple choice scored as trained: against plain transformers, and that no letter can win."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from harness.contracts import Messages, Preference, PreferRequest
from harness.lm.backends.hf import HfEngine
from harness.lm.language_model import ModelAligned
from tasks.datasets.closing import LETTERED, Closed
from tasks.measures.rotations import figures, shares
from tests.tiny import tiny_model, tiny_tokenizer

QUESTIONS = [
    Closed("Which drug is next?", ("good fox", "lazy dog", "brown", "jumps over"), 2, LETTERED),
    Closed("Which one is bad?", ("one two three", "four", "five six", "seven"), 0, LETTERED),
    Closed("Is it good? yes or no or ten", ("yes", "no", "ten"), 1, "Answer.", lettered=False),
]


def by_hand(model: Any, tokenizer: Any, question: Closed) -> list[float]:
    """The shares from whole forwards of one row each, with transformers' own template and logits."""
    turns = []
    for turn in range(question.rotations()):
        text = [{"role": m.role, "content": m.content} for m in question.prompt(turn)]
        prompt = tokenizer.apply_chat_template(text, add_generation_prompt=True, return_dict=False)
        sums = []
        for line in question.closings(turn):
            answer = [*tokenizer(line, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
            with torch.no_grad():
                logits = model(torch.tensor([prompt + answer])).logits[0].double().log_softmax(-1)
            sums.append(sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(answer)))
        turns.append(torch.tensor(sums).softmax(0))
    return [float(share) for share in torch.stack(turns).mean(0)]


def test_shares_equal_an_independent_computation() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    found = shares(ModelAligned(HfEngine(model, tokenizer), 512, 256), QUESTIONS)
    assert found is not None
    for question, share in zip(QUESTIONS, found, strict=True):
        assert share == pytest.approx(by_hand(model, tokenizer, question), abs=1e-5)
        assert math.fsum(share) == pytest.approx(1)


class LikesC:
    """Finds a closing line likely for its letter alone."""

    tokenizer, max_length = None, 512

    def save(self, folder: Any) -> None:
        """Nothing is trained."""

    def prefer(self, requests: list[PreferRequest]) -> list[Preference]:
        def side(text: str) -> tuple[float, int]:
            return (0.0 if ": C." in text else -8.0), 3

        return [Preference(0.5, side(r.a), side(r.b)) for r in requests]


def test_a_liking_for_a_letter_gives_every_option_the_same_share() -> None:
    (found,) = shares(LikesC(), QUESTIONS[:1]) or [()]
    assert found == pytest.approx([0.25] * 4)
    assert figures(found, 2) == {"p_gold": pytest.approx(0.25), "acc_cyclic": 0.25}


def test_a_turn_moves_options_under_other_letters_and_lines_follow() -> None:
    question = QUESTIONS[0]

    def listed(prompt: Messages) -> list[str]:
        return prompt[-1].content.splitlines()[1:]

    assert listed(question.prompt(0)) == ["A. good fox", "B. lazy dog", "C. brown", "D. jumps over"]
    assert listed(question.prompt(1)) == ["A. lazy dog", "B. brown", "C. jumps over", "D. good fox"]
    assert question.closings(1)[0] == "Final Answer: D. good fox"
    assert question.closings(0)[question.gold] == "Final Answer: C. brown"
    under = {line.split(": ")[1][0] for turn in range(4) for line in [question.closings(turn)[2]]}
    assert under == set("ABCD")


def test_options_of_equal_words_stand_under_letters_of_their_own() -> None:
    question = Closed("How many?", ("5", "7", "5", "9"), 0, LETTERED)
    assert question.closings(0) == tuple(f"Final Answer: {named}" for named in ("A. 5", "B. 7", "C. 5", "D. 9"))
    for place, option in enumerate(question.options):
        named = [line.removeprefix("Final Answer: ") for line in (question.closings(turn)[place] for turn in range(4))]
        assert sorted(named) == [f"{letter}. {option}" for letter in "ABCD"]
        for turn in range(4):
            assert named[turn] in question.prompt(turn)[-1].content.splitlines()


class LikesTheOneAfterNine:
    """Finds the line likely, letter and all, that the prompt lists after the one with "9", or first where none is."""

    tokenizer, max_length = None, 512

    def save(self, folder: Any) -> None:
        """Nothing is trained."""

    def prefer(self, requests: list[PreferRequest]) -> list[Preference]:
        def side(request: PreferRequest, text: str) -> tuple[float, int]:
            listed = request.prompt[-1].content.splitlines()[1:]
            nine = next(place for place, line in enumerate(listed) if line.endswith("9"))
            return (0.0 if text.endswith(listed[(nine + 1) % len(listed)]) else -40.0), 3

        return [Preference(0.5, side(r, r.a), side(r, r.b)) for r in requests]


def test_a_gold_option_whose_words_stand_twice_can_be_the_likeliest() -> None:
    (found,) = shares(LikesTheOneAfterNine(), [Closed("How many?", ("5", "7", "5", "9"), 0, LETTERED)]) or [()]
    assert figures(found, 0) == {"p_gold": pytest.approx(1.0), "acc_cyclic": 1.0}


class RanksOnly:
    """Neither a likelihood nor a choice: nothing can be said of options."""

    tokenizer, max_length = None, 512

    def save(self, folder: Any) -> None:
        """Nothing is trained."""

    def prefer(self, requests: list[PreferRequest]) -> list[Preference]:
        return [Preference(0.9, None, None) for _ in requests]


def test_a_model_without_likelihood_or_choice_has_no_shares() -> None:
    assert shares(RanksOnly(), QUESTIONS) is None
