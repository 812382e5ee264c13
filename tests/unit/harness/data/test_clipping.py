"""Pairs under a tokenizer and lengths: what is cut, equal once cut, refused; and how what is left out is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from harness.contracts import HarnessError, LeftOut, Message, Pair, user
from harness.data.clipping import measure, unfit
from harness.data.left_out import left_out
from harness.util.chat import EMBEDDING_ROWS, encode_completion, render_prompt
from tests.tiny import tiny_tokenizer

START = "Let us go through this slowly, one thing after the other. "
INSISTS = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ m['content'] }}{% endfor %}"
)


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer()


def pair(name: str, chosen: str, rejected: str, *before: Message) -> Pair:
    return Pair(name, (*before, *user(f"Question {name}?")), chosen, rejected)


def no_tokenizer() -> Any:
    raise AssertionError("no pair gives reason to load the tokenizer")


def test_what_is_cut_is_counted(tokenizer: Any) -> None:
    long = pair("long", START * 3 + "yes", START * 3 + "no", Message("system", START * 4))
    found = measure(tokenizer, [pair("a", "yes", "no"), long], prompt=64, completion=32)
    assert (found.pairs, found.prompts, found.answers, found.equal) == (2, 1, 2, ("long",))
    assert found.shares == {"prompts": 0.5, "answers": 0.5, "equal_pairs": 0.5}
    cut, equal = found.lines(64, 32, "labelled pairs")
    assert cut == "labelled pairs: 1 of 2 prompts are longer than 64 tokens and 2 of 4 answers than 32; they are cut"
    assert "1 of 2 pairs are equal once cut to 32 tokens" in equal
    assert measure(tokenizer, [pair("a", "yes", "no")], prompt=64, completion=32).lines(64, 32, "x") == ()


def test_an_answer_that_loses_its_end_alone_is_no_equal_one(tokenizer: Any) -> None:
    ids = tokenizer("yes " * 40, add_special_tokens=False)["input_ids"]
    just, longer = tokenizer.decode(ids[:31]), tokenizer.decode(ids[:40])
    assert measure(tokenizer, [pair("a", just, longer)], prompt=64, completion=32).equal == ()
    assert measure(tokenizer, [pair("a", longer, longer + " more")], prompt=64, completion=32).equal == ("a",)


def test_useless_pairs_are_found_by_reason(tokenizer: Any) -> None:
    tokenizer.chat_template = INSISTS
    good = pair("good", "yes", "no")
    greeting = pair("greeting", "yes", "no", Message("assistant", "Hi!"))
    same = pair("same", START * 9 + "yes", START * 9 + "no")
    token = pair("token", "say <|new|>", "no")
    found = unfit([good, greeting, same, token], 32, lambda: tokenizer, {"<|new|>"})
    assert found == {"template": {"greeting"}, "no_row": {"token"}, "equal_once_cut": {"same"}}
    assert unfit([same], 32, lambda: tokenizer)["equal_once_cut"] == frozenset(), "all of them: the run is degenerate"


def test_ordinary_pairs_need_no_tokenizer() -> None:
    talk = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello"))
    pairs = [pair("a", START + "yes", START + "no"), pair("b", "yes", "no", *talk)]
    assert not any(unfit(pairs, 64, no_tokenizer).values())


def test_a_refused_prompt_is_named(tokenizer: Any) -> None:
    tokenizer.chat_template = INSISTS
    with pytest.raises(
        HarnessError, match=r"refuses the prompt \(assistant, user\) that ends 'How\?': roles must alternate"
    ):
        render_prompt(tokenizer, (Message("assistant", "Hi!"), *user("How?")), 64)
    assert render_prompt(tokenizer, user("How?", system="Be kind."), 64), "a system turn is put into the next"


def test_what_cannot_be_encoded_is_named(tokenizer: Any) -> None:
    with pytest.raises(HarnessError, match="an answer cannot be encoded as text for the tokenizer: 'half"):
        encode_completion(tokenizer, "half \ud83d", 64)
    with pytest.raises(HarnessError, match="a prompt cannot be encoded as text for the tokenizer: 'half"):
        render_prompt(tokenizer, user("half \ud83d"), 64)


def test_a_token_without_a_row_is_named(tokenizer: Any) -> None:
    setattr(tokenizer, EMBEDDING_ROWS, len(tokenizer))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|new|>"]})
    assert encode_completion(tokenizer, "yes", 64)
    for call in (lambda t: encode_completion(tokenizer, t, 64), lambda t: render_prompt(tokenizer, user(t), 64)):
        with pytest.raises(
            HarnessError, match=r"token '<\|new\|>' has no row in the model's embedding .* 'say <\|new\|>'"
        ):
            call("say <|new|>")


# ---------------------------------------------------------------- told


class Counting:
    name = "pairs"

    def __init__(self, rows: int, reasons: Mapping[str, int]) -> None:
        self._found = LeftOut(rows, reasons, {reason: f"x.csv row 3: {reason}!" for reason in reasons})

    def left_out(self, source: Any, split: str = "pool") -> LeftOut:
        return self._found


@pytest.mark.core
def test_what_is_left_out_is_one_line_and_much_of_it_a_warning() -> None:
    pool: Any = Counting(50, {"null": 1, "identical": 24})
    said = left_out(pool, None, leaks=2)  # type: ignore[arg-type]
    assert said.line.startswith(
        "pairs: 27 of 50 rows left out: identical 24, leak 2, null 1 (the first: x.csv row 3: null!"
    )
    assert said.warning == "more than a tenth of the rows of pairs were left out: identical 24, leak 2, null 1"
    assert (said.rows, said.reasons) == (50, {"null": 1, "identical": 24, "leak": 2})
    few: Any = Counting(50, {"null": 5})
    assert left_out(few, None).warning == ""  # type: ignore[arg-type]
    none: Any = Counting(50, {})
    assert left_out(none, None).line == ""  # type: ignore[arg-type]
