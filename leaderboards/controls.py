"""Which row is whose control: the same method, in the same settings, on shuffled labels."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboards.rows import Draft
from leaderboards.settings import SHUFFLED, method_of

NO_RUN = "no run of it on shuffled labels beside it: it has no verdict"
NO_SOUND_RUN = "its run on shuffled labels is no result of its method: it has no verdict"
"""Remarks of a method without a control, and of one whose control is unfit."""


def pair_with_controls(drafts: Sequence[Draft]) -> None:
    """Give every method its control; where there is none, or none that is sound, it says so, and makes no claim."""
    controls = {_method(one): one for one in drafts if _shuffled(one) and one.runs}
    for one in drafts:
        if one.role != "method":
            continue
        one.needs_control, control = True, controls.get(_method(one))
        one.control = None if control is None or control.degenerate else control
        if one.control is None:
            one.remarks.append(NO_RUN if control is None else NO_SOUND_RUN)


def _shuffled(one: Draft) -> bool:
    return one.kept[0].record.data.shuffled_labels


def _method(one: Draft) -> str:
    return method_of(one.kept[0].record, (SHUFFLED,))
