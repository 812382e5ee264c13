"""Does an executor keep the promises of `contracts.Executor`? Checks for its author's own tests.

    from harness.conformance.executors import parametrize_executors_with_checks

    @parametrize_executors_with_checks({"mine": (MyExecutor, {"option": "value"})})
    def test_conformance(check):
        check()

The checks share one executor, which computes three cells on the kit's tiny model, and the records of a process that
computed the same cells without it.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import Lora, RunConfig, budget_of
from harness.conformance.checks import Check, CheckFailed, Outcome, known, outcomes, parametrized, required
from harness.conformance.toy import tiny_folder
from harness.contracts import CellJob, CellState, Executor, HarnessError, Lengths, Resources
from harness.contracts.progress import Silent
from harness.records.store import Store
from harness.run.cell_files import CellFile, read_outcome, write_cell

if TYPE_CHECKING:
    from harness.records.schema import Record

PATIENCE = 300.0
"""Seconds that a cell of the kit may take; it takes a few."""
TICK = 0.1
Kind = tuple[type[Executor], Mapping[str, Any]]
"""An executor and the options that it is opened with."""


@dataclass
class Computed:
    """What one executor made of the kit's cells."""

    ended: dict[str, CellState]
    """By the cells' names."""
    records: dict[str, Record | None]
    refused: str
    unknown: CellState
    again: CellState
    """Of a cell that was submitted when its record was there already."""
    closed_twice: str
    """What a second `close` raised."""


