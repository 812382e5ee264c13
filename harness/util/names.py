"""The nearest valid name for a name that a user mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Collection

LONGEST = 200
SHORT = 3
"""Least letters of a name that another may begin with to be near to it: `acc` and `accuracy`."""


def nearest(name: str, known: Collection[str], *, label: str = "known", cutoff: float = 0.6) -> str:
    """`did you mean 'X'?` where a known name is close, else all of them behind `label`.

    `cutoff` is how alike the two names must be, from 0 (anything) to 1 (equal).
    """
    name = name[:LONGEST]  # what is longer is near to nothing, and would take long to compare
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff) or _beginnings(name, known)
    return f"did you mean {close[0]!r}?" if close else f"{label}: {', '.join(sorted(known)) or 'none'}"


def _beginnings(name: str, known: Collection[str]) -> list[str]:
    """The known names that begin with this one, or that this one begins with, the longest common beginning first."""
    found = [
        one for one in known if min(len(one), len(name)) >= SHORT and (one.startswith(name) or name.startswith(one))
    ]
    return sorted(found, key=lambda one: (-min(len(one), len(name)), len(one), one))
