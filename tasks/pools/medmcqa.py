"""MedMCQA as a source of labels: a short question with four options, a right answer against a wrong one, a verifier.

Rows of the shipped sample carry an argument for the gold option and one of the same form and length for a wrong one, so
both sides of a pair reason. Public rows explain the gold option at most (`exp`) and argue for no wrong one. Reasoning
on one side alone would mark the right answer: both sides are then the closing line alone, and the wrong option is drawn
by a hash of the row's id.

Pal et al. 2022, "MedMCQA", arXiv:2203.14371; data MIT. The sample: Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from harness.contracts import Dataset, GoldAnswers, Messages, Pair, Pool, Prompt, Ratings, Source
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.datasets.closing import LETTERS, lettered_answers, names_letter, opposed
from tasks.datasets.documents import Row
from tasks.datasets.medmcqa import DATASET, DOCUMENTS, OPTIONS, asked


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
        return [_pair(row) for row in DOCUMENTS.rows(source, split)]

    def questions(self, source: Source) -> Mapping[str, str]:
        """Every training question, without its options."""
        return {row["id"]: str(row["question"]) for row in DOCUMENTS.rows(source, "pool")}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every training question, under the id of its pair."""
        return [Prompt(row["id"], _prompt(row)) for row in DOCUMENTS.rows(source, "pool")]

    def groups(self, source: Source) -> Ratings:
        """None: nobody's opinions."""
        return {}

    def verifier(self, source: Source) -> GoldAnswers:
        """1.0 where the last closing line of a completion names the gold letter."""
        return GoldAnswers({row["id"]: LETTERS[row["cop"]] for row in DOCUMENTS.rows(source, "pool")}, names_letter)


def _options(row: Row) -> dict[str, str]:
    return {letter: row[column] for letter, column in zip(LETTERS, OPTIONS, strict=True)}


def _prompt(row: Row) -> Messages:
    return asked(row).prompt()


def _pair(row: Row) -> Pair:
    gold, options = LETTERS[row["cop"]], _options(row)
    sides = opposed(row, "medmcqa", gold, _wrong(row.get("wrong_idx")), LETTERS)
    return Pair(row["id"], _prompt(row), *lettered_answers(sides, gold, options), cluster=row["id"])


def _wrong(index: Any) -> str | None:
    """The letter of `wrong_idx` (0-based, like `cop`); one that is out of range stays itself, to be named."""
    if index is None:
        return None
    return LETTERS[index] if isinstance(index, int) and 0 <= index < len(LETTERS) else f"wrong_idx {index}"


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pool of this module."""
    return [MedMCQAPool]
