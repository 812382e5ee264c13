"""JSON that this program wrote itself: damage is told apart from a form that another version of it writes.

What is no JSON object is damaged. An object that does not fit the model has other fields, or other values in them, than
this version knows: it came of another version, and is as good as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.contracts import HarnessError

MOST = 3
"""Differences that a message names."""

M = TypeVar("M", bound=BaseModel)


class OtherVersion(HarnessError):
    """A file that another version of this program wrote: `what` says which and how it differs, `remedy` what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what, self.remedy = what, remedy


def other_version(name: str, how: str, remedy: str) -> OtherVersion:
    """What to raise for a file of this name that differs in the way `how`."""
    return OtherVersion(f"{name} was written by another version of harness ({how})", remedy)


def other_format(name: str, found: object, read: int, remedy: str) -> OtherVersion:
    """The same for a file that says which format it has, and this version reads format `read`."""
    return other_version(name, f"it has format {found}, and this version reads format {read}", remedy)


def modelled(kind: type[M], value: object, name: str, remedy: str) -> M:
    """The model of a JSON value of a file called `name`.

    Raises `OtherVersion` for an object of another form, and HarnessError for what is no object.
    """
    if not isinstance(value, Mapping):
        raise HarnessError(f"{name} is damaged (it holds no JSON object); {remedy}")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise other_version(name, differences(error), remedy) from error


def parse_own(kind: type[M], content: str | bytes, name: str, remedy: str) -> M:
    """The model of the content of a file called `name`; raises as `modelled` does, also for what is no JSON."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        if not _holds_an_object(content):
            raise HarnessError(f"{name} is damaged ({_first(error)}); {remedy}") from error
        raise other_version(name, differences(error), remedy) from error


def read_own(path: Path, kind: type[M], remedy: str) -> M | None:
    """The model of a file; None where there is none. Raises as `parse_own` does."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse_own(kind, content, str(path), remedy)


def differences(error: ValidationError) -> str:
    """In what a value differs from the model, each field by name."""
    found = [_difference(one) for one in error.errors()]
    more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
    return f"{'; '.join(found[:MOST])}{more}"


def _difference(one: Mapping[str, Any]) -> str:
    place = ".".join(map(str, one["loc"])) or "content"
    if one["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"it has {place}, which this version does not know"
    if one["type"] in ("missing", "missing_argument"):
        return f"it lacks {place}"
    return f"{place}: {one['msg']}"


def _first(error: ValidationError) -> str:
    return str(error.errors()[0]["msg"])


def _holds_an_object(content: str | bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False
