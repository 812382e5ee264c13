"""A forecast of what a study will take, with a range, and sentences on what each task can show.

What a cell takes is `harness.study.costs`'s to say. Runs of one kind err together, so the ends of the range are sums of
the cells' own ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import BASE, HarnessError
from harness.records.schema import Record
from harness.stats.crossed import Components
from harness.study.costs import CellCost, expected
from harness.study.forecast import expected_spread
from harness.study.plan import PlannedRun, StudyPlan
from harness.study.power import DRAWS_DIFFER, Design, advice
from harness.study.work import independent_units, items_about_groups

if TYPE_CHECKING:
    from harness.study.report import StudyReport

Range = tuple[float, float, float]
"""Low, expected, high."""
SURE, GUESS = (0.75, 1.35), (0.4, 2.5)
"""Factors of the range: where records of the same kind say, and where the model of the work stands in."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What one run will take, and on how many items."""

    cost: CellCost
    items: int


@dataclass(frozen=True)
class StudyForecast:
    """The forecast for all runs that are still to be computed."""

    runs: dict[str, Expected]
    hours: Range
    """Of the clock, with this many cells at a time."""
    flops: Range
    tokens: Range
    """Tokens that are computed forward, of fits and evaluations."""
    memory_bytes: int
    """The largest memory of a single cell, in bytes."""
    disk_bytes: int
    """Disk of all records, answers and adapters together, in bytes."""
    usd: float
    """Of judges, by the study's prices."""
    sentences: tuple[str, ...]
    """What the design can show, by task."""
    basis: tuple[str, ...] = ()
    """Where the figures come from, in words."""

    def expected(self) -> dict[str, dict[str, float]]:
        """Seconds, FLOPs and tokens of every run, as the index keeps them."""
        return {
            name: {"seconds": run.cost.seconds, "flops": run.cost.flops, "tokens": run.cost.tokens}
            for name, run in self.runs.items()
        }

    def json_value(self) -> dict[str, Any]:
        """As plain JSON values."""
        known = sum(run.cost.sure for run in self.runs.values())
        return {
            "hours": list(self.hours),
            "flops": list(self.flops),
            "tokens": list(self.tokens),
            "memory_bytes": self.memory_bytes,
            "disk_bytes": self.disk_bytes,
            "usd": self.usd,
            "runs": len(self.runs),
            "from_records": known,
            "basis": list(self.basis),
            "shows": list(self.sentences),
        }


def outlook(plan: StudyPlan, records: Sequence[Record], workers: int, known: StudyReport | None) -> StudyForecast:
    """The forecast of a plan from `records` of its store; `known` is the report of what is there already."""
    scored = [record for record in records if record.status != "failed"]
    runs = dict(_expectations(plan, scored))
    costs = [run.cost for run in runs.values()]
    seconds = _added((cost.seconds, cost.sure) for cost in costs)
    low, middle, high = (value / 3600 / max(1, min(workers, len(runs))) for value in seconds)
    return StudyForecast(
        runs=runs,
        hours=(low, middle, high),
        flops=_added((cost.flops, cost.sure) for cost in costs),
        tokens=_added((cost.tokens, cost.sure) for cost in costs),
        memory_bytes=max((cost.memory_bytes for cost in costs), default=0),
        disk_bytes=sum(cost.disk_bytes for cost in costs),
        usd=sum(run.items * _price(plan, plan.runs[name]) for name, run in runs.items()),
        basis=tuple(dict.fromkeys(cost.basis for cost in costs)),
        sentences=tuple(_shows(plan, scored, known)),
    )


def _expectations(plan: StudyPlan, records: Sequence[Record]) -> Iterator[tuple[str, Expected]]:
    fits: set[str] = set()
    for name, planned in plan.runs.items():
        if planned.state == "run" and planned.plan is not None:
            fitted = planned.fitted or planned.plan.fit_id in fits or planned.config.aligner == BASE
            fits.add(planned.plan.fit_id)
            items = items_of(planned, records)
            yield name, Expected(expected(planned.plan, items, records, fitted=fitted), items)


