"""Whether two runs gave the same answers. Figures are left out of the comparison: their last digits differ anyway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.contracts import SampleRow

Values = Mapping[str, Mapping[str, float]]
"""Metric -> item -> value."""


def may_be_the_same(mine: Values, theirs: Values, main_metric: str) -> bool:
    """Whether every metric that says right or wrong is the same on every item; the main metric where there is none.

    Shares of probability move without any answer changing.
    """
    told = [name for name, values in mine.items() if _right_or_wrong(values)] or [main_metric]
    return all(mine.get(name) and mine[name] == theirs.get(name) for name in told)


def words(value: Any) -> Any:
    """An item's detail without numbers that have a fraction: what it says, not how surely."""
    if isinstance(value, Mapping):
        return {name: kept for name, part in value.items() if (kept := words(part)) is not None}
    if isinstance(value, list | tuple):
        return [words(part) for part in value]
    return None if isinstance(value, float) else value


def same_answers(rows: Sequence[SampleRow], others: Mapping[str, SampleRow], main_metric: str) -> bool:
    """Whether every row has the answer of the other run's row of the same id: texts and choices are compared.

    Where a task keeps no details all figures are.
    """
    if not rows or {row.id for row in rows} != set(others):
        return False
    mine, theirs = by_metric(rows), by_metric(others.values())
    if not may_be_the_same(mine, theirs, main_metric):
        return False
    said = {row.id: words(row.detail) for row in rows}
    return said == {name: words(row.detail) for name, row in others.items()} and (any(said.values()) or mine == theirs)


def by_metric(rows: Iterable[SampleRow]) -> dict[str, dict[str, float]]:
    """The rows' values by metric and item."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        for name, value in row.values.items():
            found.setdefault(name, {})[row.id] = value
    return found


def _right_or_wrong(values: Mapping[str, float]) -> bool:
    return set(values.values()) <= {0.0, 0.5, 1.0}
