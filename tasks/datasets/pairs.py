"""Pairs of answers in any of three layouts: rows become prompts, a better answer and a worse one.

A row gives a pair in one of these layouts, on the hub as in a folder:

    prompt (or question), chosen, rejected     texts
    the same, any of them a list of messages   {"role": "user", "content": "..."}; of an answer the last turn counts
    chosen, rejected                           whole conversations, as lists of messages or as a transcript
                                               "\\n\\nHuman: ...\\n\\nAssistant: ..."; what both share is the prompt
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.contracts import Dataset, HarnessError, Message, Messages, Pair, Role, user
from harness.util.hashes import content_hash

ULTRAFEEDBACK = Dataset(folder="ultrafeedback", hub="trl-lib/ultrafeedback_binarized")
HH_HARMLESS = Dataset(folder="hh_harmless", hub="Anthropic/hh-rlhf", hub_folder="harmless-base")
OWN_PAIRS = Dataset(folder="pairs", hub="")
"""Anybody's rows."""

HUMAN = "\n\nHuman:"
_TURN = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS: Mapping[str, Role] = {"Human": "user", "Assistant": "assistant"}
_ROLES: Mapping[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Labelled:
    """The pairs of a split, and how many rows gave none, by reason."""

    pairs: tuple[Pair, ...]
    dropped: Mapping[str, int]


def read_pairs(rows: Iterable[Row], place: str) -> Labelled:
    """The pairs of rows in any of the layouts. Raises HarnessError naming `place` and row where one is in none."""
    pairs: dict[str, Pair] = {}
    dropped: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        prompt, chosen, rejected = _sides(row, f"{place} row {number}")
        if fault := _fault(prompt, chosen, rejected):
            dropped[fault] += 1
            continue
        pair = _pair(row, prompt, chosen, rejected)
        dropped["repeated"] += pair.id in pairs
        pairs.setdefault(pair.id, pair)
    return Labelled(tuple(pairs.values()), {reason: count for reason, count in sorted(dropped.items()) if count})


def asked(prompt: Messages) -> str:
    """The user's turns of a prompt, for the leak gate."""
    return "\n".join(message.content for message in prompt if message.role == "user")


def prompt_of(value: Any, place: str) -> Messages:
    """A text, a list of messages or a transcript as messages; the open "Assistant:" that ends a transcript is no turn.

    Raises HarnessError naming `place` where it is neither.
    """
    if isinstance(value, str) and not value.startswith(HUMAN):
        return user(value.strip())
    turns = _turns(value, place)
    return turns[:-1] if turns and turns[-1] == Message("assistant", "") else turns


def turns_of(transcript: str) -> Messages:
    """A transcript of "Human:" and "Assistant:" turns as messages; turns in a row of one speaker are one message."""
    parts = _TURN.split(transcript)
    return _merged(Message(_SPEAKERS[who], text) for who, text in zip(parts[1::2], parts[2::2], strict=True))


# ---------------------------------------------------------------- rows to pairs


def _sides(row: Row, place: str) -> tuple[Messages | None, str, str]:
    """(prompt, chosen, rejected); no prompt where the two conversations differ before their last turns."""
    given = row.get("prompt", row.get("question"))
    (before, chosen), (other, rejected) = (
        _side(row.get(side), given is not None, f"{place}: {side!r}") for side in ("chosen", "rejected")
    )
    if given is not None:
        return prompt_of(given, f"{place}: 'prompt'"), chosen, rejected
    return before if before == other else None, chosen, rejected


def _side(value: Any, prompted: bool, place: str) -> tuple[Messages, str]:
    """(the turns before, the answer): of a plain text no turn, where a prompt stands elsewhere."""
    if isinstance(value, str) and prompted:
        return (), value.strip()
    turns = _turns(value, place)
    if not turns or turns[-1].role != "assistant":
        raise HarnessError(
            f"{place} does not end with the assistant's turn; a conversation up to the answer was expected"
        )
    return turns[:-1], turns[-1].content


def _turns(value: Any, place: str) -> Messages:
    if isinstance(value, str) and value.startswith(HUMAN):
        return turns_of(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _merged(_message(turn, place) for turn in value)
    raise HarnessError(
        f"{place} is malformed: expected prompt, chosen and rejected as texts or lists of messages, "
        f'or chosen and rejected as transcripts that start with "Human:" after an empty line'
    )


def _message(turn: Any, place: str) -> Message:
    role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, Mapping) else (None, None)
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None or not isinstance(content, str):
        raise HarnessError(f"{place} holds a malformed message: expected a role ({', '.join(_ROLES)}) and a content")
    return Message(known, content)


def _merged(turns: Iterable[Message]) -> Messages:
    """Stripped turns, those in a row of one speaker joined: many chat templates insist on taking turns."""
    merged: list[Message] = []
    for turn in turns:
        text = turn.content.strip()
        if merged and merged[-1].role == turn.role:
            merged[-1] = Message(turn.role, f"{merged[-1].content}\n\n{text}".strip())
        else:
            merged.append(Message(turn.role, text))
    return tuple(merged)


def _fault(prompt: Messages | None, chosen: str, rejected: str) -> str | None:
    """Why no pair can be made, or None."""
    if prompt is None:
        return "other_prompt"
    if not (prompt and prompt[-1].role == "user" and prompt[-1].content and chosen and rejected):
        return "empty"
    return "identical" if chosen == rejected else None


def _pair(row: Row, prompt: Messages | None, chosen: str, rejected: str) -> Pair:
    messages = prompt or ()
    identity = content_hash([asdict(message) for message in messages], chosen, rejected)[:16]
    cluster = row.get("cluster")
    if cluster is None or cluster == "":  # 0 is a name like any other
        cluster = content_hash([asdict(message) for message in messages])[:16]
    return Pair(identity, messages, chosen, rejected, str(cluster))
