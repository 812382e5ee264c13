"""MATH-500 (competition problems with a boxed answer): where its rows are and what they hold.

Hendrycks et al. 2021, "Measuring Mathematical Problem Solving With the MATH Dataset", arXiv:2103.03874; the 500
problems are those of Lightman et al. 2023, "Let's Verify Step by Step", arXiv:2305.20050; data MIT. The data set has no
training split.
"""

from __future__ import annotations

from harness.contracts import Dataset, HarnessError
from harness.util.hashes import content_hash
from tasks.datasets.documents import Document, DocumentSet, Row

DATASET = Dataset(folder="math500", hub="HuggingFaceH4/MATH-500", splits={"eval": "test"})


def document(row: Row, identity: str) -> Document:
    """A row in the format of the stock task's data set, which is its own.

    Raises HarnessError naming the row when it has no problem or no solution with a boxed answer.
    """
    problem, solution = row.get("problem"), str(row.get("solution"))
    if not problem or not ("\\boxed" in solution or "\\fbox" in solution):
        raise HarnessError(f"math500 row {identity!r} is malformed: expected problem, and solution with a boxed answer")
    return {"id": identity, "problem": str(problem), "solution": solution}


def _identity(row: Row) -> str:
    return str(row.get("id") or row.get("unique_id") or content_hash(row.get("problem"))[:16])


DOCUMENTS = DocumentSet(DATASET, document, _identity, question="problem")
