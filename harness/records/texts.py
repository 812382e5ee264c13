"""Rows without their texts: for data that must not be copied, each text gives way to its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.contracts import SampleRow

HASHED = "sha256"
"""The only key of what stands in for a text."""
WORDS = frozenset({"pair", "role", "finish", "layout", "status"})
"""Parts of a row that are names of the harness's and no texts of anybody's: an id, a speaker, how an answer ended."""


def without_texts(rows: Sequence[SampleRow]) -> tuple[SampleRow, ...]:
    """The rows with the hash in place of every text. Ids, units and figures stay: a row is found by them."""
    return tuple(replace(row, detail={name: _hashed(name, part) for name, part in row.detail.items()}) for row in rows)


def is_hashed(value: object) -> bool:
    """Whether this stands in for a text."""
    return isinstance(value, dict) and set(value) == {HASHED}


def _hashed(name: str, value: Any) -> Any:
    if isinstance(value, str):
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
        return value if name in WORDS else {HASHED: digest}
    if isinstance(value, Mapping):
        return {key: _hashed(str(key), part) for key, part in value.items()}
    return [_hashed(name, part) for part in value] if isinstance(value, list | tuple) else value
