"""GSM8K (grade-school word problems): exact match of the final number by lm-eval's stock task `gsm8k` and its filters.

Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", arXiv:2110.14168; data MIT.
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

DATASET = Dataset(folder="gsm8k", hub="openai/gsm8k", config="main")


class GSM8K:
    """Word problems; the answer is the number that lm-eval's filter takes from the generated text."""

    name: ClassVar[str] = "gsm8k"
    paper: ClassVar[str] = "2110.14168"
    licence: ClassVar[str] = "MIT"
    main_metric: ClassVar[str] = "exact_match,flexible-extract"
    metrics: ClassVar[Mapping[str, str]] = {
        "exact_match,flexible-extract": "share of problems whose last number in the text is the answer",
        "exact_match,strict-match": "the same, counting only a number behind `#### `, as the training solutions end",
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

    Raises HarnessError naming the row when it has no question or no answer with a `#### ` line.
    """
    question, answer = row.get("question"), row.get("answer")
    if not question or "####" not in str(answer):
        raise HarnessError(
            f"gsm8k row {identity!r} is malformed: expected question, and answer ending in `#### NUMBER`"
        )
    return {"id": identity, "question": str(question), "answer": str(answer)}


def row_ids(rows: Sequence[Row]) -> list[str]:
    """The rows' own ids; where a row has none, a hash of its question, numbered when it occurs again."""
    return stock.row_ids(STOCK, rows)


def _identity(row: Row) -> str:
    return str(row.get("id") or content_hash(row.get("question"))[:16])


STOCK = Stock(
    name="gsm8k",
    task="gsm8k",
    folder="gsm8k",
    dataset=DATASET,
    document=document,
    identity=_identity,
    question="question",
)


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [GSM8K]
