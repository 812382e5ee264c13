"""A study for GPUs that is planned and started where no GPU is: its cells are named, submitted, and found again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
import torch
import yaml
from typer.testing import CliRunner

import harness.run.engine
from harness.cli import app
from harness.config import RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import CellJob, CellState, HarnessError, Resources
from harness.contracts.progress import Silent
from harness.models.load import NOT_HERE, device_kind, pick_device
from harness.plugins.registry import Registry, load
from harness.records.schema import Failure, Record
from harness.records.store import Store
from harness.run.cell_files import read_cell, write_outcome
from harness.run.identity import manifest
from harness.run.plan import Plan, make_plan
from harness.run.recording import CellOutcome, build_record
from harness.study import Study
from harness.study.cell import compute
from harness.study.speed import ASSUMED

pytestmark = [
    pytest.mark.recipe,
    pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU"),
]
GPU = "GPU of a node"


class Afar:
    """Hands cells to a node that has a GPU; the node stands in for one, and computes nothing."""

    name: ClassVar[str] = "afar"
    elsewhere: ClassVar[bool] = True
    status: ClassVar[str] = "ok"
    changed: ClassVar[bool] = False
    jobs: ClassVar[list[CellJob]] = []

    def __init__(self, asked: Resources) -> None:
        self.threads = asked.threads or 1
        self._done: list[str] = []

    def room(self, job: CellJob) -> bool:
        return not self._done

    def submit(self, job: CellJob) -> str:
        Afar.jobs.append(job)
        cell = read_cell(job.file)
        session = SimpleNamespace(registry=load(plugins=False), store=Store(cell.config.store), release=lambda: None)
        write_outcome(job.file, compute(cell, cast("Any", session)))
        self._done.append(job.run_id)
        return job.run_id

    def poll(self, handles: Sequence[str]) -> Mapping[str, CellState]:
        self._done.clear()
        return {handle: CellState("ended") for handle in handles}

    def cancel(self, handle: str) -> None:
        pass

    def close(self) -> None:
        pass


def on_the_node(config: RunConfig, session: Any, threads: int, *, accept: Callable[[Plan], None]) -> Record:
    """What `run_cell` leaves on a node with a GPU, less the computing."""
    if Afar.changed:
        config = config.model_copy(update={"limit": 5})
    plan = make_plan(config, session.registry, Silent(), threads=threads, elsewhere=True)
    plan = replace(plan, machine=replace(plan.machine, kind=GPU))
    plan = replace(plan, decisive=manifest(plan, session.registry))
    accept(plan)
    failure = Failure(reason="it burnt", traceback="") if Afar.status == "failed" else None
    outcome = CellOutcome(failure=failure)
    record = build_record(plan, outcome, session.registry.provenance)
    return cast("Record", session.store.publish(record, (), None))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(harness.run.engine, "run_cell", on_the_node)
    monkeypatch.setattr(Afar, "jobs", [])
    found = load(plugins=False)
    return replace(found, executors={**found.executors, "afar": Afar})


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    return {
        "name": "away",
        "store": str(tmp_path / "runs"),
        "aligners": ["sft"],
        "tasks": ["medqa"],
        "models": [str(tiny_folder(tmp_path / "model" / "tiny"))],
        "budgets": [{"preset": 8, "min_steps": 4, "prompts": 0}],
        "draws": 2,
        "shared": {
            "data": "sample",
            "limit": 6,
            "lengths": {"prompt": 64, "completion": 24, "new_tokens": 8},
            "lora": {"r": 2, "alpha": 4},
            "device": "cuda",
        },
        "run": {"executor": "afar", "threads": 1, "gpus": 1},
    }


def test_a_gpu_is_believed_only_where_it_is_used_elsewhere() -> None:
    with pytest.raises(HarnessError, match="has no usable GPU"):
        pick_device("cuda")
    assert pick_device("cuda", elsewhere=True) == "cuda"
    assert (pick_device("auto", elsewhere=True), device_kind("cuda")) == ("cpu", NOT_HERE)


def test_the_cells_run_on_their_nodes_and_are_found_again(registry: Registry, values: dict[str, Any]) -> None:
    study = Study.of(values, registry)
    plan = study.plan()
    assert (plan.count("run"), plan.count("missing")) == (3, 0)
    outcome = study.run()
    assert outcome.complete
    records = {record.id: record for record in study.records()}
    assert len(records) == 3
    assert not set(records) & set(plan.runs), "a record's id has the GPU's name"
    assert {r.manifest.decisive["fit"]["machine"]["kind"] for r in records.values()} == {GPU}
    base = next(record.id for record in records.values() if record.aligner.name == "base")
    assert [job.needs for job in Afar.jobs] == [(), (base,), (base,)], (
        "what a cell needs is named as it is in the store"
    )
    again = study.plan()
    assert (again.count("reused"), set(again.runs)) == (3, set(records))
    assert not list(again.notes())
    study.run()
    assert len(Afar.jobs) == 3, "nothing was computed twice"


def test_a_cell_that_failed_on_its_node_is_computed_again_only_where_asked(
    registry: Registry, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.of({**values, "aligners": ["base"], "draws": [0]}, registry)
    monkeypatch.setattr(Afar, "status", "failed")
    assert study.run().count("failed") == 1
    study.run()
    assert len(Afar.jobs) == 1
    monkeypatch.setattr(Afar, "status", "ok")
    assert study.run(retry_failed=True).count("done") == 1
    assert study.plan().count("reused") == 1


def test_a_node_whose_code_or_data_differ_is_refused(
    registry: Registry, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Afar, "changed", True)
    outcome = Study.of(values, registry).run()
    reasons = {run.reason for run in outcome.runs.values() if run.planned.config.aligner == "base"}
    assert reasons == {
        "the process that computes this cell would compute another run than the study planned: "
        "answers.task.limit: 6 -> 5; make these the same in both processes, or run the study again"
    }
    assert not list(Path(values["store"]).glob("*/record.json")), "nothing was computed"


def test_a_cell_that_is_lost_for_good_gets_its_record_here(
    registry: Registry, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is made by a machine whose torch finds no GPU to name."""
    monkeypatch.setattr(Afar, "submit", lambda self, job: self._done.append(job.run_id) or job.run_id)
    monkeypatch.setattr(Afar, "poll", lambda self, handles: {h: CellState("lost", "node gone") for h in handles})
    monkeypatch.setattr(Afar, "room", lambda self, job: True)
    study = Study.of({**values, "aligners": ["base"], "draws": [0]}, registry)
    assert study.run().count("failed") == 1
    (record,) = study.records()
    assert (record.status, record.manifest.device) == ("failed", NOT_HERE)


@pytest.mark.parametrize("executor", ["slurm", "ray"])
def test_the_command_plans_it_with_a_note_and_an_assumed_speed(
    executor: str, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"slurm": "submitit"}.get(executor, executor))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "study.yaml"
    backends = ["vllm"] if executor == "slurm" else ["hf"]
    file.write_text(yaml.safe_dump({**values, "backends": backends, "run": {"threads": 1}}))
    command = ["study", "plan", str(file), "--no-plugins", "--quiet", "--executor", executor]
    found = CliRunner().invoke(app, command)
    said = " ".join(found.output.split())
    assert found.exit_code == 0, said
    assert f"this machine has no GPU; 3 runs are planned for the machines of executor {executor}" in said
    assert "run.gpus is 0" in said
    assert "no GPU here" in said
    assert "forecast: " in said
    assert ASSUMED in said
    assert ("sbatch --array=0-2%64" in said) == (executor == "slurm")
    here = CliRunner().invoke(app, [*command[:-1], "local"])
    assert here.exit_code == 3
    assert "has no usable GPU" in " ".join(here.output.split())
