"""GSM8K (grade-school word problems): exact match of the final number by lm-eval's stock task `gsm8k` and its filters.

Its filters compare texts: of a right answer they refuse `$18.00`, `18.` behind a box, `36/2`. A form that a method
teaches would pass for skill, so a metric of ours reads the number in any form.

Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", arXiv:2110.14168; data MIT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.contracts import Dataset, Task
from harness.hookspecs import hookimpl
from tasks.datasets.documents import Document
from tasks.datasets.final_numbers import final_number, number_in_any_dress
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
        "final_number": "share of problems whose final number is the answer, in any dress: `$18.00.`, a box, `36/2`",
        **METRICS,
    }
    default_pool: ClassVar[str] = "gsm8k"
    dataset: ClassVar[Dataset] = DATASET
    stock: ClassVar[Stock] = Stock("gsm8k", "gsm8k", DOCUMENTS)

    def readings(self, output: str, document: Document) -> dict[str, float]:
        """Whether the text's final number equals the gold one."""
        return {"final_number": float(number_in_any_dress(output) == final_number(document["answer"]))}


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [GSM8K]
