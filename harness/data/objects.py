"""Rows of JSON: one object a line, an array of objects, objects one after the other, or columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harness.contracts import HarnessError
from harness.data.texts import cut

Row = Mapping[str, Any]

WRAPPERS = ("data", "rows", "examples", "items", "instances", "pairs", "records")
"""Keys under which people put the rows of a JSON file that is one object."""
SPLITS = frozenset({"train", "test", "validation", "valid", "val", "dev", "eval"})
"""Keys under which an object holds the rows of each split; the rows then have a column `split`."""
_TRAILING = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
"""A text, to be left alone, or a comma that nothing follows."""


def parse_json(text: str, place: str) -> list[Row]:
    """The rows of a JSON text in any of the forms. Raises HarnessError naming `place`, and the line where it can."""
    if text.lstrip()[:1] == "[":
        return _objects(_whole(text, place), place)
    try:
        rows = list(parse_lines(text.split("\n"), place))
    except HarnessError:
        several = _several(text)
        if several is None:
            raise
        rows = _objects(several, place)
    return _unwrapped(rows[0], place) if len(rows) == 1 else rows


def parse_lines(lines: Iterable[str], place: str) -> Iterator[Row]:
    """One row for each line that is not blank (of nothing where it is null). Raises HarnessError naming the line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _loads(line.strip().removesuffix(","))
        except (ValueError, RecursionError) as error:
            raise HarnessError(f"{place}, line {number}: broken JSON ({cut(str(error))}): {cut(line)}") from error
        row = {} if row is None else row
        if not isinstance(row, dict):
            raise HarnessError(
                f"{place}, line {number}: a JSON object was expected, not {type(row).__name__}: {cut(line)}"
            )
        yield row


def _whole(text: str, place: str) -> Any:
    try:
        return _loads(text)
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{place} is not a readable JSON file: {cut(str(error))}") from error


def _loads(text: str) -> Any:
    """JSON, with a comma before a closing bracket forgiven: many tools write it."""
    try:
        return json.loads(text)
    except ValueError:
        mended = _TRAILING.sub(lambda found: found[1] or "", text)
        if mended == text:
            raise
        return json.loads(mended)


def _several(text: str) -> list[Any] | None:
    """Objects one after the other, each over several lines; None where they are no JSON."""
    decoder, values, at = json.JSONDecoder(), [], 0
    try:
        while at < len(text):
            blank = re.compile(r"[\s,]*").match(text, at)
            at = blank.end() if blank else at
            if at < len(text):
                value, at = decoder.raw_decode(text, at)
                values.append(value)
    except (ValueError, RecursionError):
        return None
    return values


def _objects(values: Any, place: str) -> list[Row]:
    """`values`, if it is a list of objects; one that is null is a row of nothing. Raises HarnessError."""
    for number, value in enumerate(values if isinstance(values, list) else [values], start=1):
        if value is not None and not isinstance(value, dict):
            kind = type(value).__name__
            raise HarnessError(f"{place}, element {number}: a JSON array of objects was expected, not of {kind}s")
    return [{} if value is None else value for value in values]


def _unwrapped(row: Row, place: str) -> list[Row]:
    """The rows that a single object holds: under a wrapper's key, as columns, or itself."""
    if row and all(name in SPLITS and _is_table(value) for name, value in row.items()):
        return [{"split": name, **item} for name, value in row.items() for item in value]
    for key in WRAPPERS:
        if _is_table(row.get(key)):
            return _objects(row[key], place)
    values = list(row.values())
    if len(values) > 1 and all(isinstance(value, dict) for value in values):
        columns = {name: list(value.values()) for name, value in row.items()}
        return _transposed(columns) if all(set(value) == set(values[0]) for value in values) else [row]
    plain = all(isinstance(value, list) and not any(isinstance(v, dict) for v in value) for value in values)
    return _transposed(row) if plain and len(values) > 1 else [row]


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _transposed(columns: Mapping[str, list[Any]]) -> list[Row]:
    height = max(map(len, columns.values()))
    if any(len(column) != height for column in columns.values()):
        return [columns]
    return [{name: column[index] for name, column in columns.items()} for index in range(height)]
