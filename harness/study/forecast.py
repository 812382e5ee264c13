"""A forecast of cells before anything is fitted: which exist, which cannot run, what they cost and can show."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

from harness.config import RunConfig
from harness.contracts import HarnessError, HasGradedMetrics, Task
from harness.contracts.progress import Silent
from harness.data.clipping import measure
from harness.models.tokenizer import kept_tokenizer
from harness.records.schema import Record
from harness.records.store import Store
from harness.records.verify import read_record
from harness.run.job import REPORT, WORK
from harness.run.plan import BASE_ALIGNER, Models, Plan, make_plan
from harness.stats import UnitSpread, planned_difference, spread_of, units_needed
from harness.study.costs import CellCost, expected
from harness.study.plan import compared_with, ready
from harness.study.work import independent_units, items_about_groups

if TYPE_CHECKING:
    from harness.plugins.registry import Registry

State = Literal["new", "begun", "fitted", "done"]
"""Whether a cell has nothing yet, an unfinished fit, a finished fit, or a record."""
TARGET = 0.05
"""The difference for which the number of units is given."""
RIGHT_OR_WRONG = UnitSpread(differing=0.3)
"""How the units of a method and base are taken to differ where no record says and answers are right or wrong."""
DEGREES = UnitSpread(differing=1.0, step=0.2, sd=0.2)
"""The same, of degrees between 0 and 1. Records of three tasks that are published here have spreads of .05 to .19."""
MOST_RECORDS = 12
"""Records whose rows are read to see how units differ from base."""


@dataclass(frozen=True, slots=True)
class CellForecast:
    """A cell that can run."""

    run_id: str
    fit_id: str
    aligner: str
    task: str
    seed: int
    draw_seed: int
    fold: int | None
    """Which fold the cell holds out, from 0; None where nothing is divided in folds."""
    shuffled: bool
    """A control, on shuffled labels."""
    labels: int
    state: State
    lengths: Mapping[str, int]
    clipped: Mapping[str, float]
    """Shares that the study's lengths cut: `prompts`, `answers` of the labelled pairs, `pool_prompts`, ..."""
    items: int
    units: int
    """Independent units among the items."""
    cost: CellCost


@dataclass(frozen=True, slots=True)
class Refusal:
    """A cell that cannot run, and the sentence that says why."""

    aligner: str
    task: str
    seed: int
    reason: str


@dataclass(frozen=True, slots=True)
class Showing:
    """What a task's items could show of its methods."""

    task: str
    items: int
    units: int
    """Independent ones among the items."""
    comparisons: int
    """Methods that are compared with base."""
    spread: UnitSpread
    """How units are expected to differ from base."""
    basis: str
    difference: float | None
    """The smallest difference that would be seen four times in five; None if none would be, however large."""
    needed: int
    """Units with which `TARGET` would be seen."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Everything that a dry run says."""

    cells: tuple[CellForecast, ...]
    refused: tuple[Refusal, ...]
    shows: tuple[Showing, ...]
    free_disk_bytes: int
    notes: tuple[str, ...] = field(default=())

    @property
    def total(self) -> CellCost:
        """Seconds, FLOPs and disk added up; the highest of the memories."""
        costs = [cell.cost for cell in self.cells if cell.state != "done"]
        return CellCost(
            load_s=sum(c.load_s for c in costs),
            fit_s=sum(c.fit_s for c in costs),
            evaluate_s=sum(c.evaluate_s for c in costs),
            fit_flops=sum(c.fit_flops for c in costs),
            evaluate_flops=sum(c.evaluate_flops for c in costs),
            fit_tokens=sum(c.fit_tokens for c in costs),
            evaluate_tokens=sum(c.evaluate_tokens for c in costs),
            sure=all(c.sure for c in costs),
            memory_bytes=max((c.memory_bytes for c in costs), default=0),
            disk_bytes=sum(c.disk_bytes for c in costs),
            basis="; ".join(dict.fromkeys(c.basis for c in costs)) or CellCost().basis,
        )


class Notes(Silent):
    """Collects what planning says, each line once."""

    def __init__(self) -> None:
        self.lines: dict[str, None] = {}

    def note(self, line: str) -> None:
        """Keep a line."""
        self.lines[line] = None


def forecast(configs: Sequence[RunConfig], registry: Registry) -> Forecast:
    """Plan every cell and the base cells that they are compared with; nothing is fitted, asked or written.

    Needs the data and the model's files, whose tokenizer and headers are read; weights are not loaded.
    """
    notes = Notes()
    models = Models(registry, notes.note)
    stores = {config.store for config in configs}
    known = list(finished_records(stores))
    plans: dict[str, Plan] = {}
    refused: dict[tuple[str, str, int, str], Refusal] = {}
    waiting = list(configs)
    while waiting:
        config = waiting.pop(0)
        try:
            plan = make_plan(config, registry, notes, models=models)
            ready(plan, registry)
        except HarnessError as error:
            key = (config.aligner, config.task, config.seed, str(error))
            refused.setdefault(key, Refusal(*key))
            continue
        if plan.run_id not in plans:
            plans[plan.run_id] = plan
            waiting += compared_with(plan)
    order = sorted(plans.values(), key=lambda plan: plan.config.aligner != BASE_ALIGNER)  # as they are needed
    cells: list[CellForecast] = []
    for plan in order:
        cells.append(_cell(plan, known, shared={cell.fit_id for cell in cells}))
    return Forecast(
        cells=tuple(cells),
        refused=tuple(refused.values()),
        shows=tuple(_shows(cells, {plan.config.task: plan for plan in order}, known, stores)),
        free_disk_bytes=_free(configs[0].store),
        notes=tuple(notes.lines),
    )


