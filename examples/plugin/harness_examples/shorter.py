"""Judge `shorter`: of two answers the one with fewer words is better.

Under this rule a method wins if it only learns to be brief: a win rate is worth no more than its judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from harness.contracts import Judge, JudgeItem, Verdict
from harness.hookspecs import hookimpl


class Shorter:
    """Prefers the answer with fewer words; a tie is called a tie, and an answer without words loses."""

    name: ClassVar[str] = "shorter"
    version: ClassVar[str] = "1"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """1.0, 0.5 or 0.0 for every item. The rule has no order of reading, so `per_order` holds a single value."""
        return [verdict(item) for item in items]


def verdict(item: JudgeItem) -> Verdict:
    """P(a is better), with both numbers of words as the text of the judge."""
    a, b = (len(text.split()) for text in (item.a, item.b))
    if a == b:
        p = 0.5
    elif not (a and b):
        p = float(a > b)
    else:
        p = float(a < b)
    return Verdict(p, (p,), f"{a} and {b} words", tokens=0, cost=0.0)


@hookimpl
def harness_judges() -> list[type[Judge]]:
    """What this module adds to the harness."""
    return [Shorter]
