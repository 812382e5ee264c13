"""A study on the tiny model: run, run again, killed, raced by another, retried, stopped; and its command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from harness.cli import app
from harness.config import RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import CellJob, CellState, HarnessError, Resources
from harness.plugins.registry import Registry, load
from harness.records.schema import Record
from harness.records.store import Store
from harness.study import Study
from harness.study import plan as study_plan
from harness.study.drive import Driver, StudyOutcome
from harness.study.events import EVENTS, Events, read_events
from harness.study.executors.ray import RayExecutor

pytestmark = pytest.mark.recipe

Changed = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Changed:
    """A small study as plain values; dotted changes reach inside."""
    folder = tmp_path_factory.mktemp("study")
    model = tiny_folder(folder / "model" / "tiny")

    def made(store: Path | str, **changes: Any) -> dict[str, Any]:
        return {
            "name": "small",
            "store": str(folder / store),
            "aligners": ["sft"],
            "tasks": ["medqa"],
            "models": [str(model)],
            "budgets": [{"preset": 8, "min_steps": 4, "prompts": 0}],
            "draws": 2,
            "shared": {
                "data": "sample",
                "limit": 6,
                "lengths": {"prompt": 64, "completion": 24, "new_tokens": 8, "sample_prompts": 2},
                "lora": {"r": 2, "alpha": 4},
                "checkpoint_steps": 1,
                "device": "cpu",
            },
            "run": {"workers": 2 if (os.cpu_count() or 1) > 1 else 1, "threads": 1},
            **changes,
        }

    return made


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False)


@pytest.fixture(scope="module")
def undisturbed(values: Changed, registry: Registry) -> Study:
    """The study after one call of `run`, with its records."""
    study = Study.of(values("first"), registry)
    outcome = study.run()
    assert outcome.complete, outcome
    return study


def outcomes(records: list[Record]) -> dict[str, tuple[Any, ...]]:
    """What of a record is the result, and not the way to it."""
    return {
        record.id: (record.status, record.scores, record.aligner.adapter_hash, record.manifest.files["samples.parquet"])
        for record in records
    }


def assert_first_draw_of(undisturbed: Study, study: Study) -> list[Record]:
    """The study's records, which are those that the undisturbed one has of base and of the first draw."""
    records = study.records()
    assert outcomes(records) == outcomes([r for r in undisturbed.records() if r.seed.draw == 0])
    assert len(records) == 2
    return records


def test_every_cell_has_a_record_and_base_stands_beside_them(undisturbed: Study) -> None:
    records = undisturbed.records()
    assert sorted(record.aligner.name for record in records) == ["base", "sft", "sft"]
    assert {record.status for record in records} == {"ok"}
    told = [event["event"] for event in read_events(undisturbed.file.folder / EVENTS)]
    assert told[0] == "study_started"
    assert told.count("cell_started") == told.count("cell_done") == 3
    frame = undisturbed.frame()
    assert list(frame[frame.aligner == "sft"].draw) == [0, 1]
    assert frame.score.notna().all()
    report = undisturbed.report()
    assert report.panels[0].rows[0].method == "base"
    assert report.counts == {"ok": 2}


def test_a_forecast_is_right_about_the_fits_before_there_is_any(undisturbed: Study, values: Changed) -> None:
    """By the methods' formulas over the drawn texts: FLOPs and tokens of the fits, and of both phases roughly."""
    study = Study.of(values("ahead"), undisturbed.registry)
    forecast = study.outlook(study.plan())
    for record in undisturbed.records():
        cost = forecast.runs[record.id].cost
        assert not cost.sure
        assert cost.fit_flops == pytest.approx(record.spent.flops, rel=0.1)
        assert cost.fit_tokens == pytest.approx(record.spent.forward_tokens, rel=0.1)
        assert cost.evaluate_flops == pytest.approx(record.spent.inference.flops, rel=0.5)
    assert 0 < forecast.hours[0] < forecast.hours[1] < forecast.hours[2]
    assert forecast.disk_bytes > 0


def test_run_again_nothing_is_computed(undisturbed: Study) -> None:
    before = outcomes(undisturbed.records())
    started: list[str] = []
    outcome = undisturbed.run(listener=lambda event: started.append(event["event"]))
    assert outcome.complete
    assert "cell_started" not in started
    assert outcomes(undisturbed.records()) == before


