"""Executors without a cell: what the machine allows, what Slurm is asked for, what travels without a shared disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import CellJob, HarnessError, Resources
from harness.records.seals import write_sealed
from harness.records.store import Store
from harness.study.executors import local
from harness.study.executors.bundles import pack, unpack
from harness.study.executors.local import LocalExecutor
from harness.study.executors.ray import RayExecutor
from harness.study.executors.slurm import SlurmExecutor
from harness.util.hashes import folder_hashes
from tests.unit.leaderboards.test_leaderboards import add, answers

pytestmark = pytest.mark.core


def job(folder: Path, **changes: Any) -> CellJob:
    return CellJob("0" * 16, folder / "cell.json", folder, **changes)


@pytest.mark.parametrize(
    ("workers", "threads", "expected"),
    [(None, None, (1, 8)), (2, None, (2, 4)), (None, 2, (4, 2)), (16, 1, (8, 1)), (3, 4, (2, 4))],
)
def test_there_are_never_more_threads_than_cores(
    workers: int | None, threads: int | None, expected: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "cores", lambda: 8)
    made = LocalExecutor(Resources(tmp_path, workers, threads))
    assert (made.workers, made.threads) == expected


def test_more_threads_than_cores_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "cores", lambda: 2)
    with pytest.raises(HarnessError, match=r"run.threads is 4, and there are 2 cores"):
        LocalExecutor(Resources(tmp_path, 1, 4))


def test_cells_that_do_not_fit_into_memory_together_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "cores", lambda: 4)
    made = LocalExecutor(Resources(tmp_path, 4, 1, 0.0, {"memory_gb": 10}))
    large = job(tmp_path, memory_bytes=6 * 2**30)
    assert made.room(large)
    made._busy["other"] = type("Busy", (), {"memory": 6 * 2**30, "gpus": ()})()
    assert not made.room(large)
    assert made.room(job(tmp_path, memory_bytes=2**30))


class Begun:
    """Stands in for a worker that was started: with so many threads, seeing these GPUs."""

    alive, memory = True, 0

    def __init__(self, number: int, threads: int, logs: Path, gpus: list[str] | None) -> None:
        self.number, self.threads, self.gpus = number, threads, tuple(gpus or ())
        self.taken: list[CellJob] = []

    start = classmethod(lambda kind, *asked: kind(*asked))

    def take(self, job: CellJob) -> None:
        self.taken.append(job)

    def end(self) -> None:
        pass


@pytest.fixture
def begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "cores", lambda: 8)
    monkeypatch.setattr(local, "_Worker", Begun)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")


@pytest.mark.parametrize(
    ("cells", "memory_gb", "gpus", "expected"),
    [(9, 64, 0, 4), (3, 64, 0, 3), (9, 2, 0, 2), (9, 64, 1, 3), (9, 64, 2, 1)],
)
def test_as_many_workers_start_ahead_as_can_be_kept_busy(
    cells: int, memory_gb: int, gpus: int, expected: int, tmp_path: Path, begins: None
) -> None:
    made = LocalExecutor(Resources(tmp_path, 4, 2, gpus, {"memory_gb": memory_gb}))
    made.start_ahead(cells)
    assert len(made._idle) == expected
    assert [len(worker.gpus) for worker in made._idle] == [gpus] * expected
    assert len({gpu for worker in made._idle for gpu in worker.gpus}) == gpus * expected, "no GPU is seen by two"


def test_a_worker_that_was_started_ahead_gets_the_cell(tmp_path: Path, begins: None) -> None:
    made = LocalExecutor(Resources(tmp_path, 2, 2))
    made.start_ahead(9)
    first = made._idle[0]
    made.submit(job(tmp_path, threads=2))
    assert first.taken == [job(tmp_path, threads=2)]  # type: ignore[attr-defined]
    other = made.submit(job(tmp_path, threads=4))
    assert made._busy[other].threads == 4, "with other threads than it began with, another one is started in its place"
    assert len(made._all()) == 2


def test_slurm_is_asked_for_what_a_cell_takes(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    options = {"partition": "gpu", "minutes": 90, "account": "lab"}
    made = SlurmExecutor(Resources(tmp_path, 16, 8, 1.0, options))
    line = made.preview(job(tmp_path, threads=8, memory_bytes=40 * 2**30, gpus=1.0), 120)
    assert line.startswith(
        "sbatch --array=0-119%16 --time=90 --cpus-per-task=8 --mem=40GB --gpus-per-node=1 --partition=gpu --account=lab"
    )


def test_a_mistyped_option_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"no option 'partion'; did you mean 'partition'"):
        SlurmExecutor(Resources(tmp_path, options={"partion": "gpu"}))


class NoRay:
    """Stands in for Ray where no node comes up in time, the first `slow` times."""

    def __init__(self, slow: int) -> None:
        self.left, self.starts, self.shutdowns = slow, 0, 0

    def is_initialized(self) -> bool:
        return False

    def init(self, **settings: object) -> None:
        self.starts += 1
        if self.starts <= self.left:
            raise Exception("The current node timed out during startup.\nThis could happen")

    def shutdown(self) -> None:
        self.shutdowns += 1


@pytest.mark.parametrize(
    ("slow", "address", "said"), [(1, None, None), (3, None, "no local cluster"), (3, "auto", "at auto")]
)
def test_a_cluster_that_is_slow_to_start_is_tried_again_and_then_named(
    slow: int, address: str | None, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = NoRay(slow)
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    made = RayExecutor(Resources(tmp_path, 1, 1, 0.0, {"address": address} if address else {}))
    if said is None:
        made._connect()
        assert (ray.starts, ray.shutdowns) == (2, 1)
        return
    with pytest.raises(HarnessError, match=rf"executor ray: .*{said}.*: The current node timed out during startup"):
        made._connect()
    assert ray.starts == ray.shutdowns == 3


def finished(store: Path) -> str:
    """A synthetic run whose record names the hashes of its files."""
    folder = add(store, "dpo", answers(5))
    value = json.loads((folder / "record.json").read_text())
    (folder / "record.json").unlink()
    value["manifest"]["files"] = folder_hashes(folder)
    write_sealed(folder / "record.json", {key: kept for key, kept in value.items() if key != "seal"})
    return folder.name


def test_what_travels_is_whole_and_believed(tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    run = finished(there)
    fit = there / ".fits" / "f1"
    (fit / "work").mkdir(parents=True)
    (fit / "fit.json").write_text("{}")
    (fit / "work" / "checkpoint").write_text("large")
    unpack(pack(there, [run, "absent"], ["f1"]), back)
    assert Store(back).record(run) == Store(there).record(run)
    assert sorted(path.name for path in (back / ".fits" / "f1").iterdir()) == ["fit.json"]
    unpack(pack(there, [run]), back)
    assert len(list(back.glob("[!.]*"))) == 1


def test_a_run_that_was_changed_on_the_way_is_left_out(tmp_path: Path) -> None:
    there = tmp_path / "there"
    run = finished(there)
    record = there / run / "record.json"
    value = json.loads(record.read_text())
    record.write_text(json.dumps({**value, "reason": "better than it was"}))
    unpack(pack(there, [run]), tmp_path / "back")
    assert not (tmp_path / "back" / run).exists()
