"""Rows of tables: CSV in any dialect, Parquet, Arrow."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError
from harness.data.texts import cut, read_bytes, read_text

Row = Mapping[str, Any]

EXTRA = "(more fields than the first line names)"
"""Key of what stands in a row of a CSV file beyond its last column: an answer that was not quoted."""
_DELIMITERS = ",;\t|"
_LOOKED_AT = 50
"""Rows by which a dialect is judged."""
_FIELD_LIMIT = 2**31 - 1
_EXCEL = re.compile(r"\Asep=(?P<delimiter>.)\r?\n")
"""The line by which Excel says what separates fields."""


def read_csv(path: Path) -> list[Row]:
    """Rows by the names in the first line; every value is a text, or None where a row ends early.

    The delimiter is the one of comma, semicolon, tab and bar that divides the rows most evenly. Raises HarnessError
    where a quotation never ends.
    """
    text = read_text(path)
    named = _EXCEL.match(text)
    if named:
        text = text[named.end() :]
    delimiter = named["delimiter"] if named else _delimiter(text)
    with _long_fields():
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise HarnessError(f"{path}: a quotation mark is opened and never closed; CSV was expected") from error
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    return list(_named(rows))


def _named(rows: list[list[str]]) -> Iterator[Row]:
    filled = (row for row in rows if any(field.strip() for field in row))
    header = [name.strip() for name in next(filled, [])]
    for row in filled:
        fields: dict[str, Any] = dict(zip(header, [*row, *[None] * len(header)], strict=False))
        if any(field.strip() for field in row[len(header) :]):
            fields[EXTRA] = row[len(header) :]
        yield fields


def _delimiter(text: str) -> str:
    """The candidate under which most rows have as many fields as the first, and the first has several."""
    scores = []
    for delimiter in _DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        with _long_fields():
            rows = [row for _, row in zip(range(_LOOKED_AT), reader, strict=False) if row]
        width = len(rows[0]) if rows else 0
        even = sum(len(row) == width for row in rows) / max(len(rows), 1)
        scores.append((width > 1, even, width))
    return _DELIMITERS[scores.index(max(scores))]


@contextmanager
def _long_fields() -> Iterator[None]:
    """Answers may be longer than the 131,072 characters that `csv` takes for a sign of a wrong dialect."""
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_parquet(path: Path) -> list[Row]:
    """Rows of a Parquet file. Raises HarnessError for a damaged one."""
    import pyarrow
    from pyarrow import parquet

    data = read_bytes(path)
    try:
        return list(parquet.ParquetFile(pyarrow.BufferReader(data)).read().to_pylist())
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise HarnessError(f"{path} is not a readable Parquet file: {cut(str(error))}") from error


def read_arrow(path: Path) -> list[Row]:
    """Rows of an Arrow file, as a stream (what `datasets` saves) or with a footer. Raises HarnessError if damaged."""
    import pyarrow
    from pyarrow import ipc

    data = pyarrow.BufferReader(read_bytes(path))
    try:
        try:
            table = ipc.open_stream(data).read_all()
        except pyarrow.ArrowInvalid:
            table = ipc.open_file(data).read_all()
        return list(table.to_pylist())
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise HarnessError(f"{path} is not a readable Arrow file: {cut(str(error))}") from error
