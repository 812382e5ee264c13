"""PubMedQA (yes, no or maybe, from an abstract): the right answer's probability, and lm-eval's task `pubmedqa`.

Jin et al. 2019, "PubMedQA: A Dataset for Biomedical Research Question Answering", arXiv:1909.06146; data MIT.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

from harness.contracts import Dataset, EvalContext, Task
from harness.hookspecs import hookimpl
from tasks.datasets.pubmedqa import ANSWERS, DATASET, DOCUMENTS, asked, final_decision
from tasks.lm_eval.stock import Stock, StockChoice
from tasks.measures import closing_lines, rotations
from tasks.measures.preference import METRICS


class PubMedQA(StockChoice):
    """Research questions with their abstract; how likely does the model find the right answer?"""

    name: ClassVar[str] = "pubmedqa"
    paper: ClassVar[str] = "1909.06146"
    licence: ClassVar[str] = "MIT"
    main_metric: ClassVar[str] = "p_gold"
    metrics: ClassVar[Mapping[str, str]] = {
        **rotations.METRICS,
        **closing_lines.METRICS,
        "acc": "share of questions whose gold answer has the highest log-probability",
        **METRICS,
    }
    default_pool: ClassVar[str] = "pubmedqa"
    dataset: ClassVar[Dataset] = DATASET
    stock: ClassVar[Stock] = Stock("pubmedqa", "pubmedqa", DOCUMENTS, closed=asked, found=final_decision)
    labels: ClassVar[tuple[str, ...]] = ANSWERS

    def notes(self, ctx: EvalContext) -> dict[str, float]:
        """What a blind guess scores, and the share of the commonest answer."""
        golds = Counter(row.get("final_decision") for row in ctx.source.rows(DATASET, "eval")[: ctx.limit])
        return {**super().notes(ctx), "majority": max(golds.values()) / golds.total()}


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [PubMedQA]
