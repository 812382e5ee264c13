"""What a study will take and what it can show, before it runs: a forecast with a range, and sentences for each task.

A run's fit is taken to cost what fits of the same method on the same model and device cost, times the ratio of the
pairs that training sees; its evaluation what evaluations of the same task cost, times the ratio of items. Where no
record says, a model of the work stands in, at the speed of other records or of a short product of matrices here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.contracts import BASE, HarnessError
from harness.models.load import count_parameters
from harness.records.schema import Record
from harness.stats.crossed import Components
from harness.study.costs import speed_of, trains
from harness.study.plan import PlannedRun, StudyPlan, memory_of, peaks
from harness.study.power import ASSUMED, Design, advice

if TYPE_CHECKING:
    from harness.run.plan import Plan
    from harness.study.report import StudyReport

Range = tuple[float, float, float]
"""Low, expected, high."""
SURE, GUESS = (0.75, 1.35), (0.2, 3.0)
"""Factors of the range: where records of the same kind say, and where the model of the work stands in."""
TRAINING, FORWARD = 5.0, 2.0
"""FLOPs for each weight and token: training through the adapter with a reference's forward in the first of several
passes, and a forward alone."""
USUAL = 0.6
"""Tokens of a usual text, as a share of the longest that is let through: lengths are a pool's 95th percentiles."""
LOADING_S = 12.0
"""Seconds of a cell beside its fit and its evaluation, where no record says."""
PROBE = 512
"""Side of the matrices of the probe."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What one run will take."""

    seconds: float
    flops: float
    items: int
    sure: bool
    """Whether records of the same method and of the same task say so."""


@dataclass(frozen=True)
class StudyForecast:
    """The forecast of all that is still to run."""

    runs: dict[str, Expected]
    hours: Range
    """Of the clock, with this many cells at a time."""
    flops: Range
    memory_bytes: int
    """The most that one cell takes."""
    usd: float
    """Of judges, by the study's prices."""
    sentences: tuple[str, ...]
    """What the design can show, by task."""

    def expected(self) -> dict[str, dict[str, float]]:
        """Seconds and FLOPs of every run, as the index keeps them."""
        return {name: {"seconds": run.seconds, "flops": run.flops} for name, run in self.runs.items()}

    def json_value(self) -> dict[str, Any]:
        """As plain JSON values."""
        known = sum(run.sure for run in self.runs.values())
        return {
            "hours": list(self.hours),
            "flops": list(self.flops),
            "memory_bytes": self.memory_bytes,
            "usd": self.usd,
            "runs": len(self.runs),
            "from_records": known,
            "shows": list(self.sentences),
        }


def outlook(plan: StudyPlan, records: Sequence[Record], workers: int, known: StudyReport | None) -> StudyForecast:
    """The forecast of a plan from `records` of its store; `known` is the report of what is there already."""
    scored = [record for record in records if record.status != "failed"]
    runs = dict(_expectations(plan, scored))
    seconds = _added([(run.seconds, run.sure) for run in runs.values()])
    low, middle, high = (value / 3600 / max(1, min(workers, len(runs))) for value in seconds)
    memory = peaks({record.id: record for record in scored})
    to_run = [plan.runs[name].plan for name in runs]
    return StudyForecast(
        runs=runs,
        hours=(low, middle, high),
        flops=_added([(run.flops, run.sure) for run in runs.values()]),
        memory_bytes=max((memory_of(one, memory) for one in to_run if one is not None), default=0),
        usd=sum(run.items * _price(plan, plan.runs[name]) for name, run in runs.items()),
        sentences=tuple(_shows(plan, scored, known)),
    )


def _expectations(plan: StudyPlan, records: Sequence[Record]) -> Iterator[tuple[str, Expected]]:
    fits: set[str] = set()
    for name, planned in plan.runs.items():
        if planned.state == "run" and planned.plan is not None:
            fitted = planned.fitted or planned.plan.fit_id in fits or planned.config.aligner == BASE
            fits.add(planned.plan.fit_id)
            yield name, expect(planned.plan, records, fitted=fitted, items=units(planned, records))


