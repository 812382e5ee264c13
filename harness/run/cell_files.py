"""The file that says what a cell is, and what came of it, beside that file: all that executors pass on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.config import RunConfig
from harness.contracts import HarnessError
from harness.util.files import write_atomic
from harness.util.own_json import OtherVersion, parse_own, read_own

SAME = "install the same commit wherever cells are computed, and run the study again"
"""What to do where the process that computes a cell is of another version than the one that started it."""


class CellFile(BaseModel):
    """What a process is told that computes a cell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    config: RunConfig
    threads: int
    plugins: bool = True
    allow: tuple[str, ...] | None = None
    observe: tuple[str, ...] = ()
    decisive: dict[str, Any] = Field(default_factory=dict)
    """What `run_id` is the hash of, so that a process which comes to another id can say what differs."""
    any_gpu: str | None = None
    """The cell's id on a GPU without a name, where the machine that planned it has none: `run_id` then need not fit."""


class CellEnd(BaseModel):
    """What came of a start: a record, or why there is none.

    `refused`: the input was at fault; `raised`: a bug; `killed`: a signal ended the fit, and another start may end
    well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["recorded", "refused", "raised", "killed"]
    reason: str = ""
    run_id: str | None = None
    """Of the record."""


def outcome_file(file: Path) -> Path:
    """Where the outcome of a cell's file is written."""
    return file.with_suffix(".outcome.json")


def read_outcome(file: Path) -> CellEnd | None:
    """The outcome of a cell's file; None where no start of it came to an end.

    What another version wrote is a refusal: another start of the cell would end alike.
    """
    try:
        return read_own(outcome_file(file), CellEnd, SAME)
    except OtherVersion as error:
        return CellEnd(kind="refused", reason=str(error))
    except HarnessError:  # damaged: as good as none
        return None


def write_outcome(file: Path, outcome: CellEnd) -> None:
    """Write what came of a cell's file."""
    write_atomic(outcome_file(file), (outcome.model_dump_json() + "\n").encode())


def read_cell(file: Path) -> CellFile:
    """The cell of a file. Raises HarnessError for one that is damaged, or that another version wrote."""
    return parse_own(CellFile, file.read_bytes(), str(file), SAME)


def write_cell(file: Path, cell: CellFile) -> None:
    """Write a cell's file, and forget what came of it before."""
    outcome_file(file).unlink(missing_ok=True)
    write_atomic(file, (cell.model_dump_json(indent=1) + "\n").encode())
