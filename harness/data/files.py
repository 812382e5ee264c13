"""Rows of files: JSON lines, JSON, CSV, Parquet, each also gzipped."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError

Row = Mapping[str, Any]


def _read_gzip(path: Path) -> list[Row]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            return list(parse_lines(handle, str(path)))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path} is not a whole gzip file of UTF-8 text: {error}") from error


def _read_lines(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8") as handle:
            return list(parse_lines(handle, str(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        return list(parquet.read_table(path).to_pylist())
    except (OSError, pyarrow.ArrowException) as error:
        raise HarnessError(f"{path} is not a readable Parquet file: {error}") from error


def _read_json(path: Path) -> list[Row]:
    """A JSON array of objects."""
    try:
        rows = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path} is not a readable JSON file: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise HarnessError(f"{path}: a JSON array of objects was expected")
    return rows


def _read_csv(path: Path) -> list[Row]:
    """Rows by the names in the first line; every value is a text."""
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HarnessError(f"{path} cannot be read as CSV of UTF-8 text: {error}") from error


READERS = {
    ".jsonl.gz": _read_gzip,
    ".jsonl": _read_lines,
    ".parquet": _read_parquet,
    ".json": _read_json,
    ".csv": _read_csv,
}


def read_file(path: Path) -> list[Row]:
    """Rows of one file, by its ending. Raises HarnessError for an empty or unreadable file."""
    ending = next(ending for ending in READERS if path.name.endswith(ending))
    return filled(READERS[ending](path), str(path))


def filled(rows: list[Row], place: str) -> list[Row]:
    """`rows`, unless there are none. Raises HarnessError naming `place`."""
    if not rows:
        raise HarnessError(f"{place} holds no rows; at least one was expected")
    return rows


def parse_lines(lines: Iterable[str], place: str) -> Iterator[Row]:
    """One row for each line that is not blank. Raises HarnessError naming `place` and the line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise HarnessError(f"{place}, line {number}: broken JSON ({error})") from error
        if not isinstance(row, dict):
            raise HarnessError(f"{place}, line {number}: a JSON object was expected, not {type(row).__name__}")
        yield row