def expect(plan: Plan, records: Sequence[Record], *, fitted: bool, items: int) -> Expected:
    """What a run will take; `fitted`: its fit is there already, or another run of the study makes it."""
    model, device = plan.files.weights_hash, plan.machine.device
    same = [r for r in records if r.model.weights_hash == model and r.model.device == device]
    fits = [r for r in same if r.aligner.name == plan.config.aligner and r.spent.seconds.fit > 0]
    evaluations = [r for r in same if r.task.name == plan.config.task and r.task.n_items]
    budget = plan.config.budget
    pairs = budget.min_steps * budget.batch
    tokens = USUAL * (plan.lengths.prompt + 2 * plan.lengths.completion)  # both answers share their prompt
    weights = float(count_parameters(plan.files.folder))
    fits_anew = trains(plan.aligner_class.Config.model_fields) and not fitted
    speed = speed_of(same) or probe(plan.machine.threads)
    modelled = TRAINING * weights * pairs * tokens if fits_anew else 0.0
    fit_flops = _scaled(fits, lambda r: r.spent.flops, _pairs, pairs, modelled) if fits_anew else 0.0
    fit_s = _scaled(fits, lambda r: r.spent.seconds.fit, _pairs, pairs, modelled / speed) if fits_anew else 0.0
    asked = FORWARD * weights * items * USUAL * (plan.lengths.prompt + plan.lengths.new_tokens)
    flops = _scaled(evaluations, lambda r: r.spent.inference.flops, _items, items, asked)
    evaluate_s = _scaled(evaluations, lambda r: r.spent.seconds.evaluate, _items, items, asked / speed)
    load_s = median(r.spent.seconds.load for r in same) if same else LOADING_S
    sure = bool(evaluations) and (not fits_anew or bool(fits))
    return Expected(load_s + fit_s + evaluate_s, fit_flops + flops, items, sure)


def _pairs(record: Record) -> float:
    return float(record.budget.min_steps * record.budget.batch)


def _items(record: Record) -> float:
    return float(record.task.n_items)


def _scaled(
    records: Sequence[Record],
    figure: Callable[[Record], float],
    size: Callable[[Record], float],
    wanted: float,
    otherwise: float,
) -> float:
    """The median of what records took, each for as much as is wanted; `otherwise` where there are none."""
    return median(figure(r) * wanted / max(size(r), 1.0) for r in records) if records else otherwise


@lru_cache(maxsize=4)
def probe(threads: int) -> float:
    """FLOPs a second of a product of matrices here, the fastest of several; a fit comes to about a third of it."""
    import numpy as np

    a = np.ones((PROBE, PROBE), dtype=np.float32)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < 0.5:
        before = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - before)
    return 2 * PROBE**3 / min(times) / 3  # the fastest: other work on this machine is no matter of its speed


def _price(plan: StudyPlan, planned: PlannedRun) -> float:
    judge = planned.plan.config.judge if planned.plan is not None else None
    return plan.study.prices.get(judge or "", 0.0)


def _added(values: Sequence[tuple[float, bool]]) -> Range:
    """The sums of the low ends, the expectations and the high ends: runs of one kind err together."""
    low = middle = high = 0.0
    for value, sure in values:
        down, up = SURE if sure else GUESS
        low, middle, high = low + down * value, middle + value, high + up * value
    return low, middle, high


# ---------------------------------------------------------------- what it can show


def _shows(plan: StudyPlan, records: Sequence[Record], known: StudyReport | None) -> Iterator[str]:
    """For every task: the smallest difference to base that its draws and questions can show."""
    tasks: dict[str, PlannedRun] = {}
    for cell, run in plan.cells:
        if plan.runs[run].plan is not None:
            tasks.setdefault(cell.config.task, plan.runs[run])
    claims = [cell for cell, _ in plan.cells if not cell.config.shuffle_labels and cell.config.aligner != BASE]
    methods = {cell.method for cell in claims}
    for task, planned in tasks.items():
        seen = _seen(known, task)
        design = Design(seen or ASSUMED, len(plan.study.draws), units(planned, records))
        for sentence in advice(design, max(1, len(methods)), assumed=seen is None):
            yield f"{task}: {sentence}"


def _seen(known: StudyReport | None, task: str) -> Components | None:
    """The largest variances of a difference to base that the study's own records show on this task."""
    panels = [panel for panel in known.panels if panel.task == task] if known is not None else []
    found = [panel.components for panel in panels if panel.components is not None]
    if not found:
        return None
    return Components(*(max(one[place] for one in found) for place in range(3)))


def units(planned: PlannedRun, records: Sequence[Record]) -> int:
    """Questions that a cell is scored on: as records of it say, else as its task says; 0 where neither does."""
    assert planned.plan is not None
    task, limit = planned.config.task, planned.config.limit
    for record in records:
        score = record.scores.get(record.task.main_metric)
        same = record.task.name == task and record.task.limit == limit
        if same and score is not None and record.task.revision == planned.plan.task_revision:
            return score.n
    try:
        return len(set(planned.plan.task.questions(planned.plan.source.view(), limit).values()))
    except HarnessError:
        return 0
