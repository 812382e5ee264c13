"""MedQA as a source of labels: a vignette with four options, a right answer against a wrong one, and a verifier.

Rows of the shipped sample carry an argument for the gold option and one of the same form and length for a wrong one, so
both sides of a pair reason. Rows of the public data set have no arguments: both sides are then the closing line alone,
and the wrong option is drawn by a hash of the row's id.

Jin et al. 2020, "What Disease does this Patient Have?", arXiv:2009.13081; data MIT. The sample: Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import ClassVar

from harness.contracts import Dataset, GoldAnswers, Messages, Pair, Pool, Prompt, Ratings, Source
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.datasets.closing import LETTERS, lettered_answers, names_letter, opposed
from tasks.datasets.documents import Row
from tasks.datasets.medqa import DATASET, DOCUMENTS, asked


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
        return [_pair(row) for row in DOCUMENTS.rows(source, split)]

    def questions(self, source: Source) -> Mapping[str, str]:
        """Vignette and question of every training row, without its options."""
        return {row["id"]: str(row["question"]) for row in DOCUMENTS.rows(source, "pool")}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every training question, under the id of its pair."""
        return [Prompt(row["id"], _prompt(row)) for row in DOCUMENTS.rows(source, "pool")]

    def groups(self, source: Source) -> Ratings:
        """None: nobody's opinions."""
        return {}

    def verifier(self, source: Source) -> GoldAnswers:
        """1.0 where the last closing line of a completion names the gold letter."""
        return GoldAnswers({row["id"]: str(row["answer_idx"]) for row in DOCUMENTS.rows(source, "pool")}, names_letter)


def _prompt(row: Row) -> Messages:
    return asked(row).prompt()


def _options(row: Row) -> dict[str, str]:
    return {letter: str(row["options"][letter]) for letter in LETTERS}


def _pair(row: Row) -> Pair:
    gold = str(row["answer_idx"])
    wrong = str(row["wrong_idx"]) if row.get("wrong_idx") else None
    sides = opposed(row, "medqa", gold, wrong, LETTERS)
    return Pair(row["id"], _prompt(row), *lettered_answers(sides, gold, _options(row)), cluster=row["id"])


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pool of this module."""
    return [MedQAPool]
