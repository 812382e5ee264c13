"""Conversations in the forms that people store them, read into messages.

a list of messages          {"role": "user", "content": "..."}, {"from": "human", "value": "..."}, content in parts,
                            any of these as JSON in a text, or under "messages" of an object
a transcript                "\\n\\nHuman: ...\\n\\nAssistant: ...", and the like with User, USER, ### Instruction
a rendered conversation     somebody's chat template, known by its control tokens
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from harness.contracts import Message, Messages, Role
from harness.data.texts import cut

HUMAN = "\n\nHuman:"
_TURN = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS: Mapping[str, Role] = {"Human": "user", "Assistant": "assistant"}
ROLES: Mapping[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "instruction", "question", "customer", "patient", "inst"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatbot", "model", "ai", "response", "answer", "/inst"), "assistant"),
}
"""Words for the three roles, in small letters."""
TOOLS = frozenset({"tool", "function", "observation", "ipython", "tool_response", "function_call", "tool_calls"})
"""Words for turns of a tool: no chat template of the harness's renders them."""
WHO = ("role", "from", "speaker", "author")
WHAT = ("content", "value", "text", "message")
WRAPPERS = ("messages", "conversation", "conversations", "turns", "dialog", "dialogue")
"""Keys under which an object holds a conversation."""
CLOSING = (
    *("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "<|return|>", "<end_of_turn>"),
    *("</s>", "<eos>", "<|eos|>", "<|end_of_turn|>", "<｜end▁of▁sentence｜>"),
)
"""What widespread chat templates close a turn or a text with."""
OPENING = ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<｜begin▁of▁sentence｜>", "<|bos|>")
_HEADERS = re.compile(
    r"<\|im_start\|>\s*(?P<chatml>\w+)(?:\n|<\|im_sep\|>)|"
    r"<\|start_header_id\|>\s*(?P<llama>\w+)\s*<\|end_header_id\|>|"
    r"<start_of_turn>\s*(?P<gemma>\w+)\n|"
    r"<\|(?P<zephyr>system|user|assistant)\|>|"
    r"<｜(?P<deepseek>User|Assistant)｜>|"
    r"\[(?P<mistral>/?INST)\]"
)
"""What opens a turn in widespread chat templates."""
_SYSTEM = re.compile(r"\A\s*<<SYS>>(?P<system>.*?)<</SYS>>", re.DOTALL)
_PLAIN = (
    re.compile(r"(?:\A|\n)\s*(?P<who>Human|Assistant):"),
    re.compile(r"(?:\A|\n)\s*(?P<who>User|Assistant|System):"),
    re.compile(r"(?:\A|\s)(?P<who>USER|ASSISTANT|SYSTEM):"),
    re.compile(r"(?:\A|\n)###\s*(?P<who>Human|Assistant|User|System|Instruction|Response):"),
    re.compile(r"(?:\A|\n)<(?P<who>human|bot)>:"),
)
"""What opens a turn in transcripts, one way of writing them each."""


class Unusable(Exception):
    """A row that gives no pair: `reason` is counted, the text says what was there instead of what."""

    def __init__(self, reason: str, says: str = "") -> None:
        super().__init__(says or reason)
        self.reason = reason


def is_null(value: Any) -> bool:
    """Whether a value is null, or "not a number": how many tables write null."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def read(value: Any, control: Collection[str] = ()) -> Messages | str:
    """A value of a row as a conversation, or as a plain text, stripped of the control tokens around it.

    `control` are further control tokens than those of widespread templates. Raises Unusable for what is neither.
    """
    if is_null(value):
        raise Unusable("null", "is null")
    if isinstance(value, str):
        return _of_text(value, control)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bytes):
        return _of_text(value.decode("utf-8", "surrogateescape"), control)
    if isinstance(value, Mapping):
        return _of_object(value, control)
    if isinstance(value, Sequence):
        return _of_list(list(value), control)
    raise Unusable("malformed", f"is {cut(value)}; expected a text or a list of messages")


def turns_of(transcript: str) -> Messages:
    """A transcript of "Human:" and "Assistant:" turns as messages; turns in a row of one speaker are one message."""
    parts = _TURN.split(transcript)
    return merged(Message(_SPEAKERS[who], text) for who, text in zip(parts[1::2], parts[2::2], strict=True))


def loose_transcript(text: str) -> Messages | None:
    """The turns of a text that begins with a speaker's name and has the assistant's later, or None.

    A text may do so by chance (a scene, a log): the caller looks whether the turns fit.
    """
    for pattern in _PLAIN:
        found = list(pattern.finditer(text))
        roles: list[Role] = [ROLES[match["who"].lower()] for match in found]
        if found and found[0].start() == 0 and roles[0] != "assistant" and "assistant" in roles:
            return merged(map(Message, roles, _between(text, found)))
    return None


def stripped(text: str, control: Collection[str] = ()) -> str:
    """The text without the control tokens that it begins and ends with."""
    text = text.strip()
    opening, closing = (OPENING, (*CLOSING, *control)) if not _struck(text) else ((), ())
    while hit := next((token for token in closing if text.endswith(token)), None):
        text = text.removesuffix(hit).rstrip()
    while hit := next((token for token in opening if text.startswith(token)), None):
        text = text.removeprefix(hit).lstrip()
    return text


def _struck(text: str) -> bool:
    """Whether `<s>` and `</s>` stand inside a text: it is a web page's, with words struck out."""
    return "<s>" in text[1:] or "</s>" in text.rstrip().removesuffix("</s>")


def merged(turns: Iterable[Message]) -> Messages:
    """Stripped turns, those in a row of one speaker joined: many chat templates insist on taking turns."""
    joined: list[Message] = []
    for turn in turns:
        text = turn.content.strip()
        if joined and joined[-1].role == turn.role:
            joined[-1] = Message(turn.role, f"{joined[-1].content}\n\n{text}".strip())
        else:
            joined.append(Message(turn.role, text))
    return tuple(joined)


# ---------------------------------------------------------------- texts


def _of_text(value: str, control: Collection[str]) -> Messages | str:
    if value.startswith(HUMAN):
        return tuple(Message(turn.role, stripped(turn.content, control)) for turn in turns_of(value))
    if (found := _rendered(value, control)) is not None:
        return found
    listed = _listed(value)
    if listed is not None:
        return _of_list(listed, control)
    return stripped(value, control)


def _rendered(value: str, control: Collection[str]) -> Messages | None:
    """The turns of a text in somebody's chat template, or None."""
    text = value.lstrip()
    while hit := next((token for token in OPENING if text.startswith(token)), None):
        text = text.removeprefix(hit).lstrip()
    headers = list(_HEADERS.finditer(text))
    if not headers or headers[0].start() != 0:
        return None
    words = [next(word for word in header.groups() if word).lower() for header in headers]
    if tools := [word for word in words if word not in ROLES]:
        raise Unusable("tool", f"holds a turn of {cut(tools[0])}")
    turns: list[Message] = []
    for word, said in zip(words, _between(text, headers), strict=True):
        if system := _SYSTEM.match(said):
            turns.append(Message("system", system["system"]))
        turns.append(Message(ROLES[word], stripped(said[system.end() if system else 0 :], control)))
    return merged(turns)


def _between(text: str, found: Sequence[re.Match[str]]) -> list[str]:
    """What stands behind each match, up to the next."""
    ends = [match.start() for match in found[1:]] + [len(text)]
    return [text[match.end() : end] for match, end in zip(found, ends, strict=True)]


def _listed(value: str) -> list[Any] | None:
    """A list of messages that was written into a text, as JSON or as Python writes it; None for any other text."""
    text = value.strip()
    if not (text.startswith(("[{", "[ {", "[\n")) and text.endswith("]")):
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list) and found and all(map(_is_message, found)):
            return found
    return None


