"""Leaderboards: finished runs in, tables out. They read records and samples, never a model.

tables(store) -> list[Table]    what may stand side by side, with intervals and paired tests
ranked(store) -> Ranking        the same, with the runs behind them
render(tables, form)            one text, form being one of FORMATS
write(tables, folder)           all texts as files, each whole or not at all

`html` makes a site of a ranking, `parquet` a file of all rows; `published` keeps records and their boards, `validate`
says whether a record holds what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.contracts import BASE, HarnessError
from harness.records.schema import Record
from harness.util.collector import paused
from harness.util.names import nearest
from harness.util.safe_text import cut
from leaderboards.judges import with_judges
from leaderboards.load import Entry, Samples, Scan, load, records, scan, with_samples
from leaderboards.rank import rank
from leaderboards.render import FORMATS, Format, from_json, json_schema, render, write
from leaderboards.settings import refuse_mixed, setting
from leaderboards.table import Cost, JudgeFigure, MethodRow, Metric, Provenance, Setting, Table, Versus

__all__ = [
    "FORMATS",
    "Cost",
    "Entry",
    "Format",
    "JudgeFigure",
    "MethodRow",
    "Metric",
    "Provenance",
    "Ranking",
    "Samples",
    "Scan",
    "Setting",
    "Table",
    "Versus",
    "from_json",
    "json_schema",
    "load",
    "rank",
    "ranked",
    "render",
    "scan",
    "tables",
    "write",
]

PARITY = "parity"
"""Track of runs that use another tool's examples: comparable with that tool, not with each other's budgets."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Tables, and the runs that they were made of."""

    tables: tuple[Table, ...]
    entries: Mapping[str, Entry]
    """By the run's id."""


def tables(
    store: Path | Sequence[Path],
    task: str | None = None,
    *,
    model: str | None = None,
    preset: str | None = None,
    source: str | None = None,
    single: bool = False,
    beside: Sequence[Record] = (),
) -> list[Table]:
    """Tables over the runs in a store or in several, narrowed to a task, model, budget preset or data source.

    A run that lies in several stores counts once.

    `beside` keeps only what stands in the tables of these runs; samples of all others stay closed. Runs of the track
    `parity` are left out. Unreadable runs are skipped and named in every table's `warnings`. Raises HarnessError when
    there is no run, when a choice matches none, and, with `single`, when the runs that were chosen do not fit into one
    table.
    """
    found = ranked(store, task, model=model, preset=preset, source=source, beside=beside)
    if single:
        refuse_mixed([table.setting for table in found.tables])
    return list(found.tables)


@paused()
def ranked(
    store: Path | Sequence[Path],
    task: str | None = None,
    *,
    model: str | None = None,
    preset: str | None = None,
    source: str | None = None,
    beside: Sequence[Record] = (),
) -> Ranking:
    """`tables`, with the runs behind them: for whatever needs more of a run than its row tells."""
    stores = [store] if isinstance(store, Path) else list(store)
    everything, warnings = _everything(stores)
    found = {folder: record for folder, record in everything.items() if record.budget.track != PARITY}
    if not found:
        raise HarnessError(_nothing(stores, len(everything), warnings))
    wanted = {"task": task, "model": model, "preset": preset, "source": source}
    for name, choice in wanted.items():
        if choice is not None:
            found = _narrow(found, name, choice)
    if beside:
        found = _beside(found, beside)
    entries = with_samples(found)
    made = [table for table in rank(entries) if preset in (None, table.setting.preset)]
    if beside:
        made = [table for table in made if _holds_one_of(table, beside)]
    known = with_judges(made, stores)
    complete = tuple(replace(table, warnings=(*table.warnings, *warnings)) for table in known)
    return Ranking(complete, {entry.record.id: entry for entry in entries})


def _everything(stores: Sequence[Path]) -> tuple[dict[Path, Record], list[str]]:
    """The records of all stores by their folders, the first store's where several have a run, and the warnings."""
    found: dict[str, tuple[Path, Record]] = {}
    warnings: list[str] = []
    for store in stores:
        here, problems = records(store)
        warnings += problems
        for folder, record in here.items():
            found.setdefault(record.id, (folder, record))
    return dict(found.values()), warnings


def _beside(found: Mapping[Path, Record], chosen: Sequence[Record]) -> dict[Path, Record]:
    """The runs of the same settings, whatever their draws, and on the same tasks those of base and of files."""
    keys, tasks = {setting(record, ()).key() for record in chosen}, {record.task.name for record in chosen}
    return {
        folder: record
        for folder, record in found.items()
        if (_serves_all(record) and record.task.name in tasks) or setting(record, ()).key() in keys
    }


def _holds_one_of(table: Table, chosen: Sequence[Record]) -> bool:
    """Whether a table has a method, or one of these runs: base of other settings by itself is none of theirs."""
    ids = {record.id for record in chosen}
    return any(row.role not in ("base", "outputs") or not ids.isdisjoint(row.records) for row in table.rows)


def _serves_all(record: Record) -> bool:
    """Whether a run stands in tables of any budget: base, and outputs from a file."""
    return record.aligner.name == BASE or record.outputs is not None


def _facts(record: Record) -> Mapping[str, str]:
    """What runs are chosen by."""
    return {
        "task": record.task.name,
        "model": record.model.name,
        "preset": record.budget.preset,
        "source": record.data.source,
    }


def _narrow(found: Mapping[Path, Record], name: str, choice: str) -> dict[Path, Record]:
    """Records of one task (model, ...). The base model and files serve every budget, so a preset never drops them."""
    known = sorted({_facts(record)[name] for record in found.values()})
    if choice not in known:
        raise HarnessError(f"no run has {name} {cut(choice)}; {nearest(choice, known, label='runs there have')}")
    return {
        folder: record
        for folder, record in found.items()
        if _facts(record)[name] == choice or (name == "preset" and _serves_all(record))
    }


def _nothing(stores: Sequence[Path], runs: int, warnings: Sequence[str]) -> str:
    store = " or ".join(map(str, stores))
    if runs:
        why = f"all {runs} runs in {store} are of the track {PARITY}, which enters no leaderboard"
    elif warnings:
        why = f"no readable run in {store} ({'; '.join(warnings)})"
    else:
        why = f"no run in {store}"
    return f"{why}; make one with: python -m harness run --aligner gem --task medqa --store {stores[0]}"
