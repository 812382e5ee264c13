"""Which rows of a table cannot be told from its best."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from harness.stats import average_seeds
from harness.stats.best import among_the_best
from leaderboards.load import Entry
from leaderboards.table import MethodRow, Table


def best_of(table: Table, entries: Mapping[str, Entry]) -> frozenset[str]:
    """Labels of the rows that the best cannot be told from, base and controls included.

    Rows without a score and degenerate rows are no candidates, nor are those that answered other items than the first
    row did. Empty where fewer than two rows are left, and for folds: their models share labels, and the set takes units
    for independent.
    """
    if table.setting.folds:
        return frozenset()
    candidates = [row for row in table.rows if table.setting.main_metric in row.metrics and not row.degenerate]
    values = {row.label: found for row in candidates if (found := main_values(table, row, entries))}
    if not values:
        return frozenset()
    items = next(iter(values.values())).keys()
    sign = -1 if table.setting.main_metric in table.lower_is_better else 1
    same = {
        label: {item: sign * value for item, value in found.items()}
        for label, found in values.items()
        if found.keys() == items
    }
    return among_the_best(same, units_of(table, entries)) if len(same) > 1 else frozenset()


def main_values(table: Table, row: MethodRow, entries: Mapping[str, Entry]) -> dict[str, float]:
    """The row's main metric by item, averaged over its seeds; empty where a seed of it has none."""
    runs = [_main(table, entry) for entry in scored(row, entries)]
    return average_seeds(runs) if runs and all(run.keys() == runs[0].keys() for run in runs) else {}


def scored(row: MethodRow, entries: Mapping[str, Entry]) -> list[Entry]:
    """The row's runs that its score is of."""
    return [entries[run] for run in row.scored if run in entries]


def units_of(table: Table, entries: Mapping[str, Entry]) -> dict[str, str]:
    """Independent unit of every item that a row of the table answered."""
    runs = chain.from_iterable(scored(row, entries) for row in table.rows)
    return {item: unit for entry in runs if entry.samples for item, unit in entry.samples.units.items()}


def _main(table: Table, entry: Entry) -> Mapping[str, float]:
    return entry.samples.values.get(table.setting.main_metric, {}) if entry.samples else {}
