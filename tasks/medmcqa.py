"""MedMCQA (Indian medical entrance exams, four options): the right option's probability, and lm-eval's task `medmcqa`.

Pal et al. 2022, "MedMCQA: A Large-scale Multi-Subject Multi-Choice Dataset for Medical domain Question Answering",
arXiv:2203.14371; data MIT. The public test split has no gold letters, so `validation` is evaluated, as lm-eval does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.contracts import Dataset, Task
from harness.hookspecs import hookimpl
from tasks.datasets.closing import LETTERS
from tasks.datasets.medmcqa import DATASET, DOCUMENTS, asked
from tasks.lm_eval.stock import Stock, StockChoice
from tasks.measures import closing_lines, rotations
from tasks.measures.preference import METRICS


class MedMCQA(StockChoice):
    """Four-option medical questions; how likely does the model find the right one?"""

    name: ClassVar[str] = "medmcqa"
    paper: ClassVar[str] = "2203.14371"
    licence: ClassVar[str] = "MIT"
    main_metric: ClassVar[str] = "p_gold"
    metrics: ClassVar[Mapping[str, str]] = {
        **rotations.METRICS,
        **closing_lines.METRICS,
        "acc": "share of questions whose gold letter has the highest log-probability",
        "acc_norm": "the same, log-probability per character of the option as lm-eval defines it",
        **METRICS,
    }
    default_pool: ClassVar[str] = "medmcqa"
    dataset: ClassVar[Dataset] = DATASET
    stock: ClassVar[Stock] = Stock("medmcqa", "medmcqa", DOCUMENTS, split="validation", closed=asked)
    labels: ClassVar[tuple[str, ...]] = LETTERS


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [MedMCQA]
