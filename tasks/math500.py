"""MATH-500 (competition problems with a boxed answer): lm-eval's stock task `minerva_math500`; math-verify counts.

Hendrycks et al. 2021, "Measuring Mathematical Problem Solving With the MATH Dataset", arXiv:2103.03874; the 500
problems are those of Lightman et al. 2023, "Let's Verify Step by Step", arXiv:2305.20050; data MIT. The data set has no
training split: methods train on `gsm8k`, and few-shot examples are the stock task's own four, on track `parity`.

math-verify reads LaTeX between dollar signs or in a box, and plain numbers anywhere. It reads neither `\\$18` nor most
LaTeX that stands bare behind "Final Answer:", the line that the pool `gsm8k` teaches: a metric of ours reads that line
as mathematics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.contracts import Dataset, Task
from harness.hookspecs import hookimpl
from tasks.datasets.documents import Document
from tasks.datasets.final_numbers import closing_line
from tasks.datasets.math500 import DATASET, DOCUMENTS
from tasks.lm_eval.stock import Stock, StockProblem
from tasks.measures.preference import METRICS


class Math500(StockProblem):
    """Competition problems; math-verify compares the answer in the generated text with the gold answer."""

    name: ClassVar[str] = "math500"
    paper: ClassVar[str] = "2305.20050"
    licence: ClassVar[str] = "MIT"
    main_metric: ClassVar[str] = "math_verify"
    metrics: ClassVar[Mapping[str, str]] = {
        "math_verify": "share of problems whose answer math-verify finds equal to the gold solution's",
        "exact_match": "the same by Minerva's rules, counting only what follows `Final Answer: The final answer is`",
        "final_answer": "as `math_verify`, what stands behind the last `Final Answer:` read as mathematics",
        **METRICS,
    }
    default_pool: ClassVar[str] = "gsm8k"
    dataset: ClassVar[Dataset] = DATASET
    stock: ClassVar[Stock] = Stock("minerva_math500", "minerva_math", DOCUMENTS)

    def readings(self, output: str, document: Document) -> dict[str, float]:
        """Whether math-verify finds the gold answer in the closing line, or in the text where it has none."""
        return {"final_answer": float(_equal(document["solution"], _closing(output)))}


def _closing(output: str) -> str:
    """The closing line between dollar signs, bare of full stop, bold type and currency; the whole text without one."""
    plain = output.replace("\\$", "")
    closing = (closing_line(plain) or "").strip(" *.$")
    return f"${closing}$" if closing else plain


def _equal(gold: str, answer: str) -> bool:
    from math_verify import parse, verify

    return bool(verify(gold=parse(gold), target=parse(answer)))


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [Math500]