def _price(plan: StudyPlan, planned: PlannedRun) -> float:
    judge = planned.plan.config.judge if planned.plan is not None else None
    return plan.study.prices.get(judge or "", 0.0)


def _added(values: Iterable[tuple[float, bool]]) -> Range:
    """The sums of the low ends, the expectations and the high ends: runs of one kind err together."""
    low = middle = high = 0.0
    for value, sure in values:
        down, up = SURE if sure else GUESS
        low, middle, high = low + down * value, middle + value, high + up * value
    return low, middle, high


# ---------------------------------------------------------------- what it can show


def _shows(plan: StudyPlan, records: Sequence[Record], known: StudyReport | None) -> Iterator[str]:
    """For every task: the smallest difference to base that its draws and questions can show."""
    tasks: dict[str, dict[int | None, PlannedRun]] = {}
    for cell, run in plan.cells:
        if plan.runs[run].plan is not None:
            tasks.setdefault(cell.config.task, {}).setdefault(cell.config.fold, plan.runs[run])
    claims = [cell for cell, _ in plan.cells if not cell.config.shuffle_labels and cell.config.aligner != BASE]
    methods = {cell.method for cell in claims}
    for task, folds in tasks.items():
        seen, basis = _seen(known, task), None
        if seen is None:
            names = {cell.config.aligner for cell in claims}
            seen, basis = _expected(next(iter(folds.values())), [r for r in records if r.task.name == task], names)
        asked = sum(units(planned, records) for planned in folds.values())  # every fold holds out other pairs
        design = Design(seen, len(plan.study.draws), asked)
        for sentence in advice(design, max(1, len(methods)), basis=basis):
            yield f"{task}: {sentence}"


def _seen(known: StudyReport | None, task: str) -> Components | None:
    """The largest variances of a difference to base that the study's own records show on this task."""
    panels = [panel for panel in known.panels if panel.task == task] if known is not None else []
    found = [panel.components for panel in panels if panel.components is not None]
    if not found:
        return None
    return Components(*(max(one[place] for one in found) for place in range(3)))


def _expected(planned: PlannedRun, records: Sequence[Record], methods: Collection[str]) -> tuple[Components, str]:
    """Variances of a difference to base before the study has records, as `plan` expects units to differ, and why.

    Half of a unit's variance is taken to be its own and half to change with the draw; draws differ by `DRAWS_DIFFER`.
    """
    assert planned.plan is not None
    spread, basis = expected_spread(planned.plan.task, records, methods, [planned.config.store])
    variance = spread.sd**2 if spread.sd is not None else spread.differing * spread.step**2
    return Components(DRAWS_DIFFER**2, variance / 2, variance / 2), basis


def items_of(planned: PlannedRun, records: Sequence[Record]) -> int:
    """Items that a cell is scored on: as records of it say, else as its task says; 0 where neither does."""
    assert planned.plan is not None
    for record in records:
        if _same_questions(planned, record) and record.task.n_items:
            return record.task.n_items
    return items_about_groups(planned.plan) or len(_questions(planned))


def units(planned: PlannedRun, records: Sequence[Record]) -> int:
    """Questions that a cell is scored on: as records of it say, else as its task says; 0 where neither does."""
    for record in records:
        score = record.scores.get(record.task.main_metric)
        if _same_questions(planned, record) and score is not None:
            return score.n
    assert planned.plan is not None
    try:
        return independent_units(planned.plan)
    except HarnessError:
        return 0


def _same_questions(planned: PlannedRun, record: Record) -> bool:
    assert planned.plan is not None
    task, config = record.task, planned.config
    return (task.name, task.limit, task.revision) == (config.task, config.limit, planned.plan.task_revision)


def _questions(planned: PlannedRun) -> list[str]:
    assert planned.plan is not None
    try:
        return list(planned.plan.task.questions(planned.plan.source.view(), planned.config.limit).values())
    except HarnessError:
        return []
