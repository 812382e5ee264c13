"""Names for content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError


def content_hash(*parts: object) -> str:
    """sha256 (hex) of the parts as canonical JSON: key order, tuple or list, and platform make no difference.

    Raises HarnessError for a value that has no canonical form.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=plain)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hashes(folder: Path) -> dict[str, str]:
    """sha256 (hex) of every file below a folder, by its path there; empty where there is no folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def plain(value: Any) -> Any:
    """A JSON form for what `json` does not know."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return _plain_builtin(value)


def _plain_builtin(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, AbstractSet):
        return sorted(value, key=lambda item: json.dumps(item, default=plain))
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Sequence | Iterable):
        return list(value)
    if hasattr(value, "item"):
        return value.item()
    raise HarnessError(f"a {type(value).__name__} has no canonical JSON form; plain values were expected")


def seed_of(*parts: object) -> int:
    """A seed, below 2**31, that follows from the parts."""
    return int(content_hash(*parts)[:8], 16) >> 1