def _cell(plan: Plan, known: Sequence[Record], shared: Collection[str]) -> CellForecast:
    """`shared` are fits that cells before this one make."""
    config, few_shot, lengths = plan.config, plan.few_shot, plan.lengths
    store = Store(config.store)
    state = _state(plan, store)
    texts = plan.task.questions(plan.source.view(), config.limit)
    items = items_about_groups(plan) or len(texts)
    fitted = state == "fitted" or plan.fit_id in shared
    return CellForecast(
        run_id=plan.run_id,
        fit_id=plan.fit_id,
        aligner=config.aligner,
        task=config.task,
        seed=config.seed,
        draw_seed=config.draw_seed,
        fold=config.fold,
        shuffled=config.shuffle_labels,
        labels=len(few_shot.pairs) or sum(map(len, few_shot.groups.values())),
        state=state,
        lengths={"prompt": lengths.prompt, "completion": lengths.completion, "new_tokens": lengths.new_tokens},
        clipped={**_clipped(plan), **plan.cut},
        items=items,
        units=independent_units(plan),
        cost=CellCost() if state == "done" else expected(plan, items, known, fitted=fitted),
    )


def _state(plan: Plan, store: Store) -> State:
    try:
        record = store.record(plan.run_id)
    except HarnessError:  # is computed again
        record = None
    if record is not None and record.status != "failed":
        return "done"
    fit = store.fit_dir(plan.fit_id)
    if (fit / REPORT).is_file():
        return "fitted"
    return "begun" if (fit / WORK).is_dir() else "new"


def _clipped(plan: Plan) -> Mapping[str, float]:
    pairs, lengths = plan.few_shot.pairs, plan.lengths
    if not pairs:
        return {}
    return measure(kept_tokenizer(plan.files), pairs, prompt=lengths.prompt, completion=lengths.completion).shares


# ---------------------------------------------------------------- what is known from the store


def finished_records(stores: Iterable[Path]) -> Iterator[Record]:
    """Every readable record of some stores that did not fail."""
    for store in stores:
        for path in sorted(store.glob("[!.]*/record.json")):
            try:
                record = read_record(path.parent)
            except HarnessError:
                continue
            if record is not None and record.status != "failed":
                yield record


def _shows(
    cells: Sequence[CellForecast], plans: Mapping[str, Plan], known: Sequence[Record], stores: Collection[Path]
) -> Iterator[Showing]:
    """What each task can show; nothing of one whose units nobody can count before."""
    for task, plan in plans.items():
        of_task = [cell for cell in cells if cell.task == task]
        folds = {cell.fold: cell for cell in of_task}.values()  # every fold holds out other items
        units = sum(cell.units for cell in folds)
        if not units:
            continue
        methods = {cell.aligner for cell in of_task} - {BASE_ALIGNER}
        of_its_own = [record for record in known if record.task.name == task]
        spread, basis = expected_spread(plan.task, of_its_own, methods, stores)
        comparisons = max(len(methods), 1)
        yield Showing(
            task=task,
            items=sum(cell.items for cell in folds),
            units=units,
            comparisons=comparisons,
            spread=spread,
            basis=basis,
            difference=planned_difference(units, spread, comparisons),
            needed=units_needed(TARGET, spread, comparisons),
        )


def expected_spread(
    task: Task, records: Sequence[Record], methods: Collection[str], stores: Collection[Path]
) -> tuple[UnitSpread, str]:
    """How units are expected to differ from base, and what says so: finished runs of these methods, else of any, else
    an assumption. A run that nowhere differs from base says nothing of others. The records lie in `stores`.
    """
    found = [record for record in records if record.task.main_metric == task.main_metric]
    mine = [record for record in found if record.aligner.name in methods and not record.data.shuffled_labels]
    for some, of in ((mine, "these methods on this task"), (found, "this task")):
        spreads = (_seen(record, Store(store)) for record in reversed(some) for store in sorted(stores))
        seen = list(islice((spread for spread in spreads if spread and spread.differing), MOST_RECORDS))
        if seen:
            return _median(seen), f"the median of finished runs of {of}"
    graded = isinstance(task, HasGradedMetrics) and task.main_metric in task.graded_metrics
    return DEGREES if graded else RIGHT_OR_WRONG, "assumed: no record says"


def _median(seen: Sequence[UnitSpread]) -> UnitSpread:
    sds = [spread.sd for spread in seen if spread.sd is not None]
    return UnitSpread(
        differing=median(spread.differing for spread in seen),
        step=median(spread.step for spread in seen),
        sd=median(sds) if 2 * len(sds) > len(seen) else None,
    )


def _seen(record: Record, store: Store) -> UnitSpread | None:
    """How a run's units differ from those of the base run that it was compared with; None where rows are not there."""
    metric = record.task.main_metric
    try:
        base = store.record(record.manifest.compared["base"]["run"]) if "base" in record.manifest.compared else None
        if base is None:
            return None
        before = {row.id: row.values.get(metric) for row in store.samples(base)}
        sides = [(row.values.get(metric), before.get(row.id), row.unit) for row in store.samples(record)]
        both = [(now - was, unit) for now, was, unit in sides if now is not None and was is not None]
        differences, units = [difference for difference, _ in both], [unit for _, unit in both]
        return spread_of(differences, units) if len(set(units)) > 1 else None
    except HarnessError:
        return None


def _free(place: Path) -> int:
    """Bytes that are free where a store is, or will be."""
    there = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.is_dir())
    return shutil.disk_usage(there).free
