"""Answers in the clinic's form, and the same answers with one or two rules broken.

Everything is chosen by hashes of names, never by a random generator: the same sources give the same bytes everywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from phrases import ACTIONS, CLOSINGS, GENERAL, MEDICINES, PADDING, STATEMENTS, UNKNOWN_LEVELS

from tasks.datasets.care_rules import HEADING, LEVELS, MOST_WORDS, count_words

T = TypeVar("T")
Complaint = dict[str, Any]


def number(*key: object) -> int:
    """A number that depends on the key alone."""
    text = "\x1f".join(map(str, key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def pick(values: Sequence[T], *key: object) -> T:
    """One of the values, by the key."""
    return values[number(*key) % len(values)]


def shuffled(values: Sequence[T], *key: object) -> list[T]:
    """The values in an order that depends on the key alone."""
    return [values[place] for place in sorted(range(len(values)), key=lambda place: number(*key, place))]


@dataclass(frozen=True)
class Parts:
    """An answer before it is written down."""

    level: str
    sentences: tuple[str, ...]
    items: tuple[str, ...]
    closing: str
    action: int
    """Which variant of the level's action sentences it uses."""
    medicine: int | None
    """Which sentence on medicines it uses, if any."""
    shape: frozenset[str] = field(default_factory=frozenset)
    """Departures from the form that only the writing shows."""

    def has(self, sentence: str) -> bool:
        """Whether the advice holds this sentence."""
        return sentence in self.sentences


def general_of(complaint: Complaint, level: str) -> Sequence[str]:
    """Advice that fits the complaint at this level, whatever the details."""
    return GENERAL.get(level, complaint["general"])


def write(parts: Parts) -> str:
    """The answer's text."""
    first = [f"Urgency: {parts.level}"]
    advice = [" ".join(parts.sentences)]
    if "prose" in parts.shape:
        listed = [f"{HEADING} {', '.join(parts.items)}."]
    elif "late heading" in parts.shape:
        listed = [*(f"- {item}" for item in parts.items), HEADING]
    else:
        listed = [HEADING, *(f"- {item}" for item in parts.items)]
    closing = [parts.closing]
    if "level last" in parts.shape:
        first, advice = [], [*advice, *first]
    if "early question" in parts.shape:
        advice, closing = [*closing, *advice], []
    return "\n".join([*first, *advice, *listed, *closing])


def compose(complaint: Complaint, level: str, *key: object, fuller: bool = False, own: str | None = None) -> Parts:
    """An answer that keeps all rules, for the complaint at a level; `own` takes another level's advice sentences.

    `fuller` makes it as long as there is material for; where that is too long, `trimmed` shortens it.
    """
    scenario = complaint["scenarios"][LEVELS.index(own or level)]
    action = number(*key, "action") % len(ACTIONS[level])
    # The fitting sentence on medicines may appear in any answer: the word "tablets" is no sign of a dose.
    medicine = number(*key, "medicine") % len(MEDICINES[level]) if fuller or number(*key, "with") % 3 == 0 else None
    general = shuffled(general_of(complaint, level), *key, "general")
    several = 2 if fuller else number(*key, "several") % 2
    said = [
        *scenario["advice"][1:],
        *general[:several],
        *([MEDICINES[level][medicine][0]] if medicine is not None else []),
    ]
    said += shuffled(PADDING, *key, "padding")[:3] if fuller else []
    start = shuffled([ACTIONS[level][action][0], scenario["advice"][0]], *key, "start")
    count = 4 if fuller else pick((2, 3, 3, 4), *key, "count")
    items = shuffled(complaint["watch"], *key, "items")[:count]
    closings = [*complaint["closing"], *CLOSINGS[level]]
    return Parts(level, (*start, *said), tuple(items), pick(closings, *key, "closing"), action, medicine)


def trimmed(parts: Parts) -> Parts:
    """The answer within the word limit, last sentences first; the action and the first piece of advice stay."""
    while count_words(write(parts)) > MOST_WORDS:
        parts = replace(parts, sentences=parts.sentences[:-1])
    return parts


def without_surplus(parts: Parts) -> Parts:
    """One sentence less, to make room for what is added elsewhere; never fewer than two."""
    return replace(parts, sentences=parts.sentences[:-1]) if len(parts.sentences) > 2 else parts


# ---------------------------------------------------------------- broken rules


def break_urgency(parts: Parts, complaint: Complaint, *key: object) -> Parts:
    """The level is no level of the clinic's, or stands below the advice."""
    if number(*key, "how") % 2:
        return replace(parts, level=pick(UNKNOWN_LEVELS, *key, "word"))
    return replace(parts, shape=parts.shape | {"level last"})


def break_list(parts: Parts, complaint: Complaint, *key: object) -> Parts:
    """Running text, a heading below its list, a single item, or one too many."""
    how = pick(("prose", "late heading", "single", "many"), *key, "how")
    if how == "single":
        unused = [sentence for sentence in general_of(complaint, parts.level) if not parts.has(sentence)]
        return replace(parts, items=parts.items[:1], sentences=(*parts.sentences, *unused[:1]))
    if how == "many":
        every = shuffled(complaint["watch"], *key, "items")
        return without_surplus(replace(parts, items=tuple(every)))
    return replace(parts, shape=parts.shape | {how})


def break_dose(parts: Parts, complaint: Complaint, *key: object) -> Parts:
    """A dose in the place of the sentence on medicines, or of the last sentence where there is none."""
    if parts.medicine is None:
        dosed = pick(MEDICINES[parts.level], *key, "dose")[1]
        return replace(parts, sentences=(*without_surplus(parts).sentences, dosed))
    plain, dosed = MEDICINES[parts.level][parts.medicine]
    return replace(parts, sentences=tuple(dosed if sentence == plain else sentence for sentence in parts.sentences))


def break_person(parts: Parts, complaint: Complaint, *key: object) -> Parts:
    """What to do is said of "the patient", or by an "I"."""
    plain, other = ACTIONS[parts.level][parts.action]
    return replace(parts, sentences=tuple(other if sentence == plain else sentence for sentence in parts.sentences))


def break_closing(parts: Parts, complaint: Complaint, *key: object) -> Parts:
    """The question stands at the beginning, or the last line asks nothing."""
    if number(*key, "how") % 5:
        return replace(parts, shape=parts.shape | {"early question"})
    return replace(parts, closing=pick(STATEMENTS, *key, "statement"))


def break_length(parts: Parts, complaint: Complaint, *key: object) -> Parts:
    """Some words more than the limit."""
    for sentence in shuffled(PADDING, *key, "more"):
        if count_words(write(parts)) <= MOST_WORDS and not parts.has(sentence):
            parts = replace(parts, sentences=(*parts.sentences, sentence))
    return parts


BREAKS = {
    "urgency_named": break_urgency,
    "watch_list": break_list,
    "no_dose": break_dose,
    "within_length": break_length,
    "second_person": break_person,
    "closing_question": break_closing,
}


def size(text: str) -> float:
    """About the number of tokens: between the count of words and marks, and the characters by the five."""
    return (len(re.findall(r"\w+|[^\w\s]|\n", text)) + len(text) / 5) / 2
