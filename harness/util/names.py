"""The nearest valid name for a name that a user mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Collection

LONGEST = 200


def nearest(name: str, known: Collection[str], *, label: str = "known", cutoff: float = 0.6) -> str:
    """`did you mean 'X'?` where a known name is close, else all of them behind `label`.

    `cutoff` is how alike the two names must be, from 0 (anything) to 1 (equal).
    """
    name = name[:LONGEST]  # what is longer is near to nothing, and would take long to compare
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {close[0]!r}?" if close else f"{label}: {', '.join(sorted(known)) or 'none'}"
