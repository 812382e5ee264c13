"""Driving a study: cells go to an executor as they become ready, until all have a record or a limit is reached.

Only the store says which cells are done. A cell that another process computes is left to that process, and a cell whose
worker dies is started again. Cells that share a fit or answers never run at the same time: the second reuses what the
first has stored.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from harness.contracts import BASE, CellJob, CellState, Executor, HarnessError
from harness.contracts.progress import Progress, Silent
from harness.records.schema import Failure
from harness.records.store import Store
from harness.run.cell_files import CellFile, read_outcome, write_cell
from harness.run.recording import CellOutcome as Came
from harness.run.recording import build_record
from harness.study.events import Events
from harness.study.plan import PlannedRun, StudyPlan, memory_of, peaks

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plugins.registry import Registry
    from harness.records.schema import Record
    from harness.study.file import StudyFile

TICK = 0.05
"""Seconds between two looks at the executor."""
LOOK = 0.5
"""Seconds between two looks at the store, for what other processes did."""
Phase = Literal["waiting", "running", "done", "failed", "missing"]


@dataclass
class Run:
    """A run of the study with its present state."""

    planned: PlannedRun
    phase: Phase
    reason: str = ""
    starts: int = 0
    record_id: str | None = None
    """Of its record, where it is another than that of the planned run: the GPU that computed it has a name."""


@dataclass(frozen=True)
class StudyOutcome:
    """The outcome of a call of `study run`."""

    runs: Mapping[str, Run]
    stopped: str | None
    """Why no further cell was started, or None if all were started."""
    seconds: float
    flops: float
    """Of the runs that ended in this call."""

    def count(self, phase: Phase) -> int:
        """How many runs are in a phase."""
        return sum(run.phase == phase for run in self.runs.values())

    def counts(self) -> dict[str, int]:
        """How many runs are in each phase in which a call can leave them."""
        phases: tuple[Phase, ...] = ("done", "failed", "missing", "waiting")
        return {phase: self.count(phase) for phase in phases}

    @property
    def complete(self) -> bool:
        """Whether every run has a record."""
        return all(run.phase in ("done", "failed") for run in self.runs.values())


@dataclass
class CallSpent:
    """What this call has spent so far."""

    began: float = field(default_factory=time.monotonic)
    flops: float = 0.0
    usd: float = 0.0

    @property
    def seconds(self) -> float:
        """Since the call began."""
        return time.monotonic() - self.began


class Driver:
    """One call of `study run`."""

    def __init__(
        self,
        plan: StudyPlan,
        registry: Registry,
        executor: Executor,
        events: Events,
        progress: Progress | None = None,
        *,
        retry: bool = False,
        expected_flops: Mapping[str, float] | None = None,
    ) -> None:
        self.plan, self.registry, self.executor, self.events = plan, registry, executor, events
        self.progress = progress or Silent()
        self.store = Store(plan.study.store)
        self.spent = CallSpent()
        self.runs = {name: _begun(planned, retry) for name, planned in plan.runs.items()}
        self.stopped: str | None = None
        self._flight: dict[str, str] = {}
        """Handle -> run."""
        self._expected = expected_flops or {}
        self._files = plan.study.folder / "cells" / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        """Of this call alone: two calls on one study do not see each other's files."""
        self._jobs: dict[str, CellJob] = {}
        self._looked = -LOOK
        self._known = peaks({run.id: run for run in _records(self.store, plan)})

    def run(self) -> StudyOutcome:
        """Compute every cell that can be computed. Ctrl-C ends the running cells, which continue at the next call."""
        self.events.tell("study_started", study=self.plan.study.name, runs=len(self.runs), to_run=self._left())
        self.progress.stage(f"study {self.plan.study.name}", len(self.runs))
        try:
            while self._step():
                time.sleep(TICK)
        except KeyboardInterrupt:
            self.events.tell("study_interrupted", under_way=sorted(self._flight.values()))
            raise
        finally:
            self.executor.close()
            shutil.rmtree(self._files, ignore_errors=True)
        done = StudyOutcome(self.runs, self.stopped, self.spent.seconds, self.spent.flops)
        self.events.tell("study_ended", stopped=self.stopped, seconds=round(done.seconds, 1), **done.counts())
        return done

    # ------------------------------------------------------------ one look

    def _step(self) -> bool:
        """Take in what ended and start what is ready. False where nothing is left to do."""
        ended = self._collect()
        self.stopped = self.stopped or self._limit()
        if ended or time.monotonic() - self._looked >= LOOK:
            self._look_elsewhere()
            if self.stopped is None:
                self._start()
            self._looked = time.monotonic()
        settled = sum(run.phase in ("done", "failed", "missing") for run in self.runs.values())
        under_way = [self.runs[name].planned.words for name in self._flight.values()]
        self.progress.advance(settled, len(self.runs), running=under_way[0] if len(under_way) == 1 else len(under_way))
        return bool(self._flight) or (self.stopped is None and self._left() > 0)

    def _left(self) -> int:
        return sum(run.phase == "waiting" for run in self.runs.values())

    def _limit(self) -> str | None:
        """Which limit of the study is reached, in words."""
        limits, spent = self.plan.study.limits, self.spent
        under_way = sum(self._expected.get(name, 0.0) for name in self._flight.values())
        if limits.hours is not None and spent.seconds >= limits.hours * 3600:
            return f"the limit of {limits.hours:g} hours is reached"
        if limits.flops is not None and spent.flops + under_way >= limits.flops:
            return f"the limit of {limits.flops:.3g} FLOPs is reached"
        if limits.usd is not None and spent.usd >= limits.usd:
            return f"the limit of {limits.usd:g} US dollars for judges is reached"
        return None

    def _start(self) -> None:
        for name, run in self.runs.items():
            if run.phase != "waiting" or not self._ready(name, run):
                continue
            job = self._job(run.planned)
            if not self.executor.room(job):
                return
            self._submit(job, run)
            self.stopped = self._limit()
            if self.stopped is not None:
                return

    def _ready(self, name: str, run: Run) -> bool:
        """Whether a cell can start: what it needs is there, and nobody works on it or on what it shares."""
        needed = [self.runs[need] for need in run.planned.needs]
        bad = [other for other in needed if other.phase in ("failed", "missing")]
        if bad:
            self._settle(name, "missing", f"{bad[0].planned.words} is not there: {bad[0].reason}")
            return False
        if any(other.phase != "done" for other in needed) or self._shares(run.planned):
            return False
        plan = run.planned.plan
        assert plan is not None
        return not any(map(self.store.is_locked, (plan.run_id, plan.fit_id)))

    def _shares(self, planned: PlannedRun) -> bool:
        """Whether a cell under way makes the fit, or gathers the answers, that this one will want."""
        mine, fits = planned.plan, planned.config.aligner != BASE
        others = [self.runs[name].planned.plan for name in self._flight.values()]
        return any(
            mine is not None
            and other is not None
            and (
                mine.answers_id == other.answers_id
                or (fits and mine.fit_id == other.fit_id and not self._fitted(mine.fit_id))
            )
            for other in others
        )

    def _fitted(self, fit_id: str) -> bool:
        return (self.store.fit_dir(fit_id) / "fit.json").exists()

    # ------------------------------------------------------------ starting and ending

    def _job(self, planned: PlannedRun) -> CellJob:
        if planned.run_id not in self._jobs:
            self._jobs[planned.run_id] = self._made(planned)
        return self._jobs[planned.run_id]

    def _made(self, planned: PlannedRun) -> CellJob:
        job = cell_job(self.plan.study, planned, self._file(planned.run_id), self._known)
        return dataclasses.replace(job, needs=tuple(self.runs[need].record_id or need for need in job.needs))

    def _file(self, run_id: str) -> Path:
        return self._files / f"{run_id}.json"

    def _submit(self, job: CellJob, run: Run) -> None:
        cell = CellFile(
            run_id=job.run_id,
            config=run.planned.config.model_copy(update={"store": self.store.root.resolve()}),
            threads=job.threads,
            plugins=self.registry.plugins,
            allow=None if self.registry.allow is None else tuple(sorted(self.registry.allow)),
            observe=self.plan.study.observe,
            decisive=dict(run.planned.plan.decisive) if run.planned.plan is not None else {},
            any_gpu=run.planned.any_gpu,
        )
        write_cell(job.file, cell)
        run.phase, run.starts = "running", run.starts + 1
        self._flight[self.executor.submit(job)] = job.run_id
        self.events.tell("cell_started", run=job.run_id, cell=run.planned.words, start=run.starts)

    def _collect(self) -> bool:
        """Take in cells that ended; whether there were any."""
        through = False
        for handle, state in self.executor.poll(list(self._flight)).items():
            if state.phase in ("ended", "lost"):
                name = self._flight.pop(handle)
                self._ended(name, self.runs[name], state)
                through = True
        return through

    def _look_elsewhere(self) -> None:
        """Take in cells that another process ended."""
        for name, run in self.runs.items():
            if run.phase == "waiting" and self._ended_elsewhere(name, run):
                self._recorded(name, self._found(name))

    def _ended_elsewhere(self, name: str, run: Run) -> bool:
        """Whether a record appeared since the study was planned: a failed one, or one not believed, was there then."""
        fresh = run.planned.state == "run" and not run.planned.reason and not run.starts
        return fresh and self.store.run_dir(name).exists()

    def _ended(self, name: str, run: Run, state: CellState) -> None:
        told = read_outcome(self._file(name))
        if told is not None and told.run_id not in (None, name):
            run.record_id = told.run_id
        record = self._found(run.record_id or name)
        if told is not None and told.kind == "refused":
            self._settle(name, "missing", told.reason)
        elif record is not None and (record.status != "failed" or (told is not None and told.kind == "recorded")):
            self._recorded(name, record)
        else:
            self._lost(name, run, told.reason if told is not None else state.note)

    def _found(self, name: str) -> Record | None:
        try:
            return self.store.record(name)
        except HarnessError:
            return None

    def _lost(self, name: str, run: Run, why: str) -> None:
        """Start the cell again, or record that it failed."""
        self.events.tell("cell_lost", run=name, start=run.starts, why=why)
        if run.starts < self.plan.study.run.attempts:
            self.progress.note(f"{run.planned.words}: {why.splitlines()[0] if why else 'lost'}; it is started again")
            run.phase = "waiting"
            return
        assert run.planned.plan is not None
        first = why.splitlines()[0] if why else "its worker was lost"
        failure = Failure(reason=f"{first} ({run.starts} starts)", traceback=why)
        with self.store.lock(name, lambda: None):
            record = build_record(run.planned.plan, Came(failure=failure), self.registry.provenance)
            self._recorded(name, self.store.publish(record, (), None))

    def _recorded(self, name: str, record: Record | None) -> None:
        if record is None:
            return
        judged = record.task.n_items if record.task.judge else 0
        self.spent.flops += record.spent.flops + record.spent.inference.flops
        self.spent.usd += judged * self.plan.study.prices.get(record.task.judge or "", 0.0)
        if record.status == "failed":
            self._settle(name, "failed", record.reason or "")
        else:
            score = record.scores.get(record.task.main_metric)
            self._settle(name, "done", "", score=None if score is None else score.mean, status=record.status)

    def _settle(self, name: str, phase: Phase, reason: str, **facts: object) -> None:
        run = self.runs[name]
        run.phase, run.reason = phase, reason
        self.events.tell(f"cell_{phase}", run=name, cell=run.planned.words, reason=reason, **facts)
        if reason:
            self.progress.note(f"{run.planned.words} {'failed' if phase == 'failed' else 'is missing'}: {reason}")


def cell_job(study: StudyFile, planned: PlannedRun, file: Path, known: Mapping[str, int]) -> CellJob:
    """What an executor is told of a run; `known` is the memory that records name (`peaks`)."""
    assert planned.plan is not None
    asked = study.run.memory_gb
    return CellJob(
        run_id=planned.run_id,
        file=file,
        store=study.store.resolve(),
        needs=planned.needs,
        threads=planned.plan.machine.threads,
        memory_bytes=int(asked * 2**30) if asked else memory_of(planned.plan, known),
        gpus=max(study.run.gpus, planned.plan.config.processes) if study.run.gpus else 0,
    )


def _begun(planned: PlannedRun, retry: bool) -> Run:
    phases: dict[str, Phase] = {"run": "waiting", "reused": "done", "missing": "missing"}
    phase = phases.get(planned.state, "waiting" if retry else "failed")
    return Run(planned, phase, planned.reason if phase in ("missing", "failed") else "")


def _records(store: Store, plan: StudyPlan) -> Iterable[Record]:
    for name, planned in plan.runs.items():
        if planned.state == "reused" and (record := store.record(name)) is not None:
            yield record
