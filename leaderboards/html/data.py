"""Samples as scripts: a page opened from a folder may load a script beside it, and no other kind of data.

`data/index.js` names the runs, `data/RUN-N.js` holds a hundred rows of one. A page loads what it shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError, SampleRow
from harness.records.samples import read_samples
from harness.records.schema import Record
from harness.util.hashes import content_hash
from leaderboards.folds import run_text
from leaderboards.html.safety import file_name, put, script_json, shown
from leaderboards.html.view import told_apart
from leaderboards.load import SAMPLES, Entry
from leaderboards.table import Setting, Table

CHUNK = 100
"""Rows of one script."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A run with samples, under the first table that shows it."""

    setting: Setting
    label: str
    record: Record
    items: str
    """Which items it answered: the same for runs that can stand side by side."""
    chunks: int
    """Scripts that hold its rows."""


def write_samples(tables: Sequence[Table], entries: Mapping[str, Entry], folder: Path) -> frozenset[str]:
    """Write the samples of all runs of the tables; returns the ids of the runs that have some.

    A run whose samples cannot be read has none here either.
    """
    runs = list(_written(tables, entries, folder))
    _write(folder / "index.js", "index", [_described(run, name) for run, name in zip(runs, _names(runs), strict=True)])
    return frozenset(run.record.id for run in runs)


def _written(tables: Sequence[Table], entries: Mapping[str, Entry], folder: Path) -> Iterator[_Run]:
    """Every run once, its rows written."""
    seen: set[str] = set()
    for table in tables:
        for row in table.rows:
            for name in row.records:
                if name in entries and name not in seen:
                    seen.add(name)
                    record, rows = entries[name].record, _rows(entries[name])
                    if rows:
                        chunks = _write_rows(record.id, rows, folder)
                        yield _Run(table.setting, row.label, record, _items(record, rows), chunks)


def _rows(entry: Entry) -> list[SampleRow]:
    try:
        return read_samples(entry.path / SAMPLES) if entry.samples is not None else []
    except HarnessError:  # its row says so in every table
        return []


def _items(record: Record, rows: Sequence[SampleRow]) -> str:
    return content_hash([record.task.name, record.task.revision, sorted(row.id for row in rows)])


def _write_rows(run: str, rows: Sequence[SampleRow], folder: Path) -> int:
    """Write the rows of a run; returns how many scripts hold them."""
    name = file_name(run)
    parts = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    for number, part in enumerate(parts):
        _write(folder / f"{name}-{number}.js", "rows", name, number, [_row(row) for row in part])
    return len(parts)


def _names(runs: Sequence[_Run]) -> list[str]:
    """What a reader chooses each run by: label, labels, seeds, and what tells it from others of the same."""
    plain = [f"{run.label}, {run.setting.labels} labels, {run_text(run.record)}" for run in runs]
    titles = [f"{run.record.task.name}: {name}" for run, name in zip(runs, plain, strict=True)]
    apart = told_apart([run.setting for run in runs], titles, without=["draw_seeds"])
    return [f"{name}, {what}" if what else name for name, what in zip(plain, apart, strict=True)]


def _described(run: _Run, name: str) -> dict[str, Any]:
    task = run.record.task
    return {
        "run": file_name(run.record.id),
        "name": shown(name),
        "label": shown(run.label),
        "task": shown(task.name),
        "items": run.items,
        "metric": shown(task.main_metric),
        "falling": task.main_metric in task.lower_is_better,
        "chunks": run.chunks,
    }


def _row(row: SampleRow) -> dict[str, Any]:
    return {"id": shown(row.id), "unit": shown(row.unit), "values": shown(row.values), "detail": shown(row.detail)}


def _write(path: Path, call: str, *arguments: Any) -> None:
    text = ", ".join(map(script_json, arguments))
    put(path, f"harnessSamples.{call}({text});\n".encode())