def test_it_says_why_runs_from_before_are_computed_again(
    undisturbed: Study, values: Changed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After an upgrade, or in a shell with another setting, a study seemed to have lost its runs."""
    study = Study.of(values("first", name="changed"), undisturbed.registry)
    assert study.run().complete
    assert not list(study.plan().notes())
    monkeypatch.setenv("OMP_TARGET_OFFLOAD", "DISABLED")
    plan = study.plan()
    assert plan.count("run") == 3
    note = (
        "3 runs of this study were computed before and cannot be taken over, because what decides the results changed: "
        "fit.machine.environment.OMP_TARGET_OFFLOAD: absent -> DISABLED. The old records stay in "
        f"{study.file.store}"
    )
    assert list(plan.notes()) == [note]
    monkeypatch.setattr(Driver, "run", lambda self: StudyOutcome({}, "interrupted", 0.0, 0.0))
    study.run()
    assert list(study.plan().notes()) == [note], "a run that was interrupted does not forget it"
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study.file.model_dump(mode="json", exclude_defaults=True)))
    told = CliRunner().invoke(app, ["study", "status", str(path), "--no-plugins"])
    assert (told.exit_code, "absent -> DISABLED" in told.output.replace("\n", " ")) == (3, True)
    monkeypatch.delenv("OMP_TARGET_OFFLOAD")
    assert study.plan().count("reused") == 3


def test_the_python_of_the_page_runs(
    undisturbed: Study, values: Changed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "study.md"
    code = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)[0]
    (tmp_path / "study.yaml").write_text(json.dumps(values("first")), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code.replace("draws=6", "draws=2"), names)
    assert names["outcome"].complete
    assert len(names["frame"]) == len(undisturbed.records())


@pytest.mark.parametrize("whom", ["the worker", "the fit", "what fits are forked from"])
def test_a_killed_process_costs_a_restart_and_changes_nothing(undisturbed: Study, values: Changed, whom: str) -> None:
    """One of them is killed, as soon as there is a fit: the worker, the fit, or the process that has imported torch."""
    name = f"killed-{whom.rsplit(maxsplit=1)[-1]}"
    study = Study.of(values(name, draws=[0], run={"workers": 1, "threads": 1}), undisturbed.registry)
    told: list[dict[str, Any]] = []
    left: list[object] = []
    killer = threading.Thread(target=_kill_during_a_fit, args=(whom,), daemon=True)

    def listener(event: dict[str, Any]) -> None:
        told.append(event)
        if event["event"] == "cell_lost":
            left.append(study.store.record(event["run"]))
        if event["event"] == "cell_started" and "sft" in event["cell"] and killer.ident is None:
            killer.start()

    outcome = study.run(listener=listener)
    killer.join(timeout=5)
    assert not killer.is_alive(), "nobody was killed"
    assert outcome.complete, outcome
    lost = [event["why"] for event in told if event["event"] == "cell_lost"]
    assert ["killed by signal 9 (SIGKILL)" in why for why in lost] == [True]
    assert left == [None], "a driver that is killed now would leave a failed record behind"
    assert_first_draw_of(undisturbed, study)


ELSEWHERE: dict[str, dict[str, Any]] = {
    "slurm": {"executor": "slurm", "options": {"cluster": "local"}},
    "ray": {"executor": "ray"},
    "ray-no-shared-disk": {"executor": "ray", "options": {"shared": False}},
}


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A local cluster for all tests of Ray here, whose workers stay warm; in the kit each executor starts its own."""
    pytest.importorskip("ray")
    starter = RayExecutor(Resources(tmp_path_factory.mktemp("ray"), workers=2, threads=1))
    starter._connect()  # which tries again where the machine is busy
    yield
    starter.close()


SLOW = pytest.mark.slow
"""Tests whose parts others hold: the executors' kit compares the records of every executor."""


@pytest.mark.parametrize("name", ["slurm", *(pytest.param(name, marks=SLOW) for name in ELSEWHERE if name != "slurm")])
def test_another_executor_gives_the_same_records(
    undisturbed: Study, values: Changed, name: str, request: pytest.FixtureRequest
) -> None:
    """Two workers of a local Ray cluster, or two jobs of submitit's stand-in for Slurm, and the whole study."""
    placed = ELSEWHERE[name]
    if placed["executor"] == "ray":
        request.getfixturevalue("ray_cluster")
    else:
        pytest.importorskip("submitit")
    study = Study.of(values(f"by-{name}", run={"workers": 2, "threads": 1, **placed}), undisturbed.registry)
    outcome = study.run()
    assert outcome.complete, outcome
    assert outcomes(study.records()) == outcomes(undisturbed.records())
    assert {record.spent.lost.restarts for record in study.records()} == {0}


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("name", [pytest.param("ray", marks=SLOW), "ray-no-shared-disk"])
def test_a_killed_ray_worker_costs_a_restart_and_changes_nothing(
    undisturbed: Study, values: Changed, name: str
) -> None:
    """The worker's process is killed while it computes the second cell."""
    run = {"workers": 1, "threads": 1, **ELSEWHERE[name]}
    study = Study.of(values(f"killed-{name}", draws=[0], run=run), undisturbed.registry)
    told: list[dict[str, Any]] = []
    killed: list[int] = []

    def listener(event: dict[str, Any]) -> None:
        told.append(event)
        if event["event"] == "cell_started" and "sft" in event["cell"] and not killed:
            threading.Thread(target=_kill_ray_worker, args=(killed,), daemon=True).start()

    outcome = study.run(listener=listener)
    assert outcome.complete, outcome
    assert killed
    (lost,) = [event for event in told if event["event"] == "cell_lost"]
    assert "Ray worker was lost" in lost["why"]
    assert_first_draw_of(undisturbed, study)


def _kill_ray_worker(killed: list[int]) -> None:
    """Kill the Ray worker that computes a cell, as soon as it has started a process of its own for the fit."""
    end = time.monotonic() + 120.0
    while time.monotonic() < end:
        found = _processes()
        with_a_process = {parent for parent, _ in found.values()}
        for pid, (_, words) in found.items():
            if words.startswith(b"ray::compute_here") and pid in with_a_process:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                return
        time.sleep(0.02)


WORKER = b"harness.study.executors.worker"


def _kill_during_a_fit(whom: str) -> None:
    """As soon as a worker of this study has a fit, kill the fit, the process that it was forked from, or the worker.

    All are copies of the worker, and have its command line.
    """
    while True:
        found = _processes()
        for pid, (server, words) in found.items():
            worker, theirs = found.get(server, (0, b""))
            if WORKER in words and WORKER in theirs and WORKER in found.get(worker, (0, b""))[1]:
                os.kill({"the fit": pid, "the worker": worker}.get(whom, server), signal.SIGKILL)
                return
        time.sleep(0.01)


def _processes() -> dict[int, tuple[int, bytes]]:
    """Parent and command line of everything that runs below this process: other tests run beside this one."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = (status.parent / "cmdline").read_bytes()
            found[int(status.parent.name)] = (int(status.read_text().rsplit(")", 1)[1].split()[1]), words)
        except (OSError, ValueError, IndexError):
            continue
    mine, wave = set[int](), {os.getpid()}
    while wave:
        wave = {pid for pid, (parent, _) in found.items() if parent in wave}
        mine |= wave
    return {pid: found[pid] for pid in mine}


def test_two_studies_at_once_compute_no_cell_twice(undisturbed: Study, values: Changed, tmp_path: Path) -> None:
    """Two command lines on one store: every cell is computed by one of them, and the records are those of one alone."""
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(values("both", draws=[0], run={"workers": 1, "threads": 1})))
    words = [sys.executable, "-m", "harness", "study", "run", str(path), "--quiet", "--no-plugins", "--json"]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(2)]
    told = [json.loads(process.communicate(timeout=400)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    # Each of them waits for what the other computes, and both end with every record.
    assert [one["counts"]["done"] for one in told] == [2, 2]
    study = Study.load(path, registry=undisturbed.registry)
    records = assert_first_draw_of(undisturbed, study)
    assert {record.spent.lost.restarts for record in records} == {0}
    starts = [event["run"] for event in read_events(study.file.folder / EVENTS) if event["event"] == "cell_started"]
    assert len(set(starts)) == 2


def test_a_failed_cell_is_a_record_and_is_retried_only_when_asked(values: Changed, registry: Registry) -> None:
    """A workdir that is a file makes the worker's first checkpoint fail."""
    study = Study.of(values("failing", draws=[0]), registry)
    (fit,) = [run.plan.fit_id for run in study.plan().runs.values() if run.plan and run.config.aligner == "sft"]
    folder = Store(study.file.store).fit_dir(fit)
    folder.mkdir(parents=True)
    (folder / "work").write_text("in the way")
    outcome = study.run()
    assert (outcome.count("done"), outcome.count("failed")) == (1, 1)
    (failed,) = [record for record in study.records() if record.status == "failed"]
    assert failed.failure is not None
    assert "FileExistsError" in failed.failure.traceback
    (folder / "work").unlink()
    assert study.run().count("failed") == 1
    assert study.run(retry_failed=True).count("done") == 2


def test_cells_share_the_plan_of_the_base_model(
    values: Changed, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning is most of what a large grid waits for before its first cell."""
    planned: list[str] = []
    true = study_plan.make_plan

    def counting(config: RunConfig, *rest: Any, **more: Any) -> Any:
        planned.append(config.aligner)
        return true(config, *rest, **more)

    monkeypatch.setattr(study_plan, "make_plan", counting)
    plan = Study.of(values("shared", aligners=["sft", "random"], draws=[0, 1]), registry).plan()
    assert sorted(planned) == ["base", "random", "random", "sft", "sft"]
    assert len(plan.runs) == 5


def test_what_is_missing_is_named_and_the_rest_is_computed(values: Changed, registry: Registry) -> None:
    models = [*values("gone")["models"], "/no/such/model"]
    study = Study.of(values("gone", models=models, aligners=["base"], draws=[0]), registry)
    plan = study.plan()
    assert (plan.count("run"), plan.count("missing")) == (1, 1)
    outcome = study.run()
    assert (outcome.count("done"), outcome.count("missing"), outcome.complete) == (1, 1, False)
    (missing,) = [run for run in outcome.runs.values() if run.phase == "missing"]
    assert "no/such/model" in missing.reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": ["smollm"]}, "did you mean 'smollm2-135m-instruct'"),
        ({"baseline": "bse"}, "--baseline bse was given; leave it out"),
        ({"columns": {"prompt": "question"}}, "--columns is for pool pairs"),
        ({"tasks": ["opinionqa"]}, "aligner sft requires pairs"),
    ],
)
def test_a_mistake_in_what_all_cells_share_is_one_line(
    changes: dict[str, Any], said: str, values: Changed, registry: Registry
) -> None:
    """Neither a cell that is missing something, which another machine may have, nor a line for each cell."""
    base = values("mistaken", draws=2)
    shared = {name: value for name, value in changes.items() if name in ("baseline", "columns")}
    rest = {name: value for name, value in changes.items() if name not in shared}
    with pytest.raises(HarnessError, match=said):
        Study.of({**base, **rest, "shared": {**base["shared"], **shared}}, registry).plan()


def test_what_the_machine_lacks_is_no_mistake(
    values: Changed, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    base = values("lacking")
    for lacking in ({"models": ["nobody/nothing"]}, {"shared": {**base["shared"], "device": "cuda"}}):
        plan = Study.of({**base, **lacking}, registry).plan()
        assert plan.count("missing") == len(plan.runs) == 2


def test_a_limit_stops_between_cells_and_keeps_what_is_done(values: Changed, registry: Registry) -> None:
    study = Study.of(values("limited", limits={"flops": 1.0}), registry)
    outcome = study.run()
    assert outcome.stopped == "the limit of 1 FLOPs is reached"
    assert outcome.count("done") >= 1
    assert outcome.count("waiting") >= 1
    assert all(record.status == "ok" for record in study.records())


class Losing:
    """An executor whose every cell is lost."""

    name = "losing"
    threads = 1

    def __init__(self) -> None:
        self.handles: list[str] = []

    def room(self, job: CellJob) -> bool:
        return True

    def submit(self, job: CellJob) -> str:
        self.handles.append(job.run_id)
        return f"{job.run_id}@{len(self.handles)}"

    def poll(self, handles: Sequence[str]) -> dict[str, CellState]:
        return {handle: CellState("lost", "the node is gone") for handle in handles}

    def cancel(self, handle: str) -> None:
        raise AssertionError("nothing is under way")

    def close(self) -> None:
        pass


def test_a_cell_that_is_lost_again_and_again_gets_a_failed_record(values: Changed, registry: Registry) -> None:
    study = Study.of(values("lost", draws=[0], run={"attempts": 2, "threads": 1}), registry)
    losing = Losing()
    plan = study.plan()
    outcome = Driver(plan, study.registry, losing, Events(study.file.folder / EVENTS)).run()
    assert (outcome.count("failed"), outcome.count("missing"), outcome.complete) == (1, 1, False)
    assert len(losing.handles) == 2
    (record,) = study.records()
    assert (record.aligner.name, record.status, record.reason) == ("base", "failed", "the node is gone (2 starts)")
    (missing,) = [run for run in outcome.runs.values() if run.phase == "missing"]
    assert "base on medqa" in missing.reason


@pytest.mark.usefixtures("interruptible")
def test_control_c_ends_the_command_and_the_next_one_goes_on(
    undisturbed: Study, values: Changed, tmp_path: Path
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(values("interrupted", draws=[0], run={"workers": 1, "threads": 1})))
    command = [sys.executable, "-m", "harness", "study"]
    process = subprocess.Popen([*command, "run", str(path), "--quiet", "--no-plugins"], stderr=subprocess.PIPE)
    study = Study.load(path, registry=undisturbed.registry)
    _until(lambda: any("sft" in e.get("cell", "") for e in read_events(study.file.folder / EVENTS)), 240.0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"interrupted" in errors
    status = subprocess.run([*command, "status", str(path), "--json"], capture_output=True, check=False)
    assert status.returncode == 3
    assert json.loads(status.stdout)["counts"]["done"] >= 1
    assert study.run().complete
    assert_first_draw_of(undisturbed, study)


def _until(there: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
