"""Which record belongs to which cell of a study: written when a study runs, read by its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.records.schema import Record
from harness.study.grid import Cell
from harness.study.plan import StudyPlan
from harness.util.files import write_atomic
from harness.util.own_json import read_own

INDEX = "cells.json"


class IndexedCell(BaseModel):
    """A cell, its run, and the runs of base that it is compared with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    axes: dict[str, Any]
    run: str
    needs: tuple[str, ...] = ()


class Index(BaseModel):
    """All cells of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    cells: tuple[IndexedCell, ...]
    forecast: dict[str, dict[str, float]] = {}
    """For each run that was to be computed, what the forecast expected: `seconds`, `flops`."""
    earlier: dict[str, str] = {}
    """For each run whose id changed since the study first had a record of it, that record's id."""

    def covers(self, cells: Sequence[Cell]) -> bool:
        """Whether these are the cells of the index."""
        return [_key(cell.method, cell.axes) for cell in cells] == [_key(c.method, c.axes) for c in self.cells]

    def earlier_runs(self, plan: StudyPlan) -> dict[str, list[str]]:
        """For every run of the plan the ids that it had before, the last one first; none for a study of other cells."""
        if not self.covers([cell for cell, _ in plan.cells]):
            return {}
        pairs: dict[str, str] = {}
        for cell, (_, run) in zip(self.cells, plan.cells, strict=True):
            pairs |= {run: cell.run, **dict(zip(plan.runs[run].needs, cell.needs, strict=False))}
        return {
            new: found
            for new, old in pairs.items()
            if (found := [one for one in (old, self.earlier.get(old)) if one not in (None, new)])
        }

    def renamed(self, made: Mapping[str, Record]) -> Index:
        """Replace provisional ids, which runs have on a machine without the GPU, by the ids of their records."""

        def name(run: str) -> str:
            return made[run].id if run in made else run

        cells = tuple(
            cell.model_copy(
                update={"run": name(cell.run), "needs": _compared(made.get(cell.run)) or tuple(map(name, cell.needs))}
            )
            for cell in self.cells
        )
        return self.model_copy(
            update={
                "cells": cells,
                "forecast": {name(run): figures for run, figures in self.forecast.items()},
                "earlier": {name(run): old for run, old in self.earlier.items()},
            }
        )


def _compared(record: Record | None) -> tuple[str, ...]:
    """The runs that a record was held against, base first."""
    noted = {} if record is None else record.manifest.compared
    return tuple(dict.fromkeys(noted[role]["run"] for role in sorted(noted, key=lambda role: role != "base")))


def index_of(plan: StudyPlan, forecast: Mapping[str, Mapping[str, float]] | None = None) -> Index:
    """The index of a plan."""
    cells = tuple(
        IndexedCell(method=cell.method, axes=dict(cell.axes), run=run, needs=plan.runs[run].needs)
        for cell, run in plan.cells
    )
    return Index(study=plan.study.name, cells=cells, forecast={k: dict(v) for k, v in (forecast or {}).items()})


def write_index(folder: Path, plan: StudyPlan, index: Index, there: Callable[[str], bool]) -> None:
    """Write the index of a plan. Forecasts of runs that an earlier call computed are kept, and so are ids from before.

    `there` says whether a run has a record: an id from before without one says nothing.
    """
    before = read_index(folder)
    forecast, earlier = dict(index.forecast), dict(index.earlier)
    if before is not None:
        forecast = {**before.forecast, **forecast}
        for new, ids in before.earlier_runs(plan).items():
            earlier |= {new: old} if (old := next(filter(there, ids), None)) is not None else {}
    whole = index.model_copy(update={"forecast": forecast, "earlier": earlier})
    write_atomic(folder / INDEX, (whole.model_dump_json(indent=1) + "\n").encode())


def read_index(folder: Path) -> Index | None:
    """The index of a study's folder; None where it was never run.

    Raises HarnessError for one that is damaged, or that another version wrote.
    """
    return read_own(folder / INDEX, Index, "delete it and run the study again, which keeps every record")


def _key(method: str, axes: Mapping[str, Any]) -> tuple[str, str]:
    return method, repr(sorted((name, str(value)) for name, value in axes.items()))