# ---------------------------------------------------------------- objects


def _of_object(value: Mapping[str, Any], control: Collection[str]) -> Messages | str:
    for key in WRAPPERS:
        if value.get(key) is not None:
            return read(value[key], control)
    if _is_message(value):
        return merged([_message(value, control)])
    if "text" in value or "content" in value:
        return read(value.get("text", value.get("content")), control)
    raise Unusable("malformed", f"is {cut(value)}; expected a text or a list of messages")


def _of_list(values: list[Any], control: Collection[str]) -> Messages | str:
    if not values:
        raise Unusable("empty", "is an empty list")
    if len(values) == 1 and isinstance(values[0], str | list | tuple):
        return read(values[0], control)
    if all(isinstance(part, Mapping) and not _is_message(part) for part in values):
        return stripped(_parts(values), control)
    return merged(_message(turn, control) for turn in values)


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and any(value.get(key) is not None for key in WHO)


def _message(turn: Any, control: Collection[str]) -> Message:
    if turn is None:
        raise Unusable("null", "holds a turn that is null")
    if not _is_message(turn):
        raise Unusable("malformed", f"holds a malformed message, {cut(turn)}: expected a role and a content")
    who = next(turn[key] for key in WHO if turn.get(key) is not None)
    word = str(who.get("role") if isinstance(who, Mapping) else who).strip().lower()
    if word in TOOLS or turn.get("tool_calls") or turn.get("function_call"):
        raise Unusable("tool", f"holds a turn of {cut(word)} with a tool's call or answer")
    if word not in ROLES:
        raise Unusable("malformed", f"holds a malformed message of {cut(word)!r}: expected system, user or assistant")
    content = next((turn[key] for key in WHAT if turn.get(key) is not None), None)
    return Message(ROLES[word], _content(content, word, control))


def _content(content: Any, word: str, control: Collection[str]) -> str:
    if content is None:
        raise Unusable("null", f"holds a turn of {word} whose content is null")
    if isinstance(content, str):
        return stripped(content, control) if word != "system" else content
    if isinstance(content, int | float) and not isinstance(content, bool):
        return str(content)
    if isinstance(content, Mapping):
        content = [content]
    if isinstance(content, Sequence):
        return _parts(list(content))
    raise Unusable("malformed", f"holds a malformed message, content {cut(content)}: expected a text")


def _parts(parts: Sequence[Any]) -> str:
    """The text of a content that comes in parts. Raises Unusable where a part is an image, or anything but text."""
    texts = []
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        if kind in TOOLS or kind in ("tool_use", "tool_result"):
            raise Unusable("tool", f"holds a part of type {cut(kind)}")
        text = part.get("text", part.get("content")) if isinstance(part, Mapping) else part
        if kind not in ("text", "input_text", "output_text", None) or not isinstance(text, str):
            raise Unusable("not_text", f"holds a part that is no text: {cut(part)}")
        texts.append(text)
    return "\n".join(texts)
