"""Which record belongs to which cell of a study: written when a study runs, read by its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def covers(self, cells: Sequence[Cell]) -> bool:
        """Whether these are the cells of the index."""
        return [_key(cell.method, cell.axes) for cell in cells] == [_key(c.method, c.axes) for c in self.cells]

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
            update={"cells": cells, "forecast": {name(run): figures for run, figures in self.forecast.items()}}
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


def write_index(folder: Path, index: Index) -> None:
    """Write an index. Forecasts of runs that an earlier call computed are kept."""
    before = read_index(folder)
    kept = {**(before.forecast if before is not None else {}), **index.forecast}
    whole = index.model_copy(update={"forecast": kept})
    write_atomic(folder / INDEX, (whole.model_dump_json(indent=1) + "\n").encode())


def read_index(folder: Path) -> Index | None:
    """The index of a study's folder; None where it was never run.

    Raises HarnessError for one that is damaged, or that another version wrote.
    """
    return read_own(folder / INDEX, Index, "delete it and run the study again, which keeps every record")


def _key(method: str, axes: Mapping[str, Any]) -> tuple[str, str]:
    return method, repr(sorted((name, str(value)) for name, value in axes.items()))
