"""One row of a data set to the two sides of a pair.

    prompt (or question), chosen, rejected     texts
    the same, any of them a conversation       in any form of `tasks.datasets.turns`
    chosen, rejected                           whole conversations; the turns that both share are the prompt
    system                                     stands before a prompt that has no system turn

Where `prompt` stands beside whole conversations, the turns that these share are the prompt, and `prompt` must be found
among them. Reasons why a row gives no pair:

    null, empty         a side, or the prompt, is null; holds no text
    identical           both answers are equal
    other_prompt        the conversations differ before the last turn
    prompt_differs      `prompt` is not among the turns that the conversations share
    no_answer           a conversation does not end with the assistant's turn
    tool, not_text      a turn of a tool; an image or another part that is no text
    unencodable         half a surrogate pair, or bytes that spoil the text
    malformed           none of the forms
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.contracts import Message, Messages
from harness.data.tables import EXTRA
from harness.data.texts import cut
from tasks.datasets.turns import Unusable, is_null, loose_transcript, read

Row = Mapping[str, Any]

SIDES = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Sides:
    """A prompt that ends with the user's turn, a better answer and a worse one."""

    prompt: Messages
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and the turns that its own field has before it."""

    before: Messages
    text: str


def sides(row: Row, control: Collection[str] = ()) -> Sides:
    """A row under the usual names as the sides of a pair. Raises Unusable saying field, value and reason."""
    if not row:
        raise Unusable("null", "is null")
    if EXTRA in row:
        raise Unusable("malformed", f"has more fields than the first line names: {row[EXTRA]!r}")
    prompt = prompt_in(row, control)
    chosen, rejected = (answer_in(row, side, prompt, control) for side in SIDES)
    if chosen.before and rejected.before and chosen.before != rejected.before:
        at = f"{cut(chosen.before[-1].content)!r} and {cut(rejected.before[-1].content)!r}"
        raise Unusable("other_prompt", f"'chosen' and 'rejected' differ before their last turns: {at}")
    asked = together(prompt, chosen.before or rejected.before)
    found = Sides(with_system(asked, row, control), chosen.text, rejected.text)
    check(found)
    return found


def prompt_in(row: Row, control: Collection[str]) -> Messages | None:
    """The messages of the row's prompt, or None where no field has one."""
    given = row.get("prompt", row.get("question"))
    if is_null(given):
        return None
    value = _field(given, "prompt", control)
    if isinstance(value, str):
        loose = loose_transcript(value)
        value = loose if loose and _open(loose) else (Message("user", value),)
    return value[:-1] if _open(value) else value


def answer_in(row: Row, side: str, prompt: Messages | None, control: Collection[str]) -> Answer:
    """The answer of one side: of a conversation the last turn, and the turns before it."""
    if side not in row:
        raise Unusable("malformed", f"has no field {side!r}; its fields are: {', '.join(map(str, row))}")
    value = _field(row[side], side, control)
    if isinstance(value, str):
        loose = loose_transcript(value)
        if loose and loose[-1].role == "assistant" and (prompt is None or _found(prompt, loose[:-1])):
            value = loose
        elif prompt is not None:
            return Answer((), value)
        elif "prompt" in row or "question" in row:
            raise Unusable("null", "'prompt' is null")
        else:
            says = f"is a text without the turns before it, and there is no 'prompt': {cut(value)!r}"
            raise Unusable("malformed", f"{side!r} {says}")
    if not value or value[-1].role != "assistant":
        last = cut(value[-1].content) if value else ""
        raise Unusable("no_answer", f"{side!r} does not end with the assistant's turn but with {last!r}")
    return Answer(value[:-1], value[-1].content)


def together(prompt: Messages | None, before: Messages) -> Messages:
    """The prompt field and the turns that the conversations share, as one prompt. Raises Unusable where they differ."""
    if not before or not prompt or prompt == (Message("user", ""),):
        return before or prompt or ()
    if before[0].role == "assistant":
        return (*prompt, *before)
    if not _found(prompt, before):
        says = f"{cut(prompt[-1].content)!r} is not among the turns that 'chosen' and 'rejected' share"
        raise Unusable("prompt_differs", f"'prompt' {says}")
    system = prompt[:1] if prompt[0].role == "system" and before[0].role != "system" else ()
    return (*system, *before)


def with_system(prompt: Messages, row: Row, control: Collection[str]) -> Messages:
    """The prompt behind the row's system column, where it has one and no system turn of its own."""
    if is_null(row.get("system")) or (prompt and prompt[0].role == "system"):
        return prompt
    value = _field(row["system"], "system", control)
    text = value if isinstance(value, str) else "\n\n".join(turn.content for turn in value)
    return (Message("system", text), *prompt) if text else prompt


def check(found: Sides) -> None:
    """Raises Unusable for sides of which no pair can be made."""
    prompt = found.prompt
    if not (prompt and prompt[-1].role == "user" and prompt[-1].content):
        raise Unusable("empty", "the prompt does not end with a user's turn that holds text")
    if not (found.chosen and found.rejected):
        raise Unusable("empty", f"{'rejected' if found.chosen else 'chosen'!r} holds no text")
    if found.chosen == found.rejected:
        raise Unusable("identical", f"'chosen' and 'rejected' are equal: {cut(found.chosen)!r}")
    try:
        "\n".join([*(turn.content for turn in prompt), found.chosen, found.rejected]).encode()
    except UnicodeEncodeError as error:
        raise Unusable(
            "unencodable", f"holds a character that cannot be encoded, U+{ord(error.object[error.start]):04X}"
        ) from error


def _field(value: Any, field: str, control: Collection[str]) -> Messages | str:
    try:
        return read(value, control)
    except Unusable as error:
        raise Unusable(error.reason, f"{field!r} {error}") from error


def _open(turns: Messages) -> bool:
    """Whether the last turn is the assistant's and has only been opened."""
    return bool(turns) and turns[-1] == Message("assistant", "")


def _found(prompt: Messages, before: Messages) -> bool:
    """Whether `prompt` is the beginning of `before` or, as one turn, a user's turn in it; system turns aside."""
    prompt = prompt[:-1] if len(prompt) > 1 and prompt[-1].role == "assistant" else prompt  # with one of the answers
    wanted, have = (tuple(_plain(turn) for turn in turns if turn.role != "system") for turns in (prompt, before))
    return have[: len(wanted)] == wanted or (len(wanted) == 1 and wanted[0] in have)


def _plain(turn: Message) -> Message:
    return replace(turn, content=" ".join(turn.content.split()))
