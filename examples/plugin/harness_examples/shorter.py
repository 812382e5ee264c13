"""Judge `shorter`: of two answers the one with fewer words is better.

A rule as blunt as this shows what a table of win rates is worth: a method that only learns to be brief wins under it.
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
        """1.0, 0.5 or 0.0 for every item; the rule does not read them in an order, so one value stands behind it."""
        return [verdict(item) for item in items]


def verdict(item: JudgeItem) -> Verdict:
    """P(a better), and the two counts as what the judge said."""
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
