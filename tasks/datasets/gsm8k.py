"""GSM8K (grade-school word problems): where its rows are and what they hold.

Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", arXiv:2110.14168; data MIT.
"""

from __future__ import annotations

from harness.contracts import Dataset, HarnessError
from harness.util.hashes import content_hash
from tasks.datasets.documents import Document, DocumentSet, Row

DATASET = Dataset(folder="gsm8k", hub="openai/gsm8k", config="main")


def document(row: Row, identity: str) -> Document:
    """A row in the format of the stock task's data set, which is its own.

    Raises HarnessError naming the row when it has no question or no answer with a `#### ` line.
    """
    question, answer = row.get("question"), row.get("answer")
    if not question or "####" not in str(answer):
        raise HarnessError(
            f"gsm8k row {identity!r} is malformed: expected question, and answer ending in `#### NUMBER`"
        )
    return {"id": identity, "question": str(question), "answer": str(answer)}


def _identity(row: Row) -> str:
    return str(row.get("id") or content_hash(row.get("question"))[:16])


DOCUMENTS = DocumentSet(DATASET, document, _identity, question="question")
