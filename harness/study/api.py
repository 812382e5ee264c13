"""A study from Python: `Study.load(path).run()`, its records, and its report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import ComputesElsewhere, Executor, HarnessError, Resources, ShowsCommand, StartsAhead
from harness.contracts.progress import Progress, Silent
from harness.models.find import cache_dir
from harness.plugins.registry import Registry, load
from harness.records.store import Store
from harness.study.away import made_elsewhere
from harness.study.drive import Driver, StudyOutcome, cell_job
from harness.study.earlier import not_taken_over
from harness.study.events import EVENTS, Events, Listener
from harness.study.executors.local import LocalExecutor
from harness.study.file import StudyFile, read_study, study_of
from harness.study.grid import Cell, expand
from harness.study.index import Index, index_of, read_index, write_index
from harness.study.observers import refuse_without_package
from harness.study.outlook import StudyForecast, outlook
from harness.study.plan import StudyPlan, plan_study
from harness.study.speed import learn
from leaderboards.load import records

if TYPE_CHECKING:
    from harness.records.schema import Record
    from harness.study.report import StudyReport


class Study:
    """A study file with its cells, runs, records and report."""

    def __init__(self, file: StudyFile, registry: Registry | None = None) -> None:
        self.file = file
        self.registry = registry if registry is not None else load()

    @classmethod
    def load(cls, path: str | Path, sets: Sequence[str] = (), registry: Registry | None = None) -> Study:
        """Read a study file; each `key=value` of `sets` overrides a key. Raises HarnessError naming file and key."""
        return cls(read_study(Path(path), sets), registry)

    @classmethod
    def of(cls, values: Mapping[str, Any], registry: Registry | None = None) -> Study:
        """Make a study from plain values, as a file would hold them. Raises HarnessError naming a key that is wrong."""
        return cls(study_of(values), registry)

    @property
    def store(self) -> Store:
        """The store that holds the records of the study."""
        return Store(self.file.store)

    def cells(self) -> tuple[Cell, ...]:
        """Every combination of the axes, without those that `exclude` leaves out."""
        return expand(self.file, self.registry)

    def plan(self, progress: Progress | None = None) -> StudyPlan:
        """Every run with its state: finished, still to be computed, or missing something. Nothing is computed."""
        executor = self._executor()
        try:
            return self._planned(executor, progress or Silent())
        finally:
            executor.close()

    def run(
        self, progress: Progress | None = None, *, retry_failed: bool = False, listener: Listener | None = None
    ) -> StudyOutcome:
        """Compute the cells that have no record, and say what came of them. `listener` is called with every event.

        Raises HarnessError for a wrong study, and where this machine computes the cells and lacks a tracker's package.
        A cell that fails, or that lacks a model, a key or a GPU, raises nothing; the outcome names it.
        """
        for name in self.file.observe if self.file.run.executor == "local" else ():
            refuse_without_package(name, self.registry.observers)
        executor = self._executor()
        try:
            watching = progress or Silent()
            if isinstance(executor, StartsAhead) and not self._all_there():
                executor.start_ahead(len(self.cells()))
            plan = self._planned(executor, watching)
            for sentence in plan.not_taken_over:
                watching.note(sentence)
            expected = self.outlook(plan).expected()
            write_index(self.file.folder, plan, index_of(plan, expected), self._is_there)
            flops = {name: figures["flops"] for name, figures in expected.items()}
            events = Events(self.file.folder / EVENTS, listener)
            driver = Driver(plan, self.registry, executor, events, watching, retry=retry_failed, expected_flops=flops)
            outcome = driver.run()
            if isinstance(executor, LocalExecutor):  # what others computed says nothing of this machine
                computed = [name for name, run in outcome.runs.items() if run.starts and run.phase == "done"]
                learn(cache_dir(), [record for name in computed if (record := self.store.record(name)) is not None])
            return outcome
        finally:
            executor.close()

    def _all_there(self) -> bool:
        """Whether every run that the last `run` of these cells named has a record."""
        index = self._last_index()
        return (
            index is not None and index.covers(self.cells()) and all(self._is_there(cell.run) for cell in index.cells)
        )

    def _is_there(self, run_id: str) -> bool:
        return self.store.run_dir(run_id).is_dir()

    def _planned(self, executor: Executor, progress: Progress) -> StudyPlan:
        elsewhere = isinstance(executor, ComputesElsewhere) and executor.elsewhere
        plan = plan_study(self.file, self.registry, progress, executor.threads, elsewhere=elsewhere)
        return dataclasses.replace(plan, not_taken_over=tuple(not_taken_over(plan, self._last_index(), self.store)))

    def _last_index(self) -> Index | None:
        """What the last `run` wrote, with the ids that its records have; None without one that can be read."""
        try:
            index = read_index(self.file.folder)
        except HarnessError:  # damaged, or of another version: `run` says so
            return None
        if index is None or self.file.shared.device != "cuda":
            return index
        return index.renamed(made_elsewhere(self.file.store))

    def outlook(self, plan: StudyPlan) -> StudyForecast:
        """Forecast what the runs still to be computed will take (hours, FLOPs, memory, price) and can show."""
        found, _ = records(self.file.store)
        executor = self._executor()
        executor.close()
        workers = getattr(executor, "workers", None) or self.file.run.workers or 1
        return outlook(plan, list(found.values()), int(workers), self._known(plan))

    def _known(self, plan: StudyPlan) -> StudyReport | None:
        from harness.study.report import build

        try:
            return build(self.file, index_of(plan), self.store)
        except HarnessError:  # there is no record yet
            return None

    def submission(self, plan: StudyPlan) -> str | None:
        """The command that the executor would give to its cluster; None without a cluster or a run to compute."""
        to_run = [run for run in plan.runs.values() if run.state == "run" and run.plan is not None]
        executor = self._executor()
        try:
            if not to_run or not isinstance(executor, ShowsCommand):
                return None
            job = cell_job(self.file, to_run[-1], self.file.folder / "cells" / "FILE", {})
            return executor.preview(job, len(to_run))
        finally:
            executor.close()

    def index(self) -> Index:
        """The cells with their runs, from the last `run` of this study, or else as they would be run now."""
        index = read_index(self.file.folder)
        if index is None or not index.covers(self.cells()):
            return index_of(self.plan())
        return index.renamed(made_elsewhere(self.file.store)) if self.file.shared.device == "cuda" else index

    def records(self) -> list[Record]:
        """The records of the cells and of the base model that exist so far."""
        names = dict.fromkeys(name for cell in self.index().cells for name in (*cell.needs, cell.run))
        found = [self.store.record(name) for name in names if not name.startswith("missing-")]
        return [record for record in found if record is not None]

    def frame(self) -> Any:
        """A pandas.DataFrame with one row for each record: axes, status, every score and every cost."""
        import pandas as pd

        return pd.DataFrame([row(record) for record in self.records()])

    def report(self) -> StudyReport:
        """Make the report from the records that exist. Raises HarnessError if there is none yet."""
        from harness.study.report import build

        return build(self.file, self.index(), self.store)

    def _executor(self) -> Executor:
        asked = self.file.run
        kind = self.registry.executor(asked.executor)
        options = dict(asked.options)
        return kind(Resources(self.file.folder, asked.workers, asked.threads, asked.gpus, options))


def row(record: Record) -> dict[str, Any]:
    """A record as a flat mapping from column to value."""
    scores = {f"score.{name}": score.mean for name, score in sorted(record.scores.items())}
    main = record.scores.get(record.task.main_metric)
    spent = record.spent
    return {
        "run": record.id,
        "aligner": record.aligner.name,
        "changed": str(record.aligner.changed or ""),
        "shuffled": record.data.shuffled_labels,
        "task": record.task.name,
        "pool": record.data.pool,
        "model": record.model.name,
        "labels": record.budget.labels,
        "draw": record.seed.draw,
        "seed": record.seed.training,
        "judge": record.task.judge,
        "backend": record.model.backend,
        "track": record.budget.track,
        "status": record.status,
        "reason": record.reason,
        "score": None if main is None else main.mean,
        **scores,
        "flops": spent.flops,
        "inference_flops": spent.inference.flops,
        "seconds": spent.seconds.total,
        "peak_memory_bytes": spent.peak_memory_bytes,
        "restarts": spent.lost.restarts,
    }
