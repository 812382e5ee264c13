"""MedMCQA (Indian medical entrance exams, four options): where its rows are and what they hold.

Pal et al. 2022, "MedMCQA", arXiv:2203.14371; data MIT. The public test split has no gold letters, so `validation` is
evaluated, as lm-eval does.
"""

from __future__ import annotations

from typing import Any

from harness.contracts import Dataset, HarnessError
from harness.util.hashes import content_hash
from tasks.datasets.closing import LETTERED, LETTERS, Closed
from tasks.datasets.documents import Document, DocumentSet, Row

DATASET = Dataset(folder="medmcqa", hub="openlifescienceai/medmcqa", splits={"pool": "train", "eval": "validation"})
OPTIONS = ("opa", "opb", "opc", "opd")


def document(row: Row, identity: str) -> Document:
    """A row in the format of the stock task's data set, which is its own.

    Raises HarnessError naming the row when it has no question, not four options, or no gold letter (`cop`, 0 to 3).
    """
    gold: Any = row.get("cop")
    whole = row.get("question") and all(row.get(key) is not None for key in OPTIONS)
    if not whole or isinstance(gold, bool) or gold not in range(len(LETTERS)):
        raise HarnessError(f"medmcqa row {identity!r} is malformed: expected question, opa to opd and cop from 0 to 3")
    options = {key: str(row[key]) for key in OPTIONS}
    return {"id": identity, "question": str(row["question"]), **options, "cop": int(gold)}


def asked(row: Row) -> Closed:
    """A row as a closed question."""
    return Closed(str(row["question"]), tuple(str(row[column]) for column in OPTIONS), int(row["cop"]), LETTERED)


def _identity(row: Row) -> str:
    return str(row.get("id") or content_hash(row.get("question"), [row.get(key) for key in OPTIONS])[:16])


DOCUMENTS = DocumentSet(DATASET, document, _identity, question="question")
