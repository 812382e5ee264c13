"""Liveness: did the loss fall, and does it matter whose context is read?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from aligners.gpo.result import Reader
from aligners.gpo.sources import Contexts
from aligners.gpo.training import Spender, Training
from harness.opinions.questions import Question
from harness.util.maths import softmax

MIN_SENSITIVITY = 1e-3
"""Least sensitivity of a module that learned from groups, which differ little."""
MIN_SENSITIVITY_WITH_PAIRS = 0.05
"""Of one that learned from pairs: on unseen texts 0.001 to 0.012 where labels were fixed, above 0.5 where it reads."""


def report(training: Training, moved: float | None, spend: Spender) -> None:
    """Tell the loss before and after, and by how much exchanged contexts move predictions (`sensitivity`).

    `moved` is None where nothing can be swapped. `spend` is told what looking costs.
    """
    start, end = training.judge(spend)
    figures = {"steps": float(len(training.losses)), "loss_start": start, "loss_end": end}
    reason = None if end < start else f"the loss did not fall: {start:.4f} at the start, {end:.4f} at the end"
    if moved is not None:
        figures["context_sensitivity"] = moved
        if moved < (MIN_SENSITIVITY if training.table.pairs is None else MIN_SENSITIVITY_WITH_PAIRS):
            reason = f"the module ignores its context: swapped, it moves predictions by {moved:.1e} on average"
    training.bench.liveness(degenerate=reason, **figures)


def sensitivity(
    reader: Reader, questions: Sequence[Question], sides: tuple[Contexts, Contexts], spend: Spender
) -> float:
    """Mean |p(own context) - p(swapped context)| over all options of `questions` and all contexts."""
    found = []
    for contexts in sides:
        tokens = {name: reader.view.tokens(context) for name, context in contexts.items()}
        one = replace(reader, contexts=tokens)
        for name in tokens:
            spend(one.flops(questions, name))
        found.append([p for name in tokens for mu in one.mu(questions, name) for p in softmax(mu)])
    return fmean(abs(a - b) for a, b in zip(*found, strict=True))
