"""MedMCQA as a source of labels: a short question with four options, a right answer against a wrong one, a verifier.

Rows of the shipped sample carry an argument for the gold option and one of the same form and length for a wrong one, so
both sides of a pair reason. Public rows explain the gold option at most (`exp`) and argue for no wrong one: reasoning on
one side alone would mark the right answer, so both sides are then the closing line alone, and the wrong option is drawn
by a hash of the row's id.

Pal et al. 2022, "MedMCQA", arXiv:2203.14371; data MIT. The sample: Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from harness.contracts import Dataset, HarnessError, Messages, Pair, Pool, Prompt, Ratings, Source, Verifier, user
from harness.hookspecs import hookimpl
from harness.text import content_hash
from tasks.medmcqa import DATASET, LETTERS
from tasks.medqa import row_ids
from tasks.pools.closing import LETTERED, FinalAnswer, lettered, lettered_answers, opposed

COLUMNS = {letter: f"op{letter.lower()}" for letter in LETTERS}
"""Where a row holds the option of each letter."""

Row = Mapping[str, Any]


class MedMCQAPool:
    """Pairs, prompts and a verifier from MedMCQA's training questions."""

    name: ClassVar[str] = "medmcqa"
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
        """Every training question, without its options."""
        return {identity: str(row["question"]) for identity, row in _rows(source, "pool")}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every training question, under the id of its pair."""
        return [Prompt(identity, _prompt(row)) for identity, row in _rows(source, "pool")]

    def groups(self, source: Source) -> Ratings:
        """None: nobody's opinions."""
        return {}

    def verifier(self, source: Source) -> Verifier:
        """1.0 where the last closing line of a completion names the gold letter."""
        return FinalAnswer({identity: LETTERS[row["cop"]] for identity, row in _rows(source, "pool")})


def _rows(source: Source, split: str) -> list[tuple[str, Row]]:
    rows = source.rows(DATASET, split)
    named = list(zip(row_ids(rows), rows, strict=True))
    for identity, row in named:
        _check(identity, row)
    return named


def _check(identity: str, row: Row) -> None:
    """Raises HarnessError naming the row (hidden keys of the public test split are -1)."""
    whole = all(isinstance(row.get(column), str) and row[column] for column in ("question", *COLUMNS.values()))
    if not whole or _letter(row.get("cop")) is None:
        raise HarnessError(f"medmcqa row {identity!r} is malformed: expected question, opa to opd and cop from 0 to 3")


def _letter(index: Any) -> str | None:
    """The letter of a 0-based index, or None for anything that is none."""
    return LETTERS[index] if isinstance(index, int) and 0 <= index < len(LETTERS) else None


def _options(row: Row) -> dict[str, str]:
    return {letter: str(row[column]) for letter, column in COLUMNS.items()}


def _prompt(row: Row) -> Messages:
    return user(lettered(str(row["question"]), _options(row)), system=LETTERED)


def _pair(identity: str, row: Row) -> Pair:
    gold, index = LETTERS[row["cop"]], row.get("wrong_idx")
    wrong = None if index is None else _letter(index) or f"wrong_idx {index}"
    sides = opposed("medmcqa", identity, row, gold, wrong, LETTERS)
    return Pair(identity, _prompt(row), *lettered_answers(sides, gold, _options(row)), cluster=identity)


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pool of this module."""
    return [MedMCQAPool]
