"""What a board is to have: its `board.yaml`, and which of the planned cells have no score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.contracts import HarnessError
from leaderboards.folds import complete
from leaderboards.load import Entry
from leaderboards.table import Setting, Table

PLAN = "board.yaml"


class PlannedRow(BaseModel):
    """Cells of one task that a board is to have: every row at every budget in every draw."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    rows: tuple[str, ...] = Field(description="labels of rows as the tables have them, such as `gem [optimise=none]`")
    draws: tuple[int, ...]
    labels: tuple[int, ...] | None = Field(default=None, description="budgets; any where none is named")
    track: str | None = Field(default=None, description="`labels` or `labels+compute`; either where none is named")
    pool: str | None = Field(default=None, description="where the labels come from; any pool where none is named")
    why: str | None = Field(default=None, description="why cells of this part are missing, for the board's page")


class BoardPlan(BaseModel):
    """What stands in `board.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    about: str = Field(description="what the board asks, what was run, and what its figures cannot say")
    planned: tuple[PlannedRow, ...] = ()

    def cells(self) -> list[PlannedCell]:
        """Every planned cell, in the plan's order."""
        return [
            PlannedCell(one.task, row, draw, labels, one.track, one.pool, one.why)
            for one in self.planned
            for row in one.rows
            for labels in one.labels or (None,)
            for draw in one.draws
        ]


def plan_of(folder: Path) -> BoardPlan:
    """The plan of a board. Raises HarnessError where it is missing or no plan."""
    import yaml

    try:
        return BoardPlan.model_validate(yaml.safe_load((folder / PLAN).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise HarnessError(f"{folder.name} has no {PLAN}; write title, about and planned into it") from error
    except (yaml.YAMLError, ValidationError) as error:
        raise HarnessError(f"{folder / PLAN} is no plan of a board: {_first(error)}") from error


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"])) or "top level"
        return f"{place}: {found['msg']}"[:160]
    return str(error).splitlines()[-1][:80]


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A row of a board in one draw; None stands for any."""

    task: str
    label: str
    draw: int
    labels: int | None = None
    track: str | None = None
    pool: str | None = None
    why: str | None = None

    def belongs_to(self, setting: Setting) -> bool:
        """Whether a table of that setting may hold the cell."""
        asked = {"task": self.task, "labels": self.labels, "track": self.track, "pool": self.pool}
        return all(value is None or getattr(setting, name) == value for name, value in asked.items())

    @property
    def part(self) -> PlannedCell:
        """The cell without its draw: cells that differ in it alone are told in one line."""
        return PlannedCell(self.task, self.label, -1, self.labels, self.track, self.pool, self.why)

    @property
    def words(self) -> str:
        """The cell without its draw, in words."""
        labels = None if self.labels is None else f"{self.labels} labels"
        track = None if self.track is None else f"track {self.track}"
        pool = None if self.pool is None else f"pool {self.pool}"
        return ", ".join(part for part in (self.task, self.label, labels, track, pool) if part is not None)


@dataclass(frozen=True, slots=True)
class Missing:
    """A planned cell without a score."""

    cell: PlannedCell
    failure: str | None
    """Why its run failed; None where it was not run."""


def missing(tables: Sequence[Table], entries: Mapping[str, Entry], planned: Sequence[PlannedCell]) -> list[Missing]:
    """The planned cells that have no score, in the plan's order; one that lacks a fold has none."""
    found = ((cell, _runs(tables, entries, cell)) for cell in planned)
    return [
        Missing(cell, next((_failure(one) for one in runs if not _has_answers(one)), None))
        for cell, runs in found
        if not complete([one for one in runs if _has_answers(one)])
    ]


def _has_answers(entry: Entry) -> bool:
    return entry.record.status != "failed" and entry.samples is not None


def not_run(left: Sequence[Missing]) -> dict[PlannedCell, list[int]]:
    """The draws that were not run, by their cells without a draw."""
    found: dict[PlannedCell, list[int]] = {}
    for one in left:
        if one.failure is None:
            found.setdefault(one.cell.part, []).append(one.cell.draw)
    return found


def in_words(left: Sequence[Missing]) -> list[str]:
    """A line for every part of the plan that was not run, and for every cell that failed."""
    open_ = [
        f"{cell.words}: not run in draws {', '.join(map(str, draws))}" + (f" ({cell.why})" if cell.why else "")
        for cell, draws in not_run(left).items()
    ]
    failed = [f"{one.cell.words}: failed in draw {one.cell.draw}: {one.failure}" for one in left if one.failure]
    return [*open_, *failed]


def _runs(tables: Sequence[Table], entries: Mapping[str, Entry], cell: PlannedCell) -> list[Entry]:
    """The runs of a cell. A run of base serves every draw, except where the draw decides what is asked."""
    rows = (row for table in tables if cell.belongs_to(table.setting) for row in table.rows if row.label == cell.label)
    return [
        entries[run]
        for row in rows
        for run in row.records
        if run in entries and (_serves_all(row.role, entries[run]) or entries[run].record.seed.draw == cell.draw)
    ]


def _serves_all(role: str, entry: Entry) -> bool:
    return role == "base" and not entry.record.data.rating_ids


def _failure(entry: Entry) -> str:
    record = entry.record
    failed = record.failure.reason if record.failure else None
    return entry.problem or failed or record.reason or "its samples cannot be read"
