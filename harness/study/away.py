"""Cells that another machine computes, on a GPU that this one does not have: what they are called here and there.

A run's id holds the GPU's name. A machine without a GPU plans a cell under the id that it has on one without a name;
the record has its own id, and is found again by what decided it less that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.config import RunConfig
from harness.models.load import NOT_HERE
from harness.records.schema import Record
from harness.run.identity import SECTIONS, id_on_any_gpu
from harness.run.plan import Plan
from leaderboards.load import records

NOTE = "no GPU here: the run's id follows from the GPU that computes it"


def is_open(plan: Plan) -> bool:
    """Whether the GPU of a planned cell has no name yet."""
    return plan.machine.kind == NOT_HERE


def settled_here(config: RunConfig, plan: Plan) -> RunConfig:
    """The cell's settings with what `auto` came to here, so that it comes to the same where the cell is computed."""
    fast = "on" if plan.machine.fast_paths else "off"
    return config.model_copy(update={"fast_paths": fast, "backend": plan.config.backend})


def made_elsewhere(store: Path) -> Mapping[str, Record]:
    """The records of runs on GPUs by the ids under which a machine without one plans them.

    Of several on different GPUs one that did not fail comes first, then the youngest.
    """
    found: dict[str, Record] = {}
    for record in sorted(records(store)[0].values(), key=_preference):
        decisive = record.manifest.decisive
        if record.model.device == "cuda" and all(name in decisive for name in SECTIONS):
            found[id_on_any_gpu(decisive)] = record
    return found


def _preference(record: Record) -> tuple[bool, str]:
    return record.status != "failed", record.manifest.created
