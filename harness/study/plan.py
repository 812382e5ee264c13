"""The plan of a study: every cell with its run, whether the run has a record, and what the run waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from harness.config import RunConfig
from harness.contracts import HarnessError, NotHere, SaysWhatIsMissing
from harness.contracts.progress import Progress, Silent
from harness.records.store import SAMPLES, Store
from harness.run.plan import BASE_ALIGNER, REFERENCE, Models, Plan, make_plan
from harness.run.trust import finished
from harness.study.away import NOTE, is_open, made_elsewhere, settled_here
from harness.study.file import StudyFile
from harness.study.grid import Cell, expand

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.records.schema import Record

State = Literal["run", "reused", "failed", "missing"]
WORKING_BYTES = 3 * 2**29
"""Memory of a cell beside its weights, where no record says: Python, torch, activations of a small batch."""
COPIES = 3
"""Times that a cell holds its weights at the most: in the fit, loading, and what optimizer and adapter take."""
BYTES = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study: a cell of the grid, or the base model with which cells are compared."""

    run_id: str
    words: str
    config: RunConfig
    state: State
    """`failed`: the record says why, and the run is computed again only with `--retry failed`."""
    reason: str = ""
    needs: tuple[str, ...] = ()
    plan: Plan | None = None
    """None where something is missing."""
    fitted: bool = False
    """Whether its fit is there already."""
    any_gpu: str | None = None
    """Its provisional id without the GPU's name, if another machine computes it and this machine has no GPU."""


@dataclass(frozen=True)
class StudyPlan:
    """A study with all its runs, base first."""

    study: StudyFile
    runs: Mapping[str, PlannedRun]
    cells: tuple[tuple[Cell, str], ...]
    """Every cell of the grid with the id of its run; cells with the same settings share a run."""
    threads: int
    not_taken_over: tuple[str, ...] = ()
    """Why runs that the study has from before are to be computed again (`harness.study.earlier`)."""

    def count(self, state: State) -> int:
        """How many runs are in a state."""
        return sum(run.state == state for run in self.runs.values())

    def notes(self) -> Iterator[str]:
        """What the user should know of runs that are computed again, and of those that this machine cannot compute."""
        yield from self.not_taken_over
        away = sum(run.any_gpu is not None and run.state == "run" for run in self.runs.values())
        if away:
            runs = "1 run is" if away == 1 else f"{away} runs are"
            yield f"this machine has no GPU; {runs} planned for the machines of executor {self.study.run.executor}"
            if not self.study.run.gpus:
                yield "run.gpus is 0, so that no GPU is asked for; `--set run.gpus=1` asks for one for each cell"


def plan_study(
    study: StudyFile, registry: Registry, progress: Progress, threads: int, *, elsewhere: bool = False
) -> StudyPlan:
    """Plan every cell; nothing is computed. Raises HarnessError for a study at fault, not for what a cell lacks.

    A study is at fault, too, when all of its cells are refused for one reason that is no lack of this machine.
    `elsewhere`: other machines compute the cells, and need have no GPU here.
    """
    planner = _Planner(registry, Store(study.store), threads, elsewhere)
    cells = expand(study, registry)
    progress.stage("plan the cells", len(cells))
    placed = []
    for done, cell in enumerate(cells, 1):
        placed.append((cell, planner.add(cell)))
        progress.advance(done)
    if len(planner.refused) == len(cells) and len(set(planner.refused)) == 1:
        raise HarnessError(planner.refused[0])
    return StudyPlan(study, planner.runs, tuple(placed), threads)


