"""Methods as they are named on the command line: `gem`, or with settings of their own, `gem[weights=random,k=3]`.

A row's label in a table is such a name. `labels=shuffled` is the control that `--shuffle-labels` is, for one row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.contracts import HarnessError
from harness.util.safe_text import cut

SHUFFLED = "labels=shuffled"


@dataclass(frozen=True, slots=True)
class Variant:
    """One method of several, and what is set for it alone."""

    name: str
    sets: tuple[str, ...] = ()
    """As `--set` takes them."""
    shuffled: bool = False


def variants(text: str) -> list[Variant]:
    """The methods that a list, separated by commas, names. Raises HarnessError for brackets that do not close."""
    return [_variant(part) for part in _parts(text)]


def _variant(text: str) -> Variant:
    name, opened, rest = text.partition("[")
    if not opened:
        return Variant(name)
    if not rest.endswith("]"):
        raise HarnessError(f"--aligner {cut(text)}: settings of a method stand in brackets, as in gem[weights=random]")
    settings = list(_parts(rest[:-1]))
    if bad := next((one for one in settings if "=" not in one), None):
        raise HarnessError(f"--aligner {cut(text)}: {cut(bad)} is no setting; NAME=VALUE was expected")
    own = tuple(f"aligner.{one}" for one in settings if one != SHUFFLED)
    return Variant(name.strip(), own, SHUFFLED in settings)


def _parts(text: str) -> Iterator[str]:
    """What stands between commas, those in brackets left out; empty parts are dropped."""
    depth, part = 0, ""
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            if part.strip():
                yield part.strip()
            part = ""
        else:
            part += letter
    if part.strip():
        yield part.strip()
