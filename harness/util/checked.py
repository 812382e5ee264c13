"""Files that say whether they are still what was written: by a first line with the sha256 of the rest, or in JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from harness.util.files import write_atomic, write_json
from harness.util.hashes import content_hash

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
    """Write a JSON value beside its hash; floats keep every digit, also those that are not finite."""
    plain = json.loads(json.dumps(value))
    write_json(path, {"value": plain, "hash": content_hash(plain)})


def read_checked_json(path: Path) -> Any | None:
    """The value of `write_checked_json`, None where there is no file. Raises `Damaged` for any other file."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path.name} is not what was written") from error
    if (
        not isinstance(found, dict)
        or found.keys() != {"value", "hash"}
        or found["hash"] != content_hash(found["value"])
    ):
        raise Damaged(f"{path.name} is not what was written")
    return found["value"]


def demanded_json(path: Path) -> Any:
    """`read_checked_json` for a file that must be there."""
    value = read_checked_json(path)
    if value is None:
        raise Damaged(f"{path.name} is gone")
    return value


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