@dataclass
class _Planner:
    registry: Registry
    store: Store
    threads: int
    elsewhere: bool
    runs: dict[str, PlannedRun] = field(default_factory=dict)
    _planned: dict[tuple[str, int | None], str] = field(default_factory=dict)
    """Id by config and threads of every run so far: cells share their runs of the base model."""
    refused: list[str] = field(default_factory=list)
    """Why cells are refused that lack nothing which another machine could have."""

    def __post_init__(self) -> None:
        self.models = Models(self.registry, Silent().note)

    def add(self, cell: Cell) -> str:
        """Plan a cell and what it is compared with, and give its run's id; of a cell that lacks something, a name."""
        try:
            return self._run(cell.config, cell.words)
        except HarnessError as error:
            if not isinstance(error, NotHere):
                self.refused.append(str(error))
            name = f"missing-{len(self.runs)}"
            self.runs[name] = PlannedRun(name, cell.words, cell.config, "missing", str(error))
            return name

    def _run(self, config: RunConfig, words: str, threads: int | None = None) -> str:
        asked = (config.model_dump_json(), threads)
        if asked not in self._planned:
            self._planned[asked] = self._plan_run(config, words, threads)
        return self._planned[asked]

    def _plan_run(self, config: RunConfig, words: str, threads: int | None) -> str:
        plan = self._plan(config, threads)
        any_gpu = plan.run_id if is_open(plan) else None
        if any_gpu is not None:
            config = settled_here(config, plan)
            plan = self._where_it_was(plan)
        if plan.run_id in self.runs:
            return plan.run_id
        ready(plan, self.registry)
        threads = plan.machine.threads
        needs = tuple(self._run(other, _words_of(other), threads) for other in compared_with(plan))
        state, reason = self._state(plan, needs)
        fitted = (self.store.fit_dir(plan.fit_id) / "fit.json").exists()
        reason = reason or (NOTE if any_gpu is not None and state == "run" else "")
        self.runs[plan.run_id] = PlannedRun(plan.run_id, words, config, state, reason, needs, plan, fitted, any_gpu)
        return plan.run_id

    @cached_property
    def _made(self) -> Mapping[str, Record]:
        return made_elsewhere(self.store.root)

    def _where_it_was(self, plan: Plan) -> Plan:
        """The plan on the GPU that computed the cell, where there is a record of it."""
        record = self._made.get(plan.run_id)
        if record is None:
            return plan
        decisive = record.manifest.decisive
        kind = decisive["fit"]["machine"]["kind"]
        return replace(plan, decisive=decisive, machine=replace(plan.machine, kind=kind))

    def _plan(self, config: RunConfig, threads: int | None) -> Plan:
        """The plan with the threads that an unfinished start of the cell had, as a resumed cell has them."""
        asked = threads or self.threads
        plan = make_plan(config, self.registry, Silent(), threads=asked, models=self.models, elsewhere=self.elsewhere)
        begun = None if threads else self.store.threads_of(plan.start_id)
        if begun in (None, plan.machine.threads):
            return plan
        return make_plan(config, self.registry, Silent(), threads=begun, models=self.models, elsewhere=self.elsewhere)

    def _state(self, plan: Plan, needs: tuple[str, ...]) -> tuple[State, str]:
        try:
            record = self.store.record(plan.run_id)
        except HarnessError as error:
            return "run", str(error)
        if record is None:
            return "run", ""
        if record.status == "failed":
            return "failed", record.reason or ""
        notes = _Notes()
        there = all(self.runs[need].state == "reused" for need in needs)
        compared = self._compared(plan, record) if there else record.manifest.compared
        reused = finished(plan, self.store, compared, notes) is not None
        return ("reused", "") if reused else ("run", notes.last)

    def _compared(self, plan: Plan, record: Record) -> Mapping[str, Mapping[str, str]]:
        """The runs that a record was held against, with the hashes that their samples have now."""
        found = {}
        for role, noted in record.manifest.compared.items():
            other = self.store.record(noted["run"])
            samples = other.manifest.files.get(SAMPLES, "") if other is not None else ""
            found[role] = {"run": noted["run"], "samples": samples}
        return found


class _Notes(Silent):
    last = ""

    def note(self, line: str) -> None:
        """Keep what was said last."""
        self.last = line


def compared_with(plan: Plan) -> Iterator[RunConfig]:
    """The runs of the base model with which a cell is compared, as the engine asks for them."""
    if plan.config.aligner != BASE_ALIGNER:
        yield plan.base_config
    if plan.config.baseline == BASE_ALIGNER:
        yield plan.base_config.model_copy(update={"baseline": REFERENCE})


def memory_of(plan: Plan, known: Mapping[str, int]) -> int:
    """Bytes that a cell takes: the most that records of its method and model took, else an estimate of the model's.

    A record has the memory of one process of its fit; those that make a fit together take as much each.
    """
    from harness.models.load import count_parameters

    noted = known.get(f"{plan.config.aligner}|{plan.files.weights_hash}|{plan.machine.device}")
    alone = COPIES * count_parameters(plan.files.folder) * BYTES.get(plan.machine.precision, 4) + WORKING_BYTES
    return plan.config.processes * (noted or alone)


def peaks(records: Mapping[str, Record]) -> dict[str, int]:
    """The most memory by method, model and device that records name."""
    found: dict[str, int] = {}
    for record in records.values():
        key = f"{record.aligner.name}|{record.model.weights_hash}|{record.model.device}"
        found[key] = max(found.get(key, 0), record.spent.peak_memory_bytes)
    return found


def ready(plan: Plan, registry: Registry) -> None:
    """Raises `NotHere` where a judge says that it cannot judge."""
    for name in (plan.config.judge, plan.fit_judge):
        judge: object = registry.judge(name)() if name is not None else None
        if isinstance(judge, SaysWhatIsMissing):
            try:
                judge.ready()
            except HarnessError as error:
                raise NotHere(str(error)) from error


def _words_of(config: RunConfig) -> str:
    return f"{config.aligner} on {config.task}, {config.budget.preset} labels, draw {config.draw_seed}"
