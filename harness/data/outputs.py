"""Outputs of another model in a file, as alpaca_eval writes them: rows with `instruction` and `output`.

A row may have `prompt` in place of `instruction`: a text, or a conversation as a list of messages, where the last
question alone does not tell two items apart. `generator` names the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError, Messages
from harness.data.files import ending_of, read_file, stem_of
from harness.data.texts import cut
from harness.util.hashes import file_hash

Turns = tuple[tuple[str, str], ...]
"""A conversation: role and text of every turn."""
ASKED = ("prompt", "instruction")
"""Columns that hold what was asked; the first that a row has counts."""
NAMED = 2
"""Missing prompts that a message quotes."""
LONGEST_NAME = 60
"""Characters of a generator's name that are kept."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a file holds."""

    generator: str
    sha256: str
    """Of the file."""
    answers: Mapping[Turns, str]
    """By the conversation, or by a single turn of the user's where the file gives no more than that."""


def read_outputs(path: Path) -> Outputs:
    """The outputs of one model. Raises HarnessError for a file that cannot be read, or that holds something else."""
    if not path.is_file():
        raise HarnessError(f"there is no file {cut(str(path))}; --outputs takes one such as model_outputs.json")
    if ending_of(path.name) is None:
        raise HarnessError(f"file {cut(str(path))} has no known ending; .json, .jsonl, .csv or .parquet was expected")
    rows = read_file(path)
    answers: dict[Turns, str] = {}
    for number, row in enumerate(rows, start=1):
        turns, output = _asked(row, number, path), row.get("output")
        if not isinstance(output, str):
            raise HarnessError(f"row {number} of {path.name} has no text in output; its fields: {', '.join(row)}")
        if answers.setdefault(turns, output) != output:
            raise HarnessError(
                f"{path.name} answers {cut(turns[-1][1])} twice, and differently (again in row {number})"
            )
    return Outputs(_generator(rows, path), file_hash(path), answers)


def _asked(row: Mapping[str, Any], number: int, path: Path) -> Turns:
    value = next((row[name] for name in ASKED if row.get(name) is not None), None)
    if isinstance(value, str) and value.strip():
        return (("user", value.strip()),)
    if isinstance(value, list) and value and all(isinstance(turn, dict) and _is_turn(turn) for turn in value):
        return tuple((turn["role"], turn["content"].strip()) for turn in value)
    raise HarnessError(
        f"row {number} of {path.name} has no instruction, and no prompt as text or messages; its fields: "
        f"{', '.join(row)}"
    )


def _is_turn(turn: Mapping[str, Any]) -> bool:
    return isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)


def _generator(rows: Sequence[Mapping[str, Any]], path: Path) -> str:
    """The model's name: the rows', else the file's."""
    names = sorted({str(row["generator"]) for row in rows if row.get("generator") is not None})
    if len(names) > 1:
        raise HarnessError(
            f"{path.name} has outputs of {len(names)} generators ({cut(', '.join(names))}); those of one were expected"
        )
    return " ".join((names or [stem_of(path.name)])[0].split())[:LONGEST_NAME]


def turns_of(prompt: Messages) -> Turns:
    """A prompt as the answers are looked up by."""
    return tuple((message.role, message.content.strip()) for message in prompt)


def answers_to(outputs: Outputs, prompts: Sequence[Messages], whose: str) -> dict[Turns, str]:
    """The output for each of a task's prompts. Raises HarnessError naming prompts that have none, or several.

    A prompt is looked up as a whole, then by the user's last turn. `whose` names file and task for messages.
    """
    asked = [turns_of(prompt) for prompt in prompts]
    last = {turns: _last(turns) for turns in asked}
    several = Counter(last.values())
    found: dict[Turns, str] = {}
    for turns in asked:
        alone = (("user", last[turns]),)
        if turns in outputs.answers:
            found[turns] = outputs.answers[turns]
        elif alone in outputs.answers and several[last[turns]] > 1:
            raise HarnessError(
                f"{whose}: {several[last[turns]]} conversations end with {cut(last[turns])}; give whole conversations "
                "in the column prompt, as lists of messages"
            )
        elif alone in outputs.answers:
            found[turns] = outputs.answers[alone]
    missing = [last[turns] for turns in asked if turns not in found]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        quoted = ", ".join(repr(text if len(text) <= 50 else f"{text[:47]}...") for text in missing[:NAMED])
        raise HarnessError(f"{whose}: {len(missing)} of {len(asked)} prompts have no output: {quoted}{more}")
    return found


def _last(turns: Turns) -> str:
    """The user's last turn."""
    return next((text for role, text in reversed(turns) if role == "user"), turns[-1][1])
