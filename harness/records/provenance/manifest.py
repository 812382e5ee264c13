"""The manifest of a cell: everything decisive, in named sections, whose hash is the cell's id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.util.hashes import content_hash

Decisive = Mapping[str, Mapping[str, Any]]
"""Section -> name -> a JSON value. Sections: `fit`, `answers`, `judgement`."""

LENGTH = 16
"""Hexadecimal digits of an id."""
SHOWN = 80
"""Characters of a value in a line about a difference."""


def digest(decisive: Decisive, *sections: str) -> str:
    """The id that these sections give."""
    return content_hash({name: decisive[name] for name in sections})[:LENGTH]


def flat(value: object, prefix: str = "") -> dict[str, Any]:
    """Every leaf by its dotted path; a list is a leaf."""
    return dict(_leaves(value, prefix))


def _leaves(value: object, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def differences(before: object, after: object) -> list[str]:
    """One line for every leaf that differs: its path and both values; empty for equal manifests."""
    old, new = flat(before), flat(after)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name) or (name in old) != (name in new)]
    hollow = {name for name in names if {} in (old.get(name), new.get(name))}  # and filled on the other side
    names = [n for n in names if n not in hollow or not any(other.startswith(f"{n}.") for other in names)]
    return [f"{name}: {_short(old, name)} -> {_short(new, name)}" for name in names]


def _short(values: Mapping[str, Any], name: str) -> str:
    text = str(values[name]) if name in values else "absent"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
