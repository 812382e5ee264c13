"""Samples as scripts: a page opened from a folder may load a script beside it, and no other kind of data.

`data/index.js` names the runs, `data/RUN-N.js` holds a hundred rows of one. A page loads what it shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError, SampleRow
from harness.records.samples import read_samples
from harness.util.hashes import content_hash
from leaderboards.folds import run_text
from leaderboards.html.safety import file_name, put, script_json, shown
from leaderboards.load import SAMPLES, Entry
from leaderboards.table import Table

CHUNK = 100
"""Rows of one script."""


def write_samples(tables: Sequence[Table], entries: Mapping[str, Entry], folder: Path) -> None:
    """Write the samples of all runs of the tables. A run whose samples cannot be read has none here either."""
    found = [_written(entry, label, table, folder) for table, label, entry in _runs(tables, entries)]
    _write(folder / "index.js", "index", [run for run in found if run is not None])


def _runs(tables: Sequence[Table], entries: Mapping[str, Entry]) -> Iterator[tuple[Table, str, Entry]]:
    """Every run once, base under the first table that shows it."""
    seen: set[str] = set()
    for table in tables:
        for row in table.rows:
            for name in row.records:
                if name in entries and name not in seen:
                    seen.add(name)
                    yield table, row.label, entries[name]


def _written(entry: Entry, label: str, table: Table, folder: Path) -> dict[str, Any] | None:
    try:
        rows = read_samples(entry.path / SAMPLES) if entry.samples is not None else []
    except HarnessError:  # its row says so in every table
        rows = []
    if not rows:
        return None
    name, record = file_name(entry.record.id), entry.record
    parts = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    for number, part in enumerate(parts):
        _write(folder / f"{name}-{number}.js", "rows", name, number, [_row(row) for row in part])
    return {
        "run": name,
        "label": shown(label),
        "task": shown(record.task.name),
        "items": content_hash([record.task.revision, sorted(row.id for row in rows)]),
        "labels": table.setting.labels,
        "seeds": run_text(record),
        "metric": shown(record.task.main_metric),
        "falling": record.task.main_metric in record.task.lower_is_better,
        "rows": len(rows),
        "chunks": len(parts),
    }


def _row(row: SampleRow) -> dict[str, Any]:
    return {"id": shown(row.id), "unit": shown(row.unit), "values": shown(row.values), "detail": shown(row.detail)}


def _write(path: Path, call: str, *arguments: Any) -> None:
    text = ", ".join(map(script_json, arguments))
    put(path, f"harnessSamples.{call}({text});\n".encode())
