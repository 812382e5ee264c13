"""Runs that a study has from before and does not take over, because what decides their results changed since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.contracts import HarnessError
from harness.records.provenance import differences
from harness.records.store import Store
from harness.study.index import read_index
from harness.study.plan import StudyPlan
from harness.util.safe_text import line

if TYPE_CHECKING:
    from harness.records.schema import Record

SHOWN = 3
"""Changes that are named."""


def not_taken_over(plan: StudyPlan, store: Store) -> Iterator[str]:
    """A sentence that counts such runs and names what changed; nothing where there are none.

    They are found through the index that the last `study run` wrote, for a study of the same cells.
    """
    changes: Counter[str] = Counter()
    runs = 0
    for old, new in sorted(_renamed(plan, store)):
        record, planned = _record(store, old), plan.runs[new]
        if record is None or planned.plan is None or planned.state != "run":
            continue
        runs += 1
        changes.update(differences(record.manifest.decisive, planned.plan.decisive))
    if not runs:
        return
    named = [change for change, _ in changes.most_common(SHOWN)]
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    were = "1 run of this study was" if runs == 1 else f"{runs} runs of this study were"
    yield line(
        f"{were} computed before and cannot be taken over, because what decides the results changed: "
        f"{'; '.join(named)}{more}. The old records stay in {store.root}"
    )


def _renamed(plan: StudyPlan, store: Store) -> set[tuple[str, str]]:
    """(id when the study last ran, id now) of every run whose id changed."""
    try:
        index = read_index(plan.study.folder)
    except HarnessError:  # of another version, or damaged: `study run` says so
        return set()
    if index is None or not index.covers([cell for cell, _ in plan.cells]):
        return set()
    found = set()
    for before, (_, run) in zip(index.cells, plan.cells, strict=True):
        found |= {(before.run, run), *zip(before.needs, plan.runs[run].needs, strict=False)}
    return {(old, new) for old, new in found if old != new and not old.startswith("missing-")}


def _record(store: Store, run_id: str) -> Record | None:
    try:
        return store.record(run_id)
    except HarnessError:  # changed since it was written: it would not be taken over in any case
        return None
