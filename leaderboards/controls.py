"""Which row is whose control: the same method, in the same settings, on shuffled labels."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboards.rows import Draft
from leaderboards.settings import SHUFFLED, method_of


def pair_with_controls(drafts: Sequence[Draft]) -> None:
    """Give every method its control; where there is none it says so, and makes no claim."""
    controls = {_method(one): one for one in drafts if _shuffled(one) and one.runs}
    for one in drafts:
        if one.role != "method":
            continue
        one.needs_control, one.control = True, controls.get(_method(one))
        if one.control is None:
            one.remarks.append("no run of it on shuffled labels beside it: it has no verdict")


def _shuffled(one: Draft) -> bool:
    return one.kept[0].record.data.shuffled_labels


def _method(one: Draft) -> str:
    return method_of(one.kept[0].record, (SHUFFLED,))
