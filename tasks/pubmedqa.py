"""PubMedQA (yes, no or maybe, from an abstract): accuracy by lm-eval's stock task `pubmedqa`.

Jin et al. 2019, "PubMedQA: A Dataset for Biomedical Research Question Answering", arXiv:1909.06146; data MIT. The stock
task reads another copy of the data set, which needs a loading script that `datasets` no longer runs; rows of
`qiaojin/PubMedQA` hold the same questions, abstracts and decisions and are brought into that copy's format. That copy
of the hub has one split of 1,000 rows: the first half is the pool, the second the evaluation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness.contracts import Aligned, Capability, Dataset, EvalContext, HarnessError, Scores, Source, Task, require
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks import stock
from tasks.measures.preference import METRICS
from tasks.stock import Document, Row, Stock

DATASET = Dataset(
    folder="pubmedqa",
    hub="qiaojin/PubMedQA",
    config="pqa_labeled",
    hub_splits={"pool": "train[:500]", "eval": "train[500:]"},
)
ANSWERS = ("yes", "no", "maybe")


class PubMedQA:
    """Research questions answered from the abstract; the model's answer is the word it finds likeliest."""

    name: ClassVar[str] = "pubmedqa"
    paper: ClassVar[str] = "1909.06146"
    licence: ClassVar[str] = "MIT"
    main_metric: ClassVar[str] = "acc"
    metrics: ClassVar[Mapping[str, str]] = {
        "acc": "share of questions whose gold answer has the highest log-probability",
        **METRICS,
    }
    default_pool: ClassVar[str] = "pubmedqa"
    dataset: ClassVar[Dataset] = DATASET
    requires: ClassVar[frozenset[Capability]] = frozenset()
    accepts: ClassVar[frozenset[Capability]] = frozenset({"choose", "loglik"})

    def revision(self, source: Source) -> str:
        """Hash of the evaluation rows as the stock task sees them, and of the stock task's own files."""
        return stock.revision(STOCK, source)

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """Every evaluated question without its abstract."""
        return stock.questions(STOCK, source, limit)

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per question; see `tasks.stock.evaluate`. The share of the commonest answer is a note.

        Raises HarnessError when the model can neither score continuations (`loglik`) nor choose among them (`choose`).
        """
        require(aligned, *stock.CHOOSING, by=self.name)
        golds = Counter(row.get("final_decision") for row in ctx.source.rows(DATASET, "eval")[: ctx.limit])
        notes = {"chance": 1 / len(ANSWERS), "majority": max(golds.values()) / golds.total()}
        return stock.evaluate(STOCK, aligned, ctx, lambda sample: stock.chosen(sample, ANSWERS), notes)


def document(row: Row, identity: str) -> Document:
    """A row in the format of the stock task's data set (`bigbio/pubmed_qa`, source schema).

    Raises HarnessError naming the row when it has no question, no passages of an abstract, or no decision.
    """
    context = row.get("context")
    passages = context.get("contexts") if isinstance(context, Mapping) else None
    if not row.get("question") or not passages or row.get("final_decision") not in ANSWERS:
        raise HarnessError(
            f"pubmedqa row {identity!r} is malformed: expected question, context.contexts and final_decision, "
            f"one of {', '.join(ANSWERS)}"
        )
    shown = {"QUESTION": str(row["question"]), "CONTEXTS": [str(passage) for passage in passages]}
    return {"id": identity, **shown, "final_decision": str(row["final_decision"])}


def row_ids(rows: Sequence[Row]) -> list[str]:
    """The rows' own ids (`id`, else `pubid`); where a row has none, a hash of its question."""
    return stock.row_ids(STOCK, rows)


def _identity(row: Row) -> str:
    return str(row.get("id") or row.get("pubid") or content_hash(row.get("question"))[:16])


STOCK = Stock(
    name="pubmedqa",
    task="pubmedqa",
    folder="pubmedqa",
    dataset=DATASET,
    document=document,
    identity=_identity,
    question="QUESTION",
)


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [PubMedQA]
