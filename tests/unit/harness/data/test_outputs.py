"""Files of other models' outputs: what is read, what is found for a prompt, and what is refused with which words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import HarnessError, Message, Messages, user
from harness.data.outputs import answers_to, read_outputs, turns_of

pytestmark = pytest.mark.core

ROWS = [
    {"instruction": "Say a.", "output": "a", "generator": "big model"},
    {"instruction": " Say b. ", "output": "", "generator": "big model"},
]
TALK: Messages = (Message("user", "Hello."), Message("assistant", "Yes?"), Message("user", "Say a."))


def written(path: Path, rows: Any) -> Path:
    lines = path.suffix == ".jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
    return path


def talk(prompt: Messages, output: str) -> dict[str, Any]:
    return {"prompt": [{"role": turn.role, "content": turn.content} for turn in prompt], "output": output}


@pytest.mark.parametrize("name", ["model_outputs.json", "outputs.jsonl"])
def test_a_file_is_read_with_generator_and_hash(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, ROWS)
    found = read_outputs(path)
    assert (found.generator, found.sha256) == ("big model", hashlib.sha256(path.read_bytes()).hexdigest())
    prompts = [user("Say a."), user("Say b.")]
    assert answers_to(found, prompts, "it") == {turns_of(prompts[0]): "a", turns_of(prompts[1]): ""}


def test_without_a_generator_the_file_names_it(tmp_path: Path) -> None:
    assert read_outputs(written(tmp_path / "of_mine.jsonl", [{"prompt": "x", "output": "y"}])).generator == "of_mine"


def test_a_conversation_is_found_as_a_whole_and_else_by_its_last_question(tmp_path: Path) -> None:
    whole = read_outputs(written(tmp_path / "whole.jsonl", [talk(TALK, "later"), talk(TALK[2:], "at once")]))
    assert list(answers_to(whole, [TALK, TALK[2:]], "it").values()) == ["later", "at once"]
    plain = read_outputs(written(tmp_path / "plain.json", ROWS))
    assert list(answers_to(plain, [TALK], "it").values()) == ["a"]
    with pytest.raises(HarnessError, match=r"2 conversations end with Say a\..*give whole conversations"):
        answers_to(plain, [TALK, TALK[2:]], "it")


def test_prompts_without_an_output_are_named(tmp_path: Path) -> None:
    found = read_outputs(written(tmp_path / "o.json", ROWS))
    asked = [user(text) for text in ("Say a.", "Say c.", "Say d. " * 20, "Say e.")]
    with pytest.raises(
        HarnessError, match=r"^it: 3 of 4 prompts have no output: 'Say c\.', 'Say d\. .*\.\.\.' and 1 more$"
    ):
        answers_to(found, asked, "it")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"instruction": "x"}], "row 1 of o.json has no text in output; its fields: instruction"),
        ([{"question": "x", "output": "y"}], "row 1 of o.json has no instruction.*its fields: question, output"),
        ([{"prompt": [{"role": "user"}], "output": "y"}], "row 1 of o.json has no instruction"),
        ([*ROWS, {"instruction": "Say a.", "output": "A"}], "answers Say a. twice, and differently .again in row 3"),
        ([ROWS[0], {**ROWS[1], "generator": "small"}], "has outputs of 2 generators .big model, small."),
        ([], "no rows|empty|nothing"),
    ],
)
def test_what_is_no_file_of_one_models_outputs_is_refused(tmp_path: Path, rows: Any, says: str) -> None:
    with pytest.raises(HarnessError, match=says):
        read_outputs(written(tmp_path / "o.json", rows))


def test_a_file_that_is_not_there_or_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"there is no file .*gone\.json"):
        read_outputs(tmp_path / "gone.json")
    (tmp_path / "o.xlsx").write_text("x")
    with pytest.raises(HarnessError, match=r"o\.xlsx has no known ending"):
        read_outputs(tmp_path / "o.xlsx")
