"""MedQA (USMLE, four options): the right option's probability as trained, and accuracy by lm-eval's stock task.

Prompts of the stock task are those of `medqa_4options`, byte for byte. Preference accuracy on the pool's held-out pairs
stands beside them.

Jin et al. 2020, "What Disease does this Patient Have?", arXiv:2009.13081; data MIT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.contracts import Dataset, Task
from harness.hookspecs import hookimpl
from tasks.datasets.closing import LETTERS
from tasks.datasets.medqa import DATASET, DOCUMENTS, asked
from tasks.lm_eval.stock import Stock, StockChoice
from tasks.measures import closing_lines, rotations
from tasks.measures.preference import METRICS


class MedQA(StockChoice):
    """Four-option medical questions; how likely does the model find the right one?"""

    name: ClassVar[str] = "medqa"
    paper: ClassVar[str] = "2009.13081"
    licence: ClassVar[str] = "MIT"
    main_metric: ClassVar[str] = "p_gold"
    metrics: ClassVar[Mapping[str, str]] = {
        **rotations.METRICS,
        **closing_lines.METRICS,
        "acc": "share of questions whose gold letter has the highest log-probability",
        "acc_norm": "the same, log-probability per character of the option as lm-eval defines it",
        **METRICS,
    }
    default_pool: ClassVar[str] = "medqa"
    dataset: ClassVar[Dataset] = DATASET
    stock: ClassVar[Stock] = Stock("medqa_4options", "medqa", DOCUMENTS, closed=asked)
    labels: ClassVar[tuple[str, ...]] = LETTERS


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [MedQA]
