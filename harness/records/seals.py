"""JSON files that say whether they are still what was written: a hash of the rest stands in `seal`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError
from harness.util.files import write_json
from harness.util.hashes import content_hash

SEAL = "seal"


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value with its seal; a seal that it had is replaced."""
    plain = json.loads(json.dumps({key: part for key, part in value.items() if key != SEAL}))
    return {**plain, SEAL: content_hash(plain)}


def check_seal(value: object, name: str) -> dict[str, Any]:
    """The value less its seal. Raises HarnessError where it has none, or is not what was written."""
    if not isinstance(value, dict):
        raise HarnessError(f"{name} is not a JSON object")
    plain = {key: part for key, part in value.items() if key != SEAL}
    if value.get(SEAL) != content_hash(plain):
        raise HarnessError(f"{name} {'is not what was written' if value.get(SEAL) else 'has no seal'}")
    return plain


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a value with its seal, whole or not at all."""
    write_json(path, sealed(value))


def read_sealed(path: Path) -> dict[str, Any] | None:
    """The value of a sealed file, None where there is none. Raises HarnessError for one that is damaged or changed."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise HarnessError(f"{path.name} is not readable JSON ({error})") from error
    return check_seal(value, path.name)
