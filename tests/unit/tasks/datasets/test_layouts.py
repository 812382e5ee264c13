"""Rows as people store conversations: every form is the same pair, and what is none is counted by its reason."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from harness.contracts import Message, user
from tasks.datasets.layouts import Sides, sides
from tasks.datasets.turns import Unusable, read, stripped

pytestmark = pytest.mark.core

ASKED = (Message("user", "How?"), Message("assistant", "Like so."), Message("user", "And then?"))
GOOD, BAD = "Go on.", "Stop."


def turns(*texts: str, who: str = "role", what: str = "content", names: Any = ("user", "assistant")) -> list[Any]:
    return [{who: names[i % 2], what: text} for i, text in enumerate(texts)]


def both(make: Any) -> dict[str, Any]:
    """A row of two whole conversations, each made from its four texts."""
    before = [turn.content for turn in ASKED]
    return {"chosen": make(*before, GOOD), "rejected": make(*before, BAD)}


CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n"
CHATML = (CHATML * 2).rstrip()
LLAMA3 = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>"
)
GEMMA = (
    "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n{}<end_of_turn>\n"
    "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n{}<end_of_turn>\n"
)
ZEPHYR = "<|user|>\n{}</s>\n<|assistant|>\n{}</s>\n<|user|>\n{}</s>\n<|assistant|>\n{}</s>"
MISTRAL = "<s>[INST] {} [/INST] {}</s>[INST] {} [/INST] {}</s>"
DEEPSEEK = "<｜begin▁of▁sentence｜>" + "<｜User｜>{}<｜Assistant｜>{}<｜end▁of▁sentence｜>" * 2
TRANSCRIPTS = (
    "\n\nHuman: {}\n\nAssistant: {}\n\nHuman: {}\n\nAssistant: {}",
    "Human: {}\n\nAssistant: {}\n\nHuman: {}\n\nAssistant: {}",
    "User: {}\nAssistant: {}\nUser: {}\nAssistant: {}",
    "USER: {} ASSISTANT: {} USER: {} ASSISTANT: {}",
    "### Human: {}\n### Assistant: {}\n### Human: {}\n### Assistant: {}",
    "### Instruction:\n{}\n\n### Response:\n{}\n\n### Instruction:\n{}\n\n### Response:\n{}",
)
TEMPLATES = (CHATML, LLAMA3, GEMMA, ZEPHYR, MISTRAL, DEEPSEEK, *TRANSCRIPTS)


@pytest.mark.parametrize(
    "make",
    [
        turns,
        lambda *texts: turns(*texts, who="from", what="value", names=("human", "gpt")),
        lambda *texts: turns(*texts, names=("User", "Assistant")),
        lambda *texts: turns(*texts, names=("prompter", "bot")),
        lambda *texts: turns(*texts, names=("user", "model")),
        lambda *texts: [{**turn, "tool_calls": None, "name": None} for turn in turns(*texts)],
        lambda *texts: {"messages": turns(*texts)},
        lambda *texts: {"conversations": turns(*texts, who="from", what="value")},
        lambda *texts: [turns(*texts)],
        lambda *texts: json.dumps(turns(*texts)),
        lambda *texts: json.dumps(turns(*texts), indent=1),
        lambda *texts: repr(turns(*texts)),
        lambda *texts: turns(*([{"type": "text", "text": text}] for text in texts)),  # type: ignore[arg-type]
        lambda *texts: turns(*({"type": "text", "text": text} for text in texts)),  # type: ignore[arg-type]
        *(template.format for template in TEMPLATES),
    ],
)
def test_every_way_to_store_a_conversation_is_the_same_pair(make: Any) -> None:
    assert sides(both(make)) == Sides(ASKED, GOOD, BAD)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_rendered_prompt_with_an_open_turn(template: str) -> None:
    before = template.format(*(turn.content for turn in ASKED), "\0").split("\0")[0]
    closing = template.rsplit("{}", 1)[1]
    row = {"prompt": before, "chosen": f" {GOOD}{closing}", "rejected": f"{BAD}{closing}"}
    assert sides(row) == Sides(ASKED, GOOD, BAD)


WHOLE = turns(*(turn.content for turn in ASKED))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "How?", **both(turns)},
        {"prompt": "And  then?", **both(turns)},
        {"prompt": turns("How?"), **both(turns)},
        {"prompt": WHOLE, **both(turns)},
        {"prompt": "", **both(turns)},
        {"prompt": None, **both(turns)},
        {"prompt": TRANSCRIPTS[0].format("How?", "Like so.", "And then?", "").rstrip(), **both(TRANSCRIPTS[0].format)},
        {"prompt": "How?", "chosen": both(turns)["chosen"], "rejected": BAD},
        {"prompt": "How?", **{side: answer[1:] for side, answer in both(turns).items()}},
        {"prompt": WHOLE, "chosen": turns("", GOOD)[1:], "rejected": {"role": "assistant", "content": BAD}},
        {"prompt": WHOLE, "chosen": [GOOD], "rejected": BAD + "<|im_end|>"},
    ],
)  # fmt: skip
def test_a_prompt_beside_whole_conversations(row: Mapping[str, Any]) -> None:
    assert sides(row) == Sides(ASKED, GOOD, BAD)


def test_system_turns_and_columns() -> None:
    system = Message("system", "Be a pirate.")
    inside = [{"role": "system", "content": system.content}]
    row = {"prompt": "How?", "chosen": [*inside, *turns("How?", GOOD)], "rejected": [*inside, *turns("How?", BAD)]}
    assert sides(row).prompt == (system, *user("How?"))
    plain = {"prompt": "How?", "chosen": GOOD, "rejected": BAD}
    assert sides({**plain, "system": system.content}).prompt == (system, *user("How?"))
    assert sides({**row, "system": "Another."}).prompt == (system, *user("How?")), "the conversation's own stands"
    for nothing in (None, "", "  ", math.nan):
        assert sides({**plain, "system": nothing}).prompt == user("How?")
    llama2 = "<s>[INST] <<SYS>>\nBe a pirate.\n<</SYS>>\n\nHow? [/INST]"
    assert sides({**plain, "prompt": llama2}).prompt == (system, *user("How?"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": turns("How?", "a", "b", GOOD), "rejected": turns("How?", "x", "y", BAD)}, "other_prompt"),
        ({"prompt": "Why?", **both(turns)}, "prompt_differs"),
        ({"prompt": "How?", "chosen": GOOD, "rejected": None}, "null"),
        ({"prompt": "How?", "chosen": math.nan, "rejected": BAD}, "null"),
        ({"prompt": None, "chosen": GOOD, "rejected": BAD}, "null"),
        ({"prompt": "How?", "chosen": [None], "rejected": BAD}, "null"),
        ({"prompt": "How?", "chosen": turns(None)[:0], "rejected": BAD}, "empty"),  # type: ignore[arg-type]
        ({"prompt": "How?", "chosen": "<|im_end|>", "rejected": BAD}, "empty"),
        ({"prompt": " ", "chosen": GOOD, "rejected": BAD}, "empty"),
        ({"prompt": "How?", "chosen": GOOD, "rejected": f" {GOOD}\n"}, "identical"),
        ({"prompt": "How?", "chosen": GOOD + "</s>", "rejected": GOOD}, "identical"),
        ({"prompt": [{"role": "tool", "content": "42"}], "chosen": GOOD, "rejected": BAD}, "tool"),
        ({"prompt": [{"role": "assistant", "tool_calls": [{}]}], "chosen": GOOD, "rejected": BAD}, "tool"),
        ({"prompt": "How?", "chosen": [{"role": "bot", "content": [{"type": "tool_use"}]}], "rejected": BAD}, "tool"),
        ({"prompt": "<|im_start|>tool\n4<|im_end|>", "chosen": GOOD, "rejected": BAD}, "tool"),
        ({"prompt": turns([{"type": "image_url"}]), "chosen": GOOD, "rejected": BAD}, "not_text"),  # type: ignore[arg-type]
        ({"prompt": "How?", "chosen": "half \ud83d", "rejected": BAD}, "unencodable"),
        ({"prompt": "How \udcff?", "chosen": GOOD, "rejected": BAD}, "unencodable"),
        ({"prompt": "How?", "chosen": True, "rejected": BAD}, "malformed"),
        ({"prompt": "How?", "chosen": {"score": 3}, "rejected": BAD}, "malformed"),
        ({"prompt": "How?", "chosen": [3, 4], "rejected": BAD}, "malformed"),
        ({"prompt": "How?", "chosen": [{"role": 7, "content": "x"}], "rejected": BAD}, "malformed"),
        ({"chosen": turns("How?"), "rejected": turns("How?")}, "no_answer"),
    ],
)  # fmt: skip
def test_what_is_no_pair_has_its_reason(row: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        sides(row)
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 250


def test_numbers_are_texts() -> None:
    assert sides({"prompt": b"2 + 2?", "chosen": Decimal(4), "rejected": 4.5}) == Sides(user("2 + 2?"), "4", "4.5")
    assert sides({"prompt": "2 + 2?", "chosen": 4, "rejected": 4.5}) == Sides(user("2 + 2?"), "4", "4.5")


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3]",
        '[{"a": 1}]',
        "See <s>this</s> that",
        "<s>struck</s> out, <s>twice</s>",
        "Use <|im_end|> to close a turn",
        "User: hi there",
        "Assistant: hi\n\nHuman: hello",
        "a\n\nHuman: b",
    ],
)
def test_texts_that_only_look_like_something_stay(text: str) -> None:
    assert read(text) == text
    assert sides({"prompt": "How?", "chosen": text, "rejected": BAD}).chosen == text


def test_a_dialogue_asked_for_stays_an_answer() -> None:
    scene = "User: Where is it?\n\nAssistant: Here."
    row = {"prompt": "Write a dialogue.", "chosen": scene, "rejected": BAD}
    assert sides(row) == Sides(user("Write a dialogue."), scene, BAD)
    assert sides({**row, "prompt": scene}).prompt == user(scene), "a finished dialogue as a prompt is a text"


def test_the_tokenizers_own_tokens_are_cut_too() -> None:
    assert stripped("Go on.<|fin|>") == "Go on.<|fin|>"
    assert stripped("Go on.<|fin|> \n<|fin|>", {"<|fin|>"}) == "Go on."
    row = {"prompt": "How?", "chosen": "Go on.<|fin|>", "rejected": "Stop.<|fin|>"}
    assert sides(row, {"<|fin|>"}) == Sides(user("How?"), GOOD, BAD)
