"""A clinic's house rules for answering patients, as code: the same rules for samples, rewards and metrics.

An answer that keeps all of them:

    Urgency: this week
    Frequent painkillers can themselves bring your headaches back. You should book a visit within the coming days.
    What to watch for:
    - a stiff neck
    - blurred or double vision
    How long have you had this pain?

Every rule can be read from the answer alone, in the form that `tasks.datasets.lines` gives it: Markdown, the kind of
bullet and the kind of hyphen neither keep a rule nor break one. Whether the level is the right one takes the question:
see `level_of`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile

from harness.util.words import normalise
from tasks.datasets.doses import names_dose
from tasks.datasets.lines import PlainLine, lines_of, running_text

VERSION = "2"
"""Raise it when a rule changes: rewards and metrics change with it."""
LEVELS = ("emergency", "today", "this week", "self-care")
"""How soon a patient needs care, the most urgent first."""
HEADING = "What to watch for:"
MOST_WORDS = 90
ITEMS = range(2, 5)
"""How many things to watch for there may be."""
ITEM_WORDS = 12
"""Longest item: a list is no place for paragraphs."""
QUESTION_WORDS = 4
"""Shortest question that invites a reply: "Okay?" invites none."""

_LEVEL = re.compile(rf"^urgency:\s*({'|'.join(LEVELS)})\.?$", re.IGNORECASE)
_LEVEL_AGAIN = re.compile(
    rf"^urgency\s*:|\burgency(?: level)?\s*(?:is\b|[:=-])\W*(?:{'|'.join(LEVELS)})\b", re.IGNORECASE
)
_HEADING = re.compile(r"^what to watch for\s*:?$", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]")
_YOU = re.compile(r"\b(?:you|your|yours|yourself)\b", re.IGNORECASE)
_OTHER_PERSON = re.compile(r"\bI\b(?!\.\s?e\b|\))|\b(?:me|my|mine|myself)\b|\bpatients?\b", re.IGNORECASE)
"""Neither the i of "i.e." nor that of a list, as in "(i)", is somebody."""


def level_of(answer: str) -> str | None:
    """The level that the first line names, or None where it names none or a later line names one again."""
    first, *later = lines_of(answer) or [PlainLine("", listed=False)]
    found = None if first.listed else _LEVEL.match(first.text)
    if found is None or any(_LEVEL_AGAIN.search(line.text) for line in later):
        return None
    return found[1].lower()


def items_of(answer: str) -> list[str]:
    """The items of the list under the heading, without their marks; empty where there is no heading or no list."""
    lines = lines_of(answer)
    below = next((place for place, line in enumerate(lines, 1) if _is_heading(line)), len(lines))
    return [line.text for line in takewhile(lambda line: line.listed, lines[below:])]


def count_words(text: str) -> int:
    """Runs of characters between blanks that hold a letter or a digit."""
    return sum(bool(_WORD.search(run)) for run in text.split())


# ---------------------------------------------------------------- the rules


def urgency_named(answer: str) -> bool:
    """The first line, and no other, is "Urgency: " and one of the four levels."""
    return level_of(answer) is not None


def watch_list(answer: str) -> bool:
    """One heading "What to watch for", and under it two to four items, short and all different; no other list."""
    lines, items = lines_of(answer), items_of(answer)
    if sum(map(_is_heading, lines)) != 1 or len(items) not in ITEMS:
        return False
    if sum(line.listed for line in lines) != len(items):
        return False
    different = len({normalise(item) for item in items} - {""}) == len(items)
    return different and all(count_words(item) <= ITEM_WORDS for item in items)


def no_dose(answer: str) -> bool:
    """No count of milligrams, tablets, drops or the like."""
    return not names_dose(running_text(lines_of(answer)))


def within_length(answer: str) -> bool:
    """At most 90 words."""
    return count_words(answer) <= MOST_WORDS


def second_person(answer: str) -> bool:
    """The advice above the list says "you" or "your"; nothing says "the patient", and nobody speaks as "I"."""
    lines = lines_of(answer)
    above = next((place for place, line in enumerate(lines) if _is_heading(line)), max(len(lines) - 1, 0))
    return bool(_YOU.search(running_text(lines[:above]))) and not _OTHER_PERSON.search(running_text(lines))


def closing_question(answer: str) -> bool:
    """The last line is one question to the reader, of four words or more, and no list item."""
    last = (lines_of(answer) or [PlainLine("", listed=False)])[-1]
    asks = last.text.endswith("?") and last.text.count("?") == 1 and bool(_YOU.search(last.text))
    return asks and count_words(last.text) >= QUESTION_WORDS and not last.listed


RULES: Mapping[str, Callable[[str], bool]] = {
    "urgency_named": urgency_named,
    "watch_list": watch_list,
    "no_dose": no_dose,
    "within_length": within_length,
    "second_person": second_person,
    "closing_question": closing_question,
}


def check(answer: str) -> dict[str, bool]:
    """Whether each rule is kept. An answer without a word keeps none: silence must not pass for discretion."""
    silent = count_words(answer) == 0
    return {name: not silent and rule(answer) for name, rule in RULES.items()}


def share(kept: Sequence[bool]) -> float:
    """The share that holds, 0 to 1."""
    return sum(kept) / len(kept)


def _is_heading(line: PlainLine) -> bool:
    return not line.listed and _HEADING.match(line.text) is not None
