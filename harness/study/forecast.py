"""A forecast of cells before anything is fitted: which exist, which cannot run, what they cost and can show."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

from harness.config import RunConfig
from harness.contracts import HarnessError
from harness.contracts.progress import Silent
from harness.data.clipping import measure
from harness.models.tokenizer import kept_tokenizer
from harness.records.schema import Record
from harness.records.store import Store
from harness.records.verify import read_record
from harness.run.job import REPORT, WORK
from harness.run.plan import BASE_ALIGNER, Models, Plan, make_plan
from harness.stats import planned_difference, units_needed
from harness.study.costs import CellCost, expected
from harness.study.plan import compared_with, ready
from harness.study.work import items_about_groups

if TYPE_CHECKING:
    from harness.plugins.registry import Registry

State = Literal["new", "begun", "fitted", "done"]
"""Whether a cell has nothing yet, an unfinished fit, a finished fit, or a record."""
TARGET = 0.05
"""The difference for which the number of items is given."""
DIFFERING = 0.3
"""Share of the items on which a method and base are taken to differ where no record says."""
MOST_RECORDS = 12
"""Records whose rows are read to see how many items differ from base."""


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
    units: int
    comparisons: int
    """Methods that are compared with base."""
    differing: float
    basis: str
    difference: float | None
    """The smallest difference that would be seen four times in five; None if none would be, however large."""
    needed: int
    """Items with which `TARGET` would be seen."""


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
    known = list(finished_records({config.store for config in configs}))
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
        shows=tuple(_shows(cells, known, {config.store for config in configs})),
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
        units=len(set(texts.values())),
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


def _shows(cells: Sequence[CellForecast], known: Sequence[Record], stores: set[Path]) -> Iterator[Showing]:
    for task in dict.fromkeys(cell.task for cell in cells):
        of_fold = {cell.fold: cell.units for cell in cells if cell.task == task}  # every fold holds out other items
        units = sum(of_fold.values())
        methods = {cell.aligner for cell in cells if cell.task == task} - {BASE_ALIGNER}
        seen = _differing([record for record in known if record.task.name == task], stores)
        share = DIFFERING if seen is None else min(max(seen, 1 / max(units, 1)), 1.0)
        yield Showing(
            task=task,
            units=units,
            comparisons=max(len(methods), 1),
            differing=share,
            basis="assumed: no record says" if seen is None else "the median of finished runs of this task",
            difference=planned_difference(units, share, max(len(methods), 1)),
            needed=units_needed(TARGET, share, max(len(methods), 1)),
        )


def _differing(records: Sequence[Record], stores: set[Path]) -> float | None:
    """The median share of items on which runs differ from the base run that they were compared with."""
    shares = [
        share
        for record in records[-MOST_RECORDS:]
        if "base" in record.manifest.compared
        for store in map(Store, stores)
        if store.run_dir(record.id).is_dir() and (share := _share(record, store)) is not None
    ]
    return median(shares) if shares else None


def _share(record: Record, store: Store) -> float | None:
    metric = record.task.main_metric
    try:
        base = store.record(record.manifest.compared["base"]["run"])
        before = {} if base is None else {row.id: row.values.get(metric) for row in store.samples(base)}
        now = {row.id: row.values.get(metric) for row in store.samples(record)}
    except HarnessError:
        return None
    both = [name for name, value in now.items() if value is not None and before.get(name) is not None]
    return sum(now[name] != before[name] for name in both) / len(both) if both else None


def _free(place: Path) -> int:
    """Bytes that are free where a store is, or will be."""
    there = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.is_dir())
    return shutil.disk_usage(there).free
