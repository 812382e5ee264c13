"""PubMedQA as a source of labels: an abstract without its conclusion, the paper's question, and the right decision
(yes, no or maybe) against a wrong one, with a verifier.

Rows of the shipped sample carry an argument for the gold decision and one of the same form and length for a wrong one,
so both sides of a pair reason. Public rows have the paper's own conclusion (`long_answer`) and nothing for another
decision: both sides are then the closing line alone, and the wrong decision is drawn by a hash of the row's id.

Prompts that are too long lose their beginning, so the abstract comes first and the question last.

Jin et al. 2019, "PubMedQA", arXiv:1909.06146; data MIT. The sample: Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import ClassVar

from harness.contracts import Dataset, GoldAnswers, Messages, Pair, Pool, Prompt, Ratings, Source
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.datasets.closing import closed, opposed
from tasks.datasets.documents import Row
from tasks.datasets.pubmedqa import ANSWERS, DATASET, DOCUMENTS, asked, names_decision


class PubMedQAPool:
    """Pairs, prompts and a verifier from PubMedQA's labelled training questions."""

    name: ClassVar[str] = "pubmedqa"
    licence: ClassVar[str] = "MIT (public rows), Apache-2.0 (shipped sample)"
    dataset: ClassVar[Dataset] = DATASET

    def revision(self, source: Source) -> str:
        """Hash of every pair of the training split as rendered: of the rows and of the templates."""
        return content_hash([asdict(pair) for pair in self.pairs(source)])

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """One pair per question: the gold decision's argument (where there is one) and closing line against a wrong's.

        Raises HarnessError naming a row that is malformed.
        """
        return [_pair(row) for row in DOCUMENTS.rows(source, split)]

    def questions(self, source: Source) -> Mapping[str, str]:
        """Every training question, without its abstract."""
        return {row["id"]: str(row["question"]) for row in DOCUMENTS.rows(source, "pool")}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every training question behind its abstract, under the id of its pair."""
        return [Prompt(row["id"], _prompt(row)) for row in DOCUMENTS.rows(source, "pool")]

    def groups(self, source: Source) -> Ratings:
        """None: nobody's opinions."""
        return {}

    def verifier(self, source: Source) -> GoldAnswers:
        """1.0 where the last closing line of a completion names the gold decision."""
        gold = {row["id"]: str(row["final_decision"]) for row in DOCUMENTS.rows(source, "pool")}
        return GoldAnswers(gold, names_decision)


def _prompt(row: Row) -> Messages:
    return asked(row).prompt()


def _pair(row: Row) -> Pair:
    gold = str(row["final_decision"])
    wrong = str(row["wrong_decision"]) if row.get("wrong_decision") else None
    sides = opposed(row, "pubmedqa", gold, wrong, ANSWERS)
    chosen, rejected = closed(sides.for_gold, gold), closed(sides.for_wrong, sides.wrong)
    return Pair(row["id"], _prompt(row), chosen, rejected, cluster=row["id"])


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pool of this module."""
    return [PubMedQAPool]
