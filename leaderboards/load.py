"""Read finished runs: `<store>/<id>/record.json` and `<store>/<id>/samples.parquet`, and nothing else.

A run that cannot be read is named in `Scan.warnings` and left out; it never stops the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError
from harness.records.schema import Record
from harness.records.verify import check_files, read_record

_PREFIX = "value."
SAMPLES = "samples.parquet"


@dataclass(frozen=True, slots=True)
class Samples:
    """Per-item figures of one run."""

    units: Mapping[str, str]
    """Item -> independent unit."""
    values: Mapping[str, Mapping[str, float]]
    """Metric -> item -> value; an item that a metric does not apply to is absent."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One run; `samples` is None where the file is missing or damaged, and `problem` then says why."""

    path: Path
    record: Record
    samples: Samples | None
    problem: str | None = None

    @property
    def folder(self) -> str:
        """The name of the run's folder."""
        return self.path.name


@dataclass(frozen=True, slots=True)
class Scan:
    """What a store holds, and what in it could not be read."""

    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]


def load(store: Path) -> list[Entry]:
    """Every readable run below `store`, by folder name; see `scan` for what was skipped."""
    return list(scan(store).entries)


def scan(store: Path, wanted: Callable[[Record], bool] = lambda record: True) -> Scan:
    """Read the runs whose record is `wanted`; samples of the others are not opened."""
    found, warnings = records(store)
    return Scan(tuple(with_samples({folder: record for folder, record in found.items() if wanted(record)})), warnings)


def records(store: Path) -> tuple[dict[Path, Record], tuple[str, ...]]:
    """The records of a store by their folders, in the order of names, and what could not be read."""
    found: dict[Path, Record] = {}
    warnings: list[str] = []
    for folder in sorted(p for p in store.glob("[!.]*") if (p / "record.json").is_file()):
        try:
            record = read_record(folder)
        except HarnessError as error:
            warnings.append(f"skipped {folder.name}: {error}")
            continue
        if record is not None:
            found[folder] = record
    return found, tuple(warnings)


def with_samples(found: Mapping[Path, Record]) -> list[Entry]:
    """The runs with their samples, all read in one go."""
    expected = [
        folder / SAMPLES for folder, record in found.items() if record.status != "failed" or (folder / SAMPLES).exists()
    ]
    known = _all_samples(expected)
    return [_entry(folder, record, known) for folder, record in found.items()]


def _entry(folder: Path, record: Record, known: Mapping[Path, Samples]) -> Entry:
    path = folder / SAMPLES
    if record.status == "failed" and not path.exists():
        return Entry(folder, record, None)
    try:
        if SAMPLES in record.manifest.files:
            check_files(folder, record, SAMPLES)
        return Entry(folder, record, known[path] if path in known else read_samples(path))
    except HarnessError as error:
        return Entry(folder, record, None, f"{folder.name}: {error}")


def _all_samples(paths: Sequence[Path]) -> dict[Path, Samples]:
    """What one query over all files gives; empty where a file among them is damaged, and each is then read alone."""
    import duckdb

    there = [str(path) for path in paths if path.is_file()]
    if not there:
        return {}
    source = "read_parquet(?, filename = true, union_by_name = true)"
    query = f"select filename, id, unit, columns('^{re.escape(_PREFIX)}') from {source}"
    try:
        with duckdb.connect(config={"threads": 1}) as base:  # one thread keeps the rows in the order of the files
            columns = base.execute(query, [there]).fetchnumpy()
    except duckdb.Error:
        return {}
    return dict(_by_file(columns))


def _by_file(columns: Mapping[str, Any]) -> Iterator[tuple[Path, Samples]]:
    """Cut the rows of a query where the file changes. Rows that are no samples are left to `read_samples`."""
    names = columns["filename"].tolist()
    starts = [0, *(i for i in range(1, len(names)) if names[i] is not names[i - 1] and names[i] != names[i - 1])]
    lists = {name: column.tolist() for name, column in columns.items()}
    for start, stop in zip(starts, [*starts[1:], len(names)], strict=True):
        part = {name: column[start:stop] for name, column in lists.items()}
        path = Path(part.pop("filename")[0])
        with suppress(HarnessError):
            yield path, _samples(path, part)


def read_samples(path: Path) -> Samples:
    """The `id`, `unit` and `value.<metric>` columns of a samples file (the texts in `detail` are not read).

    Raises HarnessError when the file is missing, damaged, or names an item twice.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise HarnessError(f"{path.name} is missing")
    try:
        with pq.ParquetFile(path) as file:
            names = [n for n in file.schema_arrow.names if n in ("id", "unit") or n.startswith(_PREFIX)]
            columns: dict[str, list[Any]] = file.read(columns=names).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise HarnessError(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from error
    return _samples(path, columns)


def _samples(path: Path, columns: Mapping[str, list[Any]]) -> Samples:
    if "id" not in columns or "unit" not in columns:
        raise HarnessError(f"{path.name} has no column id or unit")
    ids: list[str] = columns["id"]
    if len(set(ids)) != len(ids):
        twice = next(item for item in ids if ids.count(item) > 1)
        raise HarnessError(f"{path.name} names item {twice!r} twice")
    values = {
        name.removeprefix(_PREFIX): {item: float(v) for item, v in zip(ids, column, strict=True) if v is not None}
        for name, column in columns.items()
        if name.startswith(_PREFIX)
    }
    return Samples(
        dict(zip(ids, columns["unit"], strict=True)), {name: found for name, found in values.items() if found}
    )
