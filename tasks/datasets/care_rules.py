"""A clinic's house rules for answering patients, as code: the same rules for samples, rewards and metrics.

An answer that keeps all of them:

    Urgency: this week
    Frequent painkillers can themselves bring your headaches back. You should book a visit within the coming days.
    What to watch for:
    - a stiff neck
    - blurred or double vision
    How long have you had this pain?

Every rule can be read from the answer alone. Whether the level is the right one takes the question: see `level_of`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from harness.util.words import normalise

VERSION = "1"
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

_URGENCY = re.compile(r"^urgency\s*:", re.IGNORECASE)
_LEVEL = re.compile(rf"^urgency:\s*({'|'.join(LEVELS)})\.?$", re.IGNORECASE)
_HEADING = re.compile(r"^what to watch for\s*:?$", re.IGNORECASE)
_ITEM = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+(.*\S)")
_WORD = re.compile(r"\w")
_YOU = re.compile(r"\b(?:you|your|yours|yourself)\b", re.IGNORECASE)
_OTHER_PERSON = re.compile(r"\bI\b|\b(?:me|my|mine|myself)\b|\bpatients?\b", re.IGNORECASE)
_NUMBER = (
    r"(?:\d[\d.,/]*|half|quarter|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|forty|"
    r"fifty|hundred|thousand|double|a)"
)
_UNIT = (
    r"(?:m?c?g|µg|μg|grams?|milligrams?|micrograms?|ml|millilit(?:er|re)s?|cc|iu|units?|tablets?|pills?|capsules?|"
    r"caplets?|drops?|puffs?|sprays?|teaspoons?|tablespoons?|spoonfuls?|tsp|tbsp|sachets?|suppositor(?:y|ies)|lozenges?)"
)
_DOSE = re.compile(
    rf"\b{_NUMBER}(?:[\s-]+(?:a|an|of|to|or|extra|more|full|small|large|half|and|{_NUMBER}))*[\s-]*{_UNIT}\b"
    r"(?!\s*(?:/|per\s)\s*(?:dl|l|lit(?:er|re)|decilit(?:er|re))\b)",
    re.IGNORECASE,
)
"""A count and a unit in which medicines are measured. A laboratory value, such as 300 mg/dL, is no dose."""


def level_of(answer: str) -> str | None:
    """The level that the first line names, or None where it names none or a later line names one again."""
    lines = _lines(answer)
    found = _LEVEL.match(lines[0]) if lines else None
    if found is None or any(_URGENCY.match(line) for line in lines[1:]):
        return None
    return found[1].lower()


def items_of(answer: str) -> list[str]:
    """The items of the list under the heading, without their marks; empty where there is no heading or no list."""
    lines = _lines(answer)
    below = next((place for place, line in enumerate(lines, 1) if _HEADING.match(line)), len(lines))
    found: list[str] = []
    for line in lines[below:]:
        item = _ITEM.match(line)
        if item is None:
            break
        found.append(item[1])
    return found


def count_words(text: str) -> int:
    """Runs of characters between blanks that hold a letter or a digit."""
    return sum(bool(_WORD.search(run)) for run in text.split())


# ---------------------------------------------------------------- the rules


def urgency_named(answer: str) -> bool:
    """The first line, and no other, is "Urgency: " and one of the four levels."""
    return level_of(answer) is not None


def watch_list(answer: str) -> bool:
    """One heading "What to watch for", and under it two to four items, short and all different; no other list."""
    lines, items = _lines(answer), items_of(answer)
    if sum(bool(_HEADING.match(line)) for line in lines) != 1 or len(items) not in ITEMS:
        return False
    if sum(bool(_ITEM.match(line)) for line in lines) != len(items):
        return False
    different = len({normalise(item) for item in items} - {""}) == len(items)
    return different and all(count_words(item) <= ITEM_WORDS for item in items)


def no_dose(answer: str) -> bool:
    """No count of milligrams, tablets, drops or the like."""
    return _DOSE.search(unicodedata.normalize("NFKC", answer)) is None


def within_length(answer: str) -> bool:
    """At most 90 words."""
    return count_words(answer) <= MOST_WORDS


def second_person(answer: str) -> bool:
    """The advice above the list says "you" or "your"; nothing says "the patient", and nobody speaks as "I"."""
    lines = _lines(answer)
    above = next((place for place, line in enumerate(lines) if _HEADING.match(line)), max(len(lines) - 1, 0))
    return bool(_YOU.search(" ".join(lines[:above]))) and not _OTHER_PERSON.search(answer)


def closing_question(answer: str) -> bool:
    """The last line is one question to the reader, of four words or more, and no list item."""
    last = (_lines(answer) or [""])[-1]
    asks = last.endswith("?") and last.count("?") == 1 and bool(_YOU.search(last))
    return asks and count_words(last) >= QUESTION_WORDS and not _ITEM.match(last)


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


def _lines(answer: str) -> list[str]:
    """Lines that hold anything, in compatibility form (a full-width colon is a colon), stripped."""
    return [line.strip() for line in unicodedata.normalize("NFKC", answer).splitlines() if line.strip()]
