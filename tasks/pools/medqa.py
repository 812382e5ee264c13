"""MedQA as a source of labels: a vignette with four options, a right answer against a wrong one, and a verifier.

Rows of the shipped sample carry an argument for the gold option and one of the same form and length for a wrong one, so
both sides of a pair reason. Rows of the public data set have no arguments: both sides are then the closing line alone,
and the wrong option is drawn by a hash of the row's id.

Jin et al. 2020, "What Disease does this Patient Have?", arXiv:2009.13081; data MIT. The sample: Apache-2.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from harness.contracts import Dataset, HarnessError, Messages, Pair, Pool, Prompt, Ratings, Source, Verifier, user
from harness.hookspecs import hookimpl
from harness.text import content_hash
from tasks.medqa import DATASET, LETTERS, row_ids

SYSTEM = 'Think step by step, then end with a line "Final Answer: <letter>. <option>".'
CLOSING = "Final Answer"
_FINAL = re.compile(r"(?i:final\s+answer\W*(?:(?:is|the|option)\W+)*)([A-D])(?=[.):*]|\s*$)", re.MULTILINE)
"""The letter must be followed by a mark or the end of its line: "Final Answer: A benzodiazepine" names no option."""

Row = Mapping[str, Any]


class MedQAPool:
    """Pairs, prompts and a verifier from MedQA's training questions."""

    name: ClassVar[str] = "medqa"
    licence: ClassVar[str] = "MIT (public rows), Apache-2.0 (shipped sample)"
    dataset: ClassVar[Dataset] = DATASET

    def revision(self, source: Source) -> str:
        """Hash of every pair of the training split as rendered: of the rows and of the templates."""
        return content_hash([asdict(pair) for pair in self.pairs(source)])

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """One pair per question: the gold option's argument (where there is one) and closing line, against a wrong's.

        Raises HarnessError naming a row that is malformed.
        """
        return [_pair(identity, row) for identity, row in _rows(source, split)]

    def questions(self, source: Source) -> Mapping[str, str]:
        """Vignette and question of every training row, without its options."""
        return {identity: str(row["question"]) for identity, row in _rows(source, "pool")}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every training question, under the id of its pair."""
        return [Prompt(identity, _prompt(row)) for identity, row in _rows(source, "pool")]

    def groups(self, source: Source) -> Ratings:
        """None: nobody's opinions."""
        return {}

    def verifier(self, source: Source) -> Verifier:
        """1.0 where the last closing line of a completion names the gold letter."""
        return FinalAnswer({identity: str(row["answer_idx"]) for identity, row in _rows(source, "pool")})


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """Compares the last "Final Answer" letter of a completion with the gold letter of its prompt."""

    gold: Mapping[str, str]
    """Gold letter by prompt id."""

    def __call__(self, prompt_id: str, completion: str) -> float:
        """1.0 or 0.0; 0.0 too where no letter is given. Raises KeyError for an unknown prompt."""
        return float(self.gold[prompt_id] == final_letter(completion))


def final_letter(completion: str) -> str | None:
    """The letter of the last "Final Answer: X" in a text, or None where there is none."""
    letters = _FINAL.findall(completion)
    return letters[-1].upper() if letters else None


def _rows(source: Source, split: str) -> list[tuple[str, Row]]:
    rows = source.rows(DATASET, split)
    named = list(zip(row_ids(rows), rows, strict=True))
    for identity, row in named:
        _check(identity, row)
    return named


def _check(identity: str, row: Row) -> None:
    options = row.get("options")
    whole = isinstance(options, Mapping) and set(options) == set(LETTERS) and row.get("answer_idx") in LETTERS
    if not (row.get("question") and whole):
        raise HarnessError(f"medqa row {identity!r} is malformed: expected question, options A to D and answer_idx")


def _prompt(row: Row) -> Messages:
    options = "\n".join(f"{letter}. {row['options'][letter]}" for letter in LETTERS)
    return user(f"{row['question']}\n{options}", system=SYSTEM)


def _pair(identity: str, row: Row) -> Pair:
    gold = str(row["answer_idx"])
    reasoned = all(row.get(key) for key in ("explanation", "wrong_idx", "wrong_argument"))
    wrong = str(row["wrong_idx"]) if reasoned else _other_letter(identity, gold)
    if wrong == gold or wrong not in LETTERS:
        raise HarnessError(
            f"medqa row {identity!r}: wrong_idx {wrong!r} is no wrong option; one of A to D was expected"
        )
    for_gold, for_wrong = (str(row["explanation"]), str(row["wrong_argument"])) if reasoned else ("", "")
    return Pair(identity, _prompt(row), _answer(for_gold, gold, row), _answer(for_wrong, wrong, row), cluster=identity)


def _answer(argument: str, letter: str, row: Row) -> str:
    closing = f"{CLOSING}: {letter}. {row['options'][letter]}"
    return f"{argument}\n{closing}" if argument else closing


def _other_letter(identity: str, gold: str) -> str:
    """A wrong letter, fixed by the row's id alone."""
    wrong = [letter for letter in LETTERS if letter != gold]
    return wrong[int(content_hash("rejected", identity), 16) % len(wrong)]


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pool of this module."""
    return [MedQAPool]
