"""Runs that a study has from before and does not take over, because what decides their results changed since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.contracts import HarnessError
from harness.records.store import Store
from harness.run.identity import what_differs
from harness.study.index import Index
from harness.study.plan import StudyPlan
from harness.util.safe_text import line

if TYPE_CHECKING:
    from harness.records.schema import Record

SHOWN = 3
"""Changes that are named."""


def not_taken_over(plan: StudyPlan, index: Index | None, store: Store) -> Iterator[str]:
    """A sentence that counts such runs and names what changed; nothing where there are none.

    `index` is what the last `study run` wrote.
    """
    changes: Counter[str] = Counter()
    runs = 0
    for new, before in (index.earlier_runs(plan) if index is not None else {}).items():
        planned = plan.runs[new]
        record = next((found for old in before if (found := _record(store, old)) is not None), None)
        if record is None or record.status == "failed" or planned.plan is None or planned.state != "run":
            continue
        runs += 1
        decisive = planned.plan.decisive
        changes.update(what_differs(record.manifest.decisive, decisive, any_gpu=planned.any_gpu is not None))
    if not changes:
        return
    named = [change for change, _ in changes.most_common(SHOWN)]
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    were = "1 run of this study was" if runs == 1 else f"{runs} runs of this study were"
    yield line(
        f"{were} computed before and cannot be taken over, because what decides the results changed: "
        f"{'; '.join(named)}{more}. The old records stay in {store.root}"
    )


def _record(store: Store, run_id: str) -> Record | None:
    try:
        return store.record(run_id)
    except HarnessError:  # changed since it was written: it would not be taken over in any case
        return None
