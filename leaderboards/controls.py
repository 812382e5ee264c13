"""Which row is whose control: the same method, in the same settings, on shuffled labels."""

from __future__ import annotations

import json
from collections.abc import Sequence

from leaderboards.rows import Draft
from leaderboards.settings import changed


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
    record = one.kept[0].record
    settings = {name: value for name, value in changed(record).items() if name != "labels"}
    return json.dumps([record.aligner.name, record.aligner.version, settings], sort_keys=True, default=str)
