"""MATH-500 (competition problems with a boxed answer): lm-eval's stock task `minerva_math500`; math-verify counts.

Hendrycks et al. 2021, "Measuring Mathematical Problem Solving With the MATH Dataset", arXiv:2103.03874; the 500
problems are those of Lightman et al. 2023, "Let's Verify Step by Step", arXiv:2305.20050; data MIT. The data set has no
training split: methods train on `gsm8k`, and few-shot examples are the stock task's own four, on track `parity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.contracts import Dataset, Task
from harness.hookspecs import hookimpl
from tasks.datasets.math500 import DATASET, DOCUMENTS
from tasks.lm_eval.stock import Stock, StockProblem
from tasks.measures.preference import METRICS


class Math500(StockProblem):
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
    stock: ClassVar[Stock] = Stock("minerva_math500", "minerva_math", DOCUMENTS)


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [Math500]
