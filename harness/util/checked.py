"""Files that say whether they are still what was written: their first line is the sha256 of the rest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from harness.util.files import write_atomic

DIGITS = 64


class Damaged(Exception):
    """A file that is not what was written: cut short, changed, or gone while what goes with it is there."""


def write_checked(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, the digest of `content` before it."""
    write_atomic(path, _digest(content) + b"\n" + content)


def read_checked(path: Path) -> bytes | None:
    """The content of a file of `write_checked`, None where there is none. Raises `Damaged` for any other file."""
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, content = whole[:DIGITS], whole[DIGITS + 1 :]
    if whole[DIGITS : DIGITS + 1] != b"\n" or digest != _digest(content):
        raise Damaged(f"{path.name} is not what was written")
    return content


def demanded(path: Path) -> bytes:
    """`read_checked` for a file that must be there: what goes with it is."""
    content = read_checked(path)
    if content is None:
        raise Damaged(f"{path.name} is gone")
    return content


def write_checked_json(path: Path, value: Any) -> None:
    """`write_checked` for a JSON value; floats keep every digit, also those that are not finite."""
    write_checked(path, (json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n").encode())


def read_checked_json(path: Path) -> Any | None:
    """The value of `write_checked_json`, None where there is no file. Raises `Damaged` for any other file."""
    content = read_checked(path)
    return None if content is None else json.loads(content)


def line_of(content: bytes) -> bytes:
    """`content` behind its digest and a space, as a line of a log whose every line is checked."""
    return _digest(content) + b" " + content


def content_of(line: bytes) -> bytes | None:
    """What `line_of` was given; None for a line that is not what was written."""
    digest, content = line[:DIGITS], line[DIGITS + 1 :]
    return content if line[DIGITS : DIGITS + 1] == b" " and digest == _digest(content) else None


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
