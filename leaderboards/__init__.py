"""Leaderboards: finished runs in, tables out. They read records and samples, never a model.

tables(store) -> list[Table]          what may stand side by side, with intervals and paired tests
render(tables, "md" | "csv" | "json") one text
write(tables, folder)                 all three files, each whole or not at all
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from harness.contracts import BASE, HarnessError
from harness.records.schema import Record
from harness.util.names import nearest
from harness.util.safe_text import cut
from leaderboards.judges import with_judges
from leaderboards.load import Entry, Samples, Scan, load, scan
from leaderboards.rank import rank, refuse_mixed
from leaderboards.render import FORMATS, Format, from_json, json_schema, render, write
from leaderboards.table import Cost, JudgeFigure, Metric, Provenance, Row, Setting, Table

__all__ = [
    "FORMATS",
    "Cost",
    "Entry",
    "Format",
    "JudgeFigure",
    "Metric",
    "Provenance",
    "Row",
    "Samples",
    "Scan",
    "Setting",
    "Table",
    "from_json",
    "json_schema",
    "load",
    "rank",
    "render",
    "scan",
    "tables",
    "write",
]

PARITY = "parity"
"""Track of runs that use another tool's examples: comparable with that tool, not with each other's budgets."""


def tables(
    store: Path,
    task: str | None = None,
    *,
    model: str | None = None,
    preset: str | None = None,
    source: str | None = None,
    single: bool = False,
) -> list[Table]:
    """Tables over the runs in `store`, narrowed to a task, model, budget preset or data source.

    Runs of the track `parity` are left out. Unreadable runs are skipped and named in every table's `warnings`.
    Raises HarnessError when there is no run, when a choice matches none, and, with `single`, when the runs that were
    chosen do not fit into one table.
    """
    found = scan(store)
    entries = [entry for entry in found.entries if entry.record.budget.track != PARITY]
    if not entries:
        raise HarnessError(_nothing(store, found))
    wanted = {"task": task, "model": model, "preset": preset, "source": source}
    for name, choice in wanted.items():
        if choice is not None:
            entries = _narrow(entries, name, choice)
    made = [table for table in rank(entries) if preset in (None, table.setting.preset)]
    if single:
        refuse_mixed([table.setting for table in made])
    known = with_judges(made, store)
    return [replace(table, warnings=(*table.warnings, *found.warnings)) for table in known]


def _facts(record: Record) -> Mapping[str, str]:
    """What runs are chosen by."""
    return {
        "task": record.task.name,
        "model": record.model.name,
        "preset": record.budget.preset,
        "source": record.data.source,
    }


def _narrow(entries: Iterable[Entry], name: str, choice: str) -> list[Entry]:
    """Entries of one task (model, ...). The base model serves every budget, so a preset never drops it."""
    pool = list(entries)
    known = sorted({_facts(entry.record)[name] for entry in pool})
    if choice not in known:
        raise HarnessError(f"no run has {name} {cut(choice)}; {nearest(choice, known, label='runs there have')}")
    serves_all = name == "preset"
    return [
        entry
        for entry in pool
        if _facts(entry.record)[name] == choice or (serves_all and entry.record.aligner.name == BASE)
    ]


def _nothing(store: Path, found: Scan) -> str:
    if found.entries:
        why = f"all {len(found.entries)} runs in {store} are of the track {PARITY}, which enters no leaderboard"
    elif found.warnings:
        why = f"no readable run in {store} ({'; '.join(found.warnings)})"
    else:
        why = f"no run in {store}"
    return f"{why}; make one with: python -m harness run --aligner gem --task medqa --store {store}"
