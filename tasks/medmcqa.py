"""MedMCQA (Indian medical entrance exams, four options): accuracy by lm-eval's stock task `medmcqa`.

Pal et al. 2022, "MedMCQA: A Large-scale Multi-Subject Multi-Choice Dataset for Medical domain Question Answering",
arXiv:2203.14371; data MIT. The public test split has no gold letters, so `validation` is evaluated, as lm-eval does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from harness.contracts import Aligned, Capability, Dataset, EvalContext, HarnessError, Scores, Source, Task, require
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks import stock
from tasks.measures.preference import METRICS
from tasks.stock import Document, Row, Stock

DATASET = Dataset(folder="medmcqa", hub="openlifescienceai/medmcqa", splits={"pool": "train", "eval": "validation"})
LETTERS = ("A", "B", "C", "D")
OPTIONS = ("opa", "opb", "opc", "opd")


class MedMCQA:
    """Four-option medical questions; the model's answer is the letter it finds likeliest."""

    name: ClassVar[str] = "medmcqa"
    paper: ClassVar[str] = "2203.14371"
    licence: ClassVar[str] = "MIT"
    main_metric: ClassVar[str] = "acc"
    metrics: ClassVar[Mapping[str, str]] = {
        "acc": "share of questions whose gold letter has the highest log-probability",
        "acc_norm": "the same, log-probability per character of the option as lm-eval defines it",
        **METRICS,
    }
    default_pool: ClassVar[str] = "medmcqa"
    dataset: ClassVar[Dataset] = DATASET
    requires: ClassVar[frozenset[Capability]] = frozenset()
    accepts: ClassVar[frozenset[Capability]] = frozenset({"choose", "loglik"})

    def revision(self, source: Source) -> str:
        """Hash of the evaluation rows as the stock task sees them, and of the stock task's own files."""
        return stock.revision(STOCK, source)

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """Every evaluated question without its options."""
        return stock.questions(STOCK, source, limit)

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per question; see `tasks.stock.evaluate`.

        Raises HarnessError when the model can neither score continuations (`loglik`) nor choose among them (`choose`).
        """
        require(aligned, *stock.CHOOSING, by=self.name)
        notes = {"chance": 1 / len(LETTERS)}
        return stock.evaluate(STOCK, aligned, ctx, lambda sample: stock.chosen(sample, LETTERS), notes)


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


def row_ids(rows: Sequence[Row]) -> list[str]:
    """The rows' own ids; where a row has none, a hash of its question and options, numbered when it occurs again."""
    return stock.row_ids(STOCK, rows)


def _identity(row: Row) -> str:
    return str(row.get("id") or content_hash(row.get("question"), [row.get(key) for key in OPTIONS])[:16])


STOCK = Stock(
    name="medmcqa",
    task="medmcqa",
    folder="medmcqa",
    dataset=DATASET,
    document=document,
    identity=_identity,
    question="question",
    split="validation",
)


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [MedMCQA]
