"""MedQA (USMLE, four options): accuracy by lm-eval's stock task, and preference accuracy on the pool's held-out pairs.

Prompts are those of `medqa_4options`, byte for byte; this module only brings rows into that task's data format, and
`tasks.stock` does the rest.

Jin et al. 2020, "What Disease does this Patient Have?", arXiv:2009.13081; data MIT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness.contracts import Aligned, Capability, Dataset, EvalContext, HarnessError, Scores, Source, Task, require
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks import stock
from tasks.measures.preference import METRICS
from tasks.stock import Document, Row, Stock

DATASET = Dataset(folder="medqa", hub="GBaker/MedQA-USMLE-4-options")
LETTERS = ("A", "B", "C", "D")


class MedQA:
    """Four-option medical questions; the model's answer is the letter it finds likeliest."""

    name: ClassVar[str] = "medqa"
    paper: ClassVar[str] = "2009.13081"
    licence: ClassVar[str] = "MIT"
    main_metric: ClassVar[str] = "acc"
    metrics: ClassVar[Mapping[str, str]] = {
        "acc": "share of questions whose gold letter has the highest log-probability",
        "acc_norm": "the same, log-probability per character of the option as lm-eval defines it",
        **METRICS,
    }
    default_pool: ClassVar[str] = "medqa"
    dataset: ClassVar[Dataset] = DATASET
    requires: ClassVar[frozenset[Capability]] = frozenset()
    accepts: ClassVar[frozenset[Capability]] = frozenset({"choose", "loglik"})

    def revision(self, source: Source) -> str:
        """Hash of the evaluation rows as the stock task sees them, and of the stock task's own files."""
        return stock.revision(STOCK, source)

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """Vignette and question of every evaluated item, without its options."""
        return stock.questions(STOCK, source, limit)

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per question; see `tasks.stock.evaluate`.

        Raises HarnessError when the model can neither score continuations (`loglik`) nor choose among them (`choose`).
        """
        require(aligned, *stock.CHOOSING, by=self.name)
        notes = {"chance": 1 / len(LETTERS)}
        return stock.evaluate(STOCK, aligned, ctx, lambda sample: stock.chosen(sample, LETTERS), notes)


def document(row: Row, identity: str) -> Document:
    """A row in the format of the stock task's data set (`GBaker/MedQA-USMLE-4-options-hf`).

    Raises HarnessError naming the row when it has no question, not exactly the options A to D, or no gold letter.
    """
    question, options, gold = row.get("question"), row.get("options"), row.get("answer_idx")
    if not question or not isinstance(options, Mapping) or set(options) != set(LETTERS) or gold not in LETTERS:
        raise HarnessError(f"medqa row {identity!r} is malformed: expected question, options A to D and answer_idx")
    endings = {f"ending{index}": str(options[letter]) for index, letter in enumerate(LETTERS)}
    return {"id": identity, "sent1": str(question), "sent2": "", **endings, "label": LETTERS.index(gold)}


def row_ids(rows: Sequence[Row]) -> list[str]:
    """The rows' own ids; where a row has none, a hash of its question and options, numbered when it occurs again."""
    return stock.row_ids(STOCK, rows)


def _identity(row: Row) -> str:
    return str(row["id"]) if "id" in row else content_hash(row.get("question"), row.get("options"))[:16]


STOCK = Stock(
    name="medqa",
    task="medqa_4options",
    folder="medqa",
    dataset=DATASET,
    document=document,
    identity=_identity,
    question="sent1",
)


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [MedQA]
