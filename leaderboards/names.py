"""Names of rows that fit beside a chart or into a cell, no two of which read alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from harness.util.safe_text import shorten

_SETTINGS = re.compile(r"(?P<method>.*? \[)(?P<settings>.*)(?P<rest>\].*)", re.DOTALL)
"""A label with changed settings, and maybe its version behind them."""


def short_names(labels: Iterable[str], longest: int) -> dict[str, str]:
    """A name of at most `longest` characters for every label, no two the same.

    A label that is too long loses its middle. Where that makes several read alike, they lose the settings that they
    share instead; what reads alike even so is numbered, and longer by the number.
    """
    names = {label: shorten(label, longest) for label in labels}
    for alike in _alike(names):
        names |= {label: shorten(own, longest) for label, own in _without_shared(alike).items()}
    while found := _alike(names):
        for alike in found:
            names |= {label: f"{names[label]} ({number})" for number, label in enumerate(alike, start=1)}
    return names


def _alike(names: Mapping[str, str]) -> list[list[str]]:
    """Labels of the same name, where a name is that of several."""
    by_name: dict[str, list[str]] = {}
    for label, name in names.items():
        by_name.setdefault(name, []).append(label)
    return [found for found in by_name.values() if len(found) > 1]


def _without_shared(labels: Sequence[str]) -> dict[str, str]:
    """`dpo [..., epochs=3]` for `dpo [beta=0.1, epochs=3]`, where all of these have that beta."""
    found = {label: parts for label in labels if (parts := _SETTINGS.fullmatch(label))}
    settings = {label: parts["settings"].split(", ") for label, parts in found.items()}
    shared = set[str]().union(*settings.values()).intersection(*settings.values())
    own = {label: ["...", *(part for part in parts if part not in shared)] for label, parts in settings.items()}
    return {label: f"{parts['method']}{', '.join(own[label])}{parts['rest']}" for label, parts in found.items()}