@lru_cache(maxsize=1)
def tiny() -> Path:
    """The folder of the kit's model, which lies there as long as this process lives."""
    folder = Path(tempfile.mkdtemp(prefix="align-harness-kit-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return tiny_folder(folder / "tiny")


@lru_cache(maxsize=1)
def expected_records() -> dict[str, Record]:
    """The records that this process makes of the cells, in a store of its own."""
    from harness.plugins.registry import load
    from harness.run.engine import run_cell
    from harness.run.session import Session

    with tempfile.TemporaryDirectory(prefix="align-harness-kit-") as folder:
        session = Session(load(plugins=False), Store(Path(folder)), Silent())
        return {name: run_cell(cell_config(name, Path(folder)), session, 1) for name in ("base", "sft")}


def cell_config(name: str, store: Path) -> RunConfig:
    """A cell of the kit; `refused` names a model that is not there."""
    return RunConfig(
        aligner="base" if name == "refused" else name,
        task="medqa",
        model=str(tiny() if name != "refused" else tiny() / "absent"),
        data="sample",
        limit=4,
        budget=budget_of({"preset": "8", "min_steps": 2, "prompts": 0}, "budget"),
        lengths=Lengths(prompt=64, completion=24, new_tokens=8, sample_prompts=2),
        lora=Lora(r=2, alpha=4),
        checkpoint_steps=1,
        device="cpu",
        store=store,
    )


class ExecutorLab:
    """One executor, opened once; everything that the checks ask is computed at the first of them."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name = name
        self.kind, self.options = kind

    @cached_property
    def computed(self) -> Computed:
        """The same cells by the executor, and one whose input is refused."""
        expected = expected_records()
        self._folder = tempfile.TemporaryDirectory(prefix="align-harness-kit-")
        root = Path(self._folder.name)
        store = root / "there"
        executor = self.kind(Resources(root / "study", 1, 1, 0.0, self.options))
        try:
            ended = {"base": self._through(executor, "base", store, expected["base"].id, ())}
            ended["sft"] = self._through(executor, "sft", store, expected["sft"].id, (expected["base"].id,))
            ended["refused"] = self._through(executor, "refused", store, "0" * 16, ())
            told = read_outcome(root / "cells" / "refused.json")
            again = self._through(executor, "sft", store, expected["sft"].id, (expected["base"].id,))
            unknown = executor.poll(["no such handle"])["no such handle"]
            records = {name: Store(store).verified(record.id) for name, record in expected.items()}
        finally:
            executor.close()
        reason = told.reason if told is not None and told.kind == "refused" else ""
        return Computed(ended, records, reason, unknown, again, _raised(executor.close))

    def _through(self, executor: Executor, name: str, store: Path, run_id: str, needs: tuple[str, ...]) -> CellState:
        """Submit a cell and wait for its end. Raises CheckFailed where none comes."""
        file = Path(self._folder.name) / "cells" / f"{name}.json"
        write_cell(file, CellFile(run_id=run_id, config=cell_config(name, store), threads=1, plugins=False))
        job = CellJob(run_id, file, store, needs, 1, 2**28)
        required(executor.room(job), f"{self.name}: has no room for a first cell")
        handle = executor.submit(job)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            state = executor.poll([handle])[handle]
            if state.phase in ("ended", "lost"):
                return state
            time.sleep(TICK)
        executor.cancel(handle)
        raise CheckFailed(f"{self.name}: cell {name} did not end within {PATIENCE:.0f} s")


def executor_checks(name: str, kind: Kind) -> Iterator[Check]:
    """All checks of one executor, in order."""
    lab = ExecutorLab(name, kind)
    for check in CHECKS:
        yield Check(_name(check), partial(check, lab))


def check_executor(name: str, kind: Kind, *, expected_failures: Mapping[str, str] | None = None) -> tuple[Outcome, ...]:
    """Run every check. Raises NotConformant listing all failures; HarnessError for an unknown name in the mapping."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return outcomes(f"executor {name!r}", executor_checks(name, kind), expected)


def parametrize_executors_with_checks(
    executors: Mapping[str, Kind], *, expected_failures: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that runs a pytest test function once per executor and check, given as its argument `check`."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return parametrized({name: executor_checks(name, kind) for name, kind in executors.items()}, expected)


def _name(check: Callable[[ExecutorLab], str]) -> str:
    return check.__name__.removeprefix("check_")


def _raised(call: Callable[[], None]) -> str:
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


# ---------------------------------------------------------------- checks


def check_refuses_unknown_options(lab: ExecutorLab) -> str:
    """An unknown option is refused when the executor is opened."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            lab.kind(Resources(Path(folder), 1, 1, 0.0, {**lab.options, "no_such_option": 1})).close()
        except HarnessError:
            return ""
    raise CheckFailed(f"{lab.name}: takes an option that it does not know")


def check_same_records(lab: ExecutorLab) -> str:
    """The records have the same ids, scores, answers and adapters as those of a process without the executor."""
    found = lab.computed.records
    for name, record in expected_records().items():
        other = found[name]
        required(other is not None, f"{lab.name}: no record of cell {name} in the store")
        if other is None:
            continue
        required(other.scores == record.scores, f"{lab.name}: cell {name} has other scores")
        same = other.aligner.adapter_hash == record.aligner.adapter_hash
        required(same, f"{lab.name}: the adapter of cell {name} is another one")
        samples = "samples.parquet"
        same = other.manifest.files[samples] == record.manifest.files[samples]
        required(same, f"{lab.name}: the samples of cell {name} differ")
    return ""


def check_ends(lab: ExecutorLab) -> str:
    """A cell with a record and a cell whose input was refused are both `ended`, and not `lost`."""
    for name, state in lab.computed.ended.items():
        required(state.phase == "ended", f"{lab.name}: cell {name} is {state.phase} ({state.note})")
    return ""


def check_tells_refusals(lab: ExecutorLab) -> str:
    """The reason why an input was refused stands beside the cell's file."""
    required("absent" in lab.computed.refused, f"{lab.name}: does not say why a cell was refused")
    return ""


def check_finds_what_is_there(lab: ExecutorLab) -> str:
    """A cell that has a record ends at once, and its record is not changed."""
    required(lab.computed.again.phase == "ended", f"{lab.name}: a finished cell is {lab.computed.again.phase}")
    return ""


def check_unknown_handles(lab: ExecutorLab) -> str:
    """A handle that the executor does not know is `lost` and no error, because a later process may ask about it."""
    required(lab.computed.unknown.phase == "lost", f"{lab.name}: an unknown handle is {lab.computed.unknown.phase}")
    return ""


def check_closes_twice(lab: ExecutorLab) -> str:
    """`close` may be called twice."""
    required(not lab.computed.closed_twice, f"{lab.name}: a second close raises {lab.computed.closed_twice}")
    return ""


CHECKS: tuple[Callable[[ExecutorLab], str], ...] = (
    check_refuses_unknown_options,
    check_same_records,
    check_ends,
    check_tells_refusals,
    check_finds_what_is_there,
    check_unknown_handles,
    check_closes_twice,
)
