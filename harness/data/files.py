"""Rows of files: JSON in its forms, CSV in its dialects, Parquet, Arrow; text also packed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError
from harness.data.objects import parse_json, parse_lines
from harness.data.tables import read_arrow, read_csv, read_parquet
from harness.data.texts import PACKED, read_text

Row = Mapping[str, Any]


def _read_json(path: Path) -> list[Row]:
    text = read_text(path)
    return parse_json(text, str(path)) if text.strip() else []


_TEXTS: dict[str, Callable[[Path], list[Row]]] = {
    ".jsonl": _read_json,
    ".json": _read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".ndjson": _read_json,
}
READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".jsonl.gz": _read_json,
    ".jsonl": _read_json,
    ".parquet": read_parquet,
    ".json": _read_json,
    ".csv": read_csv,
    ".arrow": read_arrow,
    **_TEXTS,
    **{f"{ending}{packed}": read for packed in PACKED for ending, read in _TEXTS.items()},
}
"""Reader by ending. Of two files that differ by the ending alone, the first of these is read."""
SHOWN_ENDINGS = ".jsonl, .json, .csv, .tsv (each also .gz, .zst, .bz2, .xz), .parquet, .arrow"


def ending_of(name: str) -> str | None:
    """The ending by which a file's rows are read, as it stands in `READERS`; None where it has none of them."""
    known = [ending for ending in READERS if name.lower().endswith(ending)]
    return max(known, key=len) if known else None


def stem_of(name: str) -> str:
    """A file's name without the ending by which its rows are read."""
    return name[: len(name) - len(ending_of(name) or "")]


def read_file(path: Path) -> list[Row]:
    """Rows of one file, by its ending. Raises HarnessError for an empty or unreadable file."""
    return filled(READERS[ending_of(path.name) or ".jsonl"](path), str(path))


def filled(rows: list[Row], place: str) -> list[Row]:
    """`rows`, unless there are none. Raises HarnessError naming `place`."""
    if not rows:
        raise HarnessError(f"{place} holds no rows; at least one was expected")
    return rows


__all__ = ["READERS", "SHOWN_ENDINGS", "Row", "ending_of", "filled", "parse_lines", "read_file", "stem_of"]
