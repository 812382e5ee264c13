"""MATH-500 (competition problems with a boxed answer): lm-eval's stock task `minerva_math500`; math-verify counts.

Hendrycks et al. 2021, "Measuring Mathematical Problem Solving With the MATH Dataset", arXiv:2103.03874; the 500
problems are those of Lightman et al. 2023, "Let's Verify Step by Step", arXiv:2305.20050; data MIT. The data set has no
training split: methods train on `gsm8k`, and few-shot examples are the stock task's own four, on track `parity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness.contracts import Aligned, Capability, Dataset, EvalContext, HarnessError, Scores, Source, Task
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks import stock
from tasks.measures.preference import METRICS
from tasks.stock import Document, Row, Stock

DATASET = Dataset(folder="math500", hub="HuggingFaceH4/MATH-500", splits={"eval": "test"})


class Math500:
    """Competition problems; a text is right where math-verify finds an answer in it that equals the gold one."""

    name: ClassVar[str] = "math500"
    paper: ClassVar[str] = "2305.20050"
    licence: ClassVar[str] = "MIT"
    main_metric: ClassVar[str] = "math_verify"
    metrics: ClassVar[Mapping[str, str]] = {
        "math_verify": "share of problems whose answer math-verify finds equal to the gold solution's",
        "exact_match": "the same by Minerva's rules, counting only what follows `Final Answer: The final answer is`",
        **METRICS,
    }
    default_pool: ClassVar[str] = "gsm8k"
    dataset: ClassVar[Dataset] = DATASET
    requires: ClassVar[frozenset[Capability]] = frozenset({"generate"})
    accepts: ClassVar[frozenset[Capability]] = frozenset()

    def revision(self, source: Source) -> str:
        """Hash of the evaluation rows as the stock task sees them, and of the stock task's own files."""
        return stock.revision(STOCK, source)

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """Every evaluated problem."""
        return stock.questions(STOCK, source, limit)

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per problem, the generated text under `output`; see `tasks.stock.evaluate`."""
        return stock.evaluate(STOCK, aligned, ctx, stock.generated)


def document(row: Row, identity: str) -> Document:
    """A row in the format of the stock task's data set, which is its own.

    Raises HarnessError naming the row when it has no problem or no solution with a boxed answer.
    """
    problem, solution = row.get("problem"), str(row.get("solution"))
    if not problem or not ("\\boxed" in solution or "\\fbox" in solution):
        raise HarnessError(f"math500 row {identity!r} is malformed: expected problem, and solution with a boxed answer")
    return {"id": identity, "problem": str(problem), "solution": solution}


def row_ids(rows: Sequence[Row]) -> list[str]:
    """The rows' own ids (`id`, else `unique_id`); where a row has none, a hash of its problem."""
    return stock.row_ids(STOCK, rows)


def _identity(row: Row) -> str:
    return str(row.get("id") or row.get("unique_id") or content_hash(row.get("problem"))[:16])


STOCK = Stock(
    name="math500",
    task="minerva_math500",
    folder="minerva_math",
    dataset=DATASET,
    document=document,
    identity=_identity,
    question="problem",
)


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [Math500]
