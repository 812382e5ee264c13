"""Computing one cell from its file: `python -m harness.study.cell FILE`. What came of it is written beside the file."""

from __future__ import annotations

import dataclasses
import os
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contracts import HarnessError
from harness.contracts.progress import Progress, Silent
from harness.run.cell_files import CellEnd, CellFile, read_cell, write_outcome

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.run.plan import Plan
    from harness.run.session import Session

TAIL = 2000
"""Characters of a traceback that an outcome keeps."""
SHOWN = 3
"""Differences that a refusal names."""


def open_session(cell: CellFile, progress: Progress, *, forks: bool = False) -> Session:
    """A session for this cell and others of the same study; `forks` as in `Session`.

    Raises HarnessError where this machine lacks what the study names: a plug-in, a tracker.
    """
    from harness.plugins.registry import load
    from harness.records.store import Store
    from harness.run.session import Session

    registry = watched(load(plugins=cell.plugins, allow=cell.allow), cell.observe, cell.config.store)
    return Session(registry, Store(cell.config.store), progress, forks=forks, starts_again=True)


def watched(registry: Registry, names: tuple[str, ...], store: Path) -> Registry:
    """The registry with the trackers that a study names. Raises HarnessError for one that cannot be had."""
    from harness.study.observers import open_observer

    opened = {name: open_observer(name, store) for name in names if name not in registry.observers}
    return dataclasses.replace(registry, observers={**registry.observers, **opened}) if opened else registry


def compute(cell: CellFile, session: Session) -> CellEnd:
    """Run a cell. Whatever is wrong with it is told, never raised; Ctrl-C is."""
    from harness.run.engine import run_cell
    from harness.run.fitting import FitKilled

    try:
        record = run_cell(cell.config, session, cell.threads, accept=partial(refuse_another, cell))
    except HarnessError as error:
        return CellEnd(kind="refused", reason=str(error))
    except FitKilled as error:
        return CellEnd(kind="killed", reason=str(error))
    except Exception as error:
        session.release()
        tail = "".join(traceback.format_exception(error))[-TAIL:]
        return CellEnd(kind="raised", reason=f"{type(error).__name__}: {error}\n{tail}")
    return CellEnd(kind="recorded", run_id=record.id)


def refuse_another(cell: CellFile, plan: Plan) -> None:
    """Raise HarnessError where this process would compute another run than the study planned, and say what differs.

    On whichever GPU, where its name was left open.
    """
    from harness.run.identity import id_on_any_gpu, what_differs

    same = plan.run_id == cell.run_id if cell.any_gpu is None else id_on_any_gpu(plan.decisive) == cell.any_gpu
    if same:
        return
    found = what_differs(cell.decisive, plan.decisive, any_gpu=cell.any_gpu is not None)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise HarnessError(
        "the process that computes this cell would compute another run than the study planned: "
        f"{'; '.join(found[:SHOWN])}{more}; make these the same in both processes, or run the study again"
    )


def compute_file(file: Path, progress: Progress | None = None) -> CellEnd:
    """Run the cell of a file in this process and write what came of it beside the file."""
    try:
        cell = read_cell(file)
        os.environ["OMP_NUM_THREADS"] = str(cell.threads)
        session = open_session(cell, progress or Silent())
    except HarnessError as error:
        outcome = CellEnd(kind="refused", reason=str(error))
    else:
        outcome = compute(cell, session)
    write_outcome(file, outcome)
    return outcome


def main() -> int:
    """Exit status: 0 with a record, failed or not; 2 where the input was refused; 1 for a bug or a killed fit."""
    outcome = compute_file(Path(sys.argv[1]))
    return {"recorded": 0, "refused": 2, "raised": 1, "killed": 1}[outcome.kind]


if __name__ == "__main__":
    sys.exit(main())
