"""Runs that a newer run of the same cell replaces: tables count the newer one, and pages still show them.

Base is run once for each state of the code, so that a board of two commits has two runs of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.contracts import BASE
from harness.records.schema import Record
from leaderboards import Ranking
from leaderboards.folds import place
from leaderboards.load import Entry
from leaderboards.settings import method_of, setting, shares_base
from leaderboards.table import MethodRow, Table


@dataclass(frozen=True, slots=True)
class Replaced:
    """A run that no row counts, and where the one that replaces it stands."""

    entry: Entry
    by: str
    table: Table
    row: MethodRow


def replaced(found: Ranking) -> Iterator[Replaced]:
    """Every run that a table would count if there were no newer one."""
    counted = [(table, row, run) for table in found.tables for row in table.rows for run in row.records]
    known = {run for _, _, run in counted}
    for entry in (entry for run, entry in found.entries.items() if run not in known):
        for table, row, run in counted:
            if _same_cell(entry.record, found.entries[run].record, table):
                yield Replaced(entry, run, table, row)
                break


def _same_cell(record: Record, other: Record, table: Table) -> bool:
    if place(record) != place(other) or method_of(record, ()) != method_of(other, ()):
        return False
    if record.aligner.name == BASE or record.outputs is not None:
        return shares_base(record, table.setting)
    return setting(record, ()).key() == setting(other, ()).key()
