"""A control: the judge that reads nothing. Agreement figures of other judges are read against its."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from harness.contracts import Judge, JudgeItem, Verdict
from harness.hookspecs import hookimpl


class Constant:
    """Calls every pair a tie (a control: what a judge that reads nothing gets)."""

    name: ClassVar[str] = "constant"
    version: ClassVar[str] = "1"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """0.5 for every item."""
        return [Verdict(0.5, (0.5, 0.5), "", 0, 0.0) for _ in items]


@hookimpl
def harness_judges() -> list[type[Judge]]:
    """The judge of this module."""
    return [Constant]
