"""Groups and whose ratings are read on their behalf."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from harness.contracts import FewShot, HarnessError, Ratings

Reading = Literal["own", "swapped"]


def next_groups(names: Iterable[str]) -> dict[str, str]:
    """For each group the next one in order of name, the first after the last; nothing where there is only one."""
    ordered = sorted(names)
    return dict(zip(ordered, [*ordered[1:], ordered[0]], strict=True)) if len(ordered) > 1 else {}


def read_ratings(groups: Ratings, reading: Reading) -> Ratings:
    """The ratings read on behalf of each group, in order of name: its own, or as a control those of the next group.

    Raises HarnessError for a swap where there is one group only.
    """
    names = sorted(groups)
    if reading == "own":
        return {name: groups[name] for name in names}
    if len(names) == 1:
        raise HarnessError(f"context=swapped needs two target groups, there is only {names[0]!r}")
    others = next_groups(names)
    return {name: groups[others[name]] for name in names}


def require_groups(aligner: str, few_shot: FewShot) -> None:
    """Raises HarnessError for an aligner that learns from groups where the cell has none."""
    if not few_shot.groups:
        raise HarnessError(f"aligner {aligner} needs groups and was given none; train on a pool with groups")
