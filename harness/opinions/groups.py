"""Groups and whose ratings are read on their behalf."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from harness.contracts import FewShot, HarnessError, Rating, Ratings

Reading = Literal["own", "swapped"]


def next_groups(names: Iterable[str]) -> dict[str, str]:
    """For each group the next one in order of name, the first after the last; nothing where there is only one."""
    ordered = sorted(names)
    return dict(zip(ordered, [*ordered[1:], ordered[0]], strict=True)) if len(ordered) > 1 else {}


def left_to_ask(targets: Ratings, opinions: Ratings, limit: int | None = None) -> list[tuple[str, Rating]]:
    """Every rating of a target group but those that were bought of it, of the first `limit` questions by id.

    `targets` are the groups with the ratings that were bought, `opinions` all ratings of all groups.
    """
    bought = {group: {rating.question for rating in ratings} for group, ratings in targets.items()}
    left = [(g, one) for g in sorted(targets) for one in opinions.get(g, ()) if one.question not in bought[g]]
    kept = set(sorted({rating.question for _, rating in left})[:limit])
    return [(group, rating) for group, rating in left if rating.question in kept]


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
