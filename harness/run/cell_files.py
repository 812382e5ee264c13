"""The file that says what a cell is, and what came of it, beside that file: all that executors pass on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from harness.config import RunConfig
from harness.util.files import write_atomic


class CellFile(BaseModel):
    """What a process is told that computes a cell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    config: RunConfig
    threads: int
    plugins: bool = True
    allow: tuple[str, ...] | None = None
    observe: tuple[str, ...] = ()


class CellEnd(BaseModel):
    """What came of a start: a record, or why there is none. `refused`: the input was at fault; `raised`: a bug."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["recorded", "refused", "raised"]
    reason: str = ""


def outcome_file(file: Path) -> Path:
    """Where the outcome of a cell's file is written."""
    return file.with_suffix(".outcome.json")


def read_outcome(file: Path) -> CellEnd | None:
    """The outcome of a cell's file; None where no start of it came to an end."""
    try:
        return CellEnd.model_validate_json(outcome_file(file).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def write_outcome(file: Path, outcome: CellEnd) -> None:
    """Write what came of a cell's file."""
    write_atomic(outcome_file(file), (outcome.model_dump_json() + "\n").encode())


def read_cell(file: Path) -> CellFile:
    """The cell of a file."""
    return CellFile.model_validate_json(file.read_bytes())


def write_cell(file: Path, cell: CellFile) -> None:
    """Write a cell's file, and forget what came of it before."""
    outcome_file(file).unlink(missing_ok=True)
    write_atomic(file, (cell.model_dump_json(indent=1) + "\n").encode())
