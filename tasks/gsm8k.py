"""GSM8K (grade-school word problems): exact match of the final number by lm-eval's stock task `gsm8k` and its filters.

Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", arXiv:2110.14168; data MIT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.contracts import Dataset, Task
from harness.hookspecs import hookimpl
from tasks.datasets.gsm8k import DATASET, DOCUMENTS
from tasks.lm_eval.stock import Stock, StockProblem
from tasks.measures.preference import METRICS


class GSM8K(StockProblem):
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
    stock: ClassVar[Stock] = Stock("gsm8k", "gsm8k", DOCUMENTS)


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [GSM8K]
