"""Whether two runs gave the same answers: in words, where figures may differ, and to the last digit.

Equal words mean that a fit changed no answer. Equal digits, where weights moved, mean that its adapter may not have
been applied at all.
"""

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


def unmoved(rows: Sequence[SampleRow], base: Mapping[str, SampleRow] | None, change: float | None) -> tuple[str, ...]:
    """One sentence where weights moved by `change` and every item is answered exactly as by the base model.

    Exactly: all values and details that both rows have, log-probabilities to the last digit. Items that base has not
    answered say nothing.
    """
    shared = [row for row in rows if base is not None and row.id in base]
    if base is None or not change or not shared or not all(_same_to_the_digit(row, base[row.id]) for row in shared):
        return ()
    return (
        f"the fit moved the adapter's weights by {change:.3g}, and all {len(shared)} items are answered exactly as by "
        "the base model: the adapter may not have been applied",
    )


def by_metric(rows: Iterable[SampleRow]) -> dict[str, dict[str, float]]:
    """The rows' values by metric and item."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        for name, value in row.values.items():
            found.setdefault(name, {})[row.id] = value
    return found


def _right_or_wrong(values: Mapping[str, float]) -> bool:
    return set(values.values()) <= {0.0, 0.5, 1.0}


def _same_to_the_digit(row: SampleRow, base: SampleRow) -> bool:
    pairs = ((row.values, base.values), (row.detail, base.detail))
    return all(ours[key] == theirs[key] for ours, theirs in pairs for key in ours.keys() & theirs.keys())
