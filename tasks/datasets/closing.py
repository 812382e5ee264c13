"""Closed questions as a conversation: options as a prompt, closing lines as answers, and the verifier of such a line.

Pools draw pairs in this form, and tasks score a model in the form in which it was trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contracts import HarnessError, Messages, user
from harness.util.hashes import content_hash

CLOSING = "Final Answer"
LETTERS = ("A", "B", "C", "D")
LETTERED = 'Think step by step, then end with a line "Final Answer: <letter>. <option>".'
"""The system message where options have letters."""
LEAD = r"(?i:final\s+answer\W*(?:(?:is|the|option)\W+)*)"
"""Regular expression of what stands before the answer on a closing line."""
_LETTER = re.compile(LEAD + r"([A-D])(?=[.):*]|\s*$)", re.MULTILINE)
"""The letter must be followed by a mark or the end of its line: "Final Answer: A benzodiazepine" names no option."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Opposed:
    """What is said for the gold choice, and what for a wrong one; both arguments are empty where a row has none."""

    for_gold: str
    wrong: str
    for_wrong: str


def opposed(row: Row, pool: str, gold: str, wrong: str | None, choices: Sequence[str]) -> Opposed:
    """The arguments of a row with `explanation`, a `wrong` choice and `wrong_argument`; else a wrong choice alone.

    Without arguments the wrong choice is drawn by a hash of the row's `id`. Raises HarnessError naming pool and row
    when `wrong` is the gold choice, or no choice at all.
    """
    others = [choice for choice in choices if choice != gold]
    if not (wrong and row.get("explanation") and row.get("wrong_argument")):
        return Opposed("", others[int(content_hash("rejected", row["id"]), 16) % len(others)], "")
    if wrong not in others:
        raise HarnessError(
            f"{pool} row {row['id']!r}: {wrong!r} is no wrong choice; one of {', '.join(others)} was expected"
        )
    return Opposed(str(row["explanation"]), wrong, str(row["wrong_argument"]))


def closed(argument: str, choice: str) -> str:
    """An answer: its argument, where there is one, and the closing line with `choice`."""
    closing = f"{CLOSING}: {choice}"
    return f"{argument}\n{closing}" if argument else closing


@dataclass(frozen=True, slots=True)
class Closed:
    """A question whose answer is one of given options."""

    question: str
    options: tuple[str, ...]
    gold: int
    """Place of the right option."""
    system: str
    lettered: bool = True
    """Options are listed under letters, which may be dealt out anew; else the question names them itself."""

    def rotations(self) -> int:
        """How many ways there are to deal out the letters by turning the list: one for each option, one without any."""
        return len(self.options) if self.lettered else 1

    def prompt(self, turn: int = 0) -> Messages:
        """The conversation that asks it, the list of options turned by `turn` places."""
        if not self.lettered:
            return user(self.question, system=self.system)
        return user(lettered(self.question, self._dealt(turn)), system=self.system)

    def named(self, turn: int = 0) -> tuple[str, ...]:
        """Each option as an answer names it, in the order of `options`: with its letter where there are letters.

        The letter follows from the option's place: two options may have the same text.
        """
        if not self.lettered:
            return self.options
        count = len(self.options)
        return tuple(f"{LETTERS[(place - turn) % count]}. {option}" for place, option in enumerate(self.options))

    def closings(self, turn: int = 0) -> tuple[str, ...]:
        """The closing line of each option, in the order of `options`."""
        return tuple(closed("", name) for name in self.named(turn))

    def _dealt(self, turn: int) -> dict[str, str]:
        count = len(self.options)
        return {LETTERS[place]: self.options[(place + turn) % count] for place in range(count)}


def lettered(question: str, options: Mapping[str, str]) -> str:
    """A question and its options by letter, one a line."""
    return "\n".join((question, *(f"{letter}. {text}" for letter, text in options.items())))


def lettered_answers(opposed: Opposed, gold: str, options: Mapping[str, str]) -> tuple[str, str]:
    """(chosen, rejected): both arguments with a closing line such as "Final Answer: C. Lorazepam"."""
    sides = ((opposed.for_gold, gold), (opposed.for_wrong, opposed.wrong))
    chosen, rejected = (closed(argument, f"{letter}. {options[letter]}") for argument, letter in sides)
    return chosen, rejected


def last(pattern: re.Pattern[str], completion: str) -> str | None:
    """What the only group of `pattern` holds where it matches last, or None where it does not match."""
    found: list[str] = pattern.findall(completion)
    return found[-1] if found else None


def final_letter(completion: str) -> str | None:
    """The letter, A to D, of the last "Final Answer: X" in a text, or None where there is none."""
    return last(_LETTER, completion)


def names_letter(gold: str, completion: str) -> float:
    """1.0 where the last closing line of a completion names the gold letter; 0.0 too where no letter is given."""
    return float(gold == final_letter(completion))
