"""A scored row as a person reads it: the prompt, what the model answered, what it is held against, its figures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Literal

from harness.contracts import SampleRow
from harness.records.texts import HASHED, is_hashed

BESIDE = ("chosen", "rejected", "reference", "baseline", "gold")
"""What an answer is held against, where a row has it."""

Outcome = Literal["win", "loss", "same"]
Part = tuple[bool, str]
"""A piece of a text, and whether it differs from the other text."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One item in words. Texts are as the run kept them: strangers' words, to be made harmless where they leave."""

    id: str
    prompt: str
    answer: str | None
    """What the model wrote or chose; None where the row holds neither."""
    beside: Mapping[str, str]
    """Other texts by their names: `chosen`, `rejected`, `reference`, `baseline`, `gold`; `written`, beside a choice."""
    values: Mapping[str, float]
    notes: tuple[str, ...] = field(default=())
    """What the row says beyond texts: how far a preference goes."""


def shown(row: SampleRow, written: Mapping[str, str] | None = None) -> Shown:
    """The row in words; `written` are answers by id that were generated to be read, and not scored."""
    detail = row.detail
    answer = _answer(detail)
    later = (written or {}).get(row.id)
    beside = {name: _text(detail[name]) for name in BESIDE if detail.get(name) is not None}
    if later is not None and answer is not None:
        beside["written"] = later
    notes = [*_preferences(detail)]
    if later is not None:
        notes.append(f"the {'written text' if answer is not None else 'answer'} is there to be read, and is not scored")
    return Shown(
        id=row.id,
        prompt=_prompt(detail),
        answer=later if answer is None else answer,
        beside=beside,
        values=row.values,
        notes=tuple(notes),
    )


def messages(prompt: object) -> list[dict[str, str]] | None:
    """A row's prompt as turns, where it is kept as turns."""
    if not isinstance(prompt, list) or not all(isinstance(turn, dict) and "content" in turn for turn in prompt):
        return None
    return [{"role": str(turn.get("role", "user")), "content": _text(turn["content"])} for turn in prompt]


def _prompt(detail: Mapping[str, Any]) -> str:
    prompt = detail.get("prompt", detail.get("instruction", ""))
    turns = messages(prompt)
    if turns is None:
        return _text(prompt)
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _answer(detail: Mapping[str, Any]) -> str | None:
    for name in ("output", "answer", "choice"):
        if detail.get(name) is not None:
            return _text(detail[name])
    return None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and is_hashed(value):
        return f"(not kept; sha256 {str(value[HASHED])[:12]})"
    return json.dumps(value, ensure_ascii=False)


def _preferences(detail: Mapping[str, Any]) -> list[str]:
    """For each pair of a row, which answer the model finds likelier."""
    found = detail.get("preferences")
    margins = [margin for margin in found if isinstance(margin, dict)] if isinstance(found, list) else []
    return [f"P(chosen is better) = {margin['p_chosen']:.3f}" for margin in margins if "p_chosen" in margin]


# ---------------------------------------------------------------- two runs beside each other


@dataclass(frozen=True, slots=True)
class Compared:
    """One item under two runs; the outcome is the first run's on the metric."""

    first: Shown
    second: Shown
    outcome: Outcome

    @property
    def answers_differ(self) -> bool:
        """Whether the two models said different things."""
        return self.first.answer != self.second.answer or self.outcome != "same"


def compared(first: Sequence[Shown], second: Sequence[Shown], metric: str, *, falling: bool = False) -> list[Compared]:
    """The items that both runs have and that the metric applies to, in the first run's order.

    `falling` says that less of the metric is better.
    """
    others = {item.id: item for item in second}
    both = [(item, others[item.id]) for item in first if item.id in others]
    return [
        Compared(a, b, _outcome(a.values[metric], b.values[metric], falling))
        for a, b in both
        if metric in a.values and metric in b.values
    ]


def _outcome(first: float, second: float, falling: bool) -> Outcome:
    if first == second:
        return "same"
    return "win" if (first < second) == falling else "loss"


def marked(first: str, second: str) -> tuple[list[Part], list[Part]]:
    """Both texts in pieces, words and the space between them, with what differs from the other text marked."""
    a, b = _words(first), _words(second)
    left: list[Part] = []
    right: list[Part] = []
    for kind, start, stop, start_b, stop_b in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for pieces, text in ((left, "".join(a[start:stop])), (right, "".join(b[start_b:stop_b]))):
            if text:
                pieces.append((kind != "equal", text))
    return left, right


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)
