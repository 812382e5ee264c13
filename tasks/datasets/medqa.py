"""MedQA (USMLE, four options): where its rows are and what they hold.

Jin et al. 2020, "What Disease does this Patient Have?", arXiv:2009.13081; data MIT.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.contracts import Dataset, HarnessError
from harness.util.hashes import content_hash
from tasks.datasets.closing import LETTERED, LETTERS, Closed
from tasks.datasets.documents import Document, DocumentSet, Row

DATASET = Dataset(folder="medqa", hub="GBaker/MedQA-USMLE-4-options")


def document(row: Row, identity: str) -> Document:
    """A row in the format of the stock task's data set (`GBaker/MedQA-USMLE-4-options-hf`).

    Raises HarnessError naming the row when it has no question, not exactly the options A to D, or no gold letter.
    """
    question, options, gold = row.get("question"), row.get("options"), row.get("answer_idx")
    if not question or not isinstance(options, Mapping) or set(options) != set(LETTERS) or gold not in LETTERS:
        raise HarnessError(f"medqa row {identity!r} is malformed: expected question, options A to D and answer_idx")
    endings = {f"ending{index}": str(options[letter]) for index, letter in enumerate(LETTERS)}
    return {"id": identity, "sent1": str(question), "sent2": "", **endings, "label": LETTERS.index(gold)}


def asked(row: Row) -> Closed:
    """A row as a closed question."""
    options = tuple(str(row["options"][letter]) for letter in LETTERS)
    return Closed(str(row["question"]), options, LETTERS.index(str(row["answer_idx"])), LETTERED)


def _identity(row: Row) -> str:
    return str(row["id"]) if "id" in row else content_hash(row.get("question"), row.get("options"))[:16]


DOCUMENTS = DocumentSet(DATASET, document, _identity, question="sent1")
