"""Cells as core tasks of Ray: on a cluster that is started here, or one that is there (`options.address`).

With `options.shared: false` no shared disk is needed: a task gets what its cell is compared with, and returns its
record, samples, adapter and fit, which the driver puts into the store.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.contracts import CellJob, CellState, HarnessError, Resources
from harness.run.cell_files import SAME, CellEnd, CellFile, outcome_file, write_cell
from harness.study.cell import compute_file
from harness.study.executors.bundles import pack, unpack
from harness.study.executors.local import cores, refuse_unknown
from harness.util.files import write_atomic
from harness.util.own_json import parse_own

STARTS = 3
"""Tries to start or reach a cluster: on a busy machine the first may pass Ray's own limit of 30 s."""


class RayExecutor:
    """Tasks of a Ray cluster; a cell whose worker dies is started again."""

    name: ClassVar[str] = "ray"
    elsewhere: ClassVar[bool] = True
    options: ClassVar[frozenset[str]] = frozenset({"address", "shared"})

    def __init__(self, asked: Resources) -> None:
        refuse_unknown(asked.options, self.options, self.name)
        try:
            import ray
        except ImportError as error:
            raise HarnessError("executor ray needs Ray: pip install 'align-harness[ray]'") from error
        self._ray: Any = ray
        self.threads = asked.threads or max(1, cores() // (asked.workers or 1))
        self._shared = bool(asked.options.get("shared", True))
        self._asked = asked
        self._cells: dict[str, tuple[Any, CellJob]] = {}
        self._count = 0
        self._mine = False

    def room(self, job: CellJob) -> bool:
        """Whether the cluster has cores for one more cell. Cells that ask for GPUs or memory wait in Ray's queue."""
        return len(self._cells) < self._workers()

    def submit(self, job: CellJob) -> str:
        """Start a task."""
        self._connect()
        self._refuse_without_gpus(job)
        options = {"num_cpus": job.threads, "num_gpus": job.gpus, "memory": job.memory_bytes, "max_retries": 0}
        cell, carried, here = str(job.file.resolve()), None, str(Path.cwd())
        if not self._shared:
            cell = job.file.read_text()
            carried = pack(job.store, job.needs)
        task = self._ray.remote(compute_here).options(**{k: v for k, v in options.items() if v or k == "max_retries"})
        self._count += 1
        handle = f"{job.run_id}@{self._count}"
        self._cells[handle] = (task.remote(cell, carried, here), job)
        return handle

    def poll(self, handles: Sequence[str]) -> Mapping[str, CellState]:
        """The states of the tasks. A task whose worker or node died is `lost`."""
        known = {handle: self._cells[handle] for handle in handles if handle in self._cells}
        found = {handle: CellState("lost", "its task is unknown") for handle in handles if handle not in known}
        references = [reference for reference, _ in known.values()]
        ready = set(self._ray.wait(references, num_returns=len(references), timeout=0)[0]) if references else set()
        for handle, (reference, job) in known.items():
            found[handle] = self._taken(handle, reference, job) if reference in ready else CellState("running")
        return found

    def cancel(self, handle: str) -> None:
        """End a task, by force."""
        reference, _ = self._cells.pop(handle, (None, None))
        if reference is not None:
            self._ray.cancel(reference, force=True)

    def close(self) -> None:
        """End all tasks, and the cluster if this executor started it."""
        for handle in list(self._cells):
            self.cancel(handle)
        if self._mine:
            self._ray.shutdown()
            self._mine = False

    def _taken(self, handle: str, reference: Any, job: CellJob) -> CellState:
        del self._cells[handle]
        try:
            outcome, content = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            return CellState("lost", f"its Ray worker was lost: {' '.join(str(error).split())[:200]}")
        if content is not None:
            unpack(content, job.store)
            write_atomic(outcome_file(job.file), outcome.encode())  # it is checked where it is read
        return CellState("ended")

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        address = self._asked.options.get("address")
        count = None if address else self._workers() * self.threads
        settings = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
        for left in reversed(range(STARTS)):
            try:
                self._ray.init(address=address, num_cpus=count, **settings)
                break
            except Exception as error:  # of many kinds: a node that is slow to start raises a bare Exception
                self._ray.shutdown()
                if not left:
                    what = f"there is no cluster at {address}" if address else "no local cluster could be started"
                    raise HarnessError(f"executor ray: {what}: {' '.join(str(error).split())[:300]}") from error
        self._mine = True

    def _refuse_without_gpus(self, job: CellJob) -> None:
        """Raise HarnessError where the cluster that was started here would wait for ever for a cell's GPUs."""
        there = float(self._ray.cluster_resources().get("GPU", 0)) if self._mine and job.gpus else job.gpus
        if there < job.gpus:
            raise HarnessError(
                f"executor ray: a cell asks for {job.gpus:g} GPUs, and the cluster of this machine has {there:g}; name "
                "the address of a cluster that has them: --set 'run.options={address: auto}'"
            )

    def _workers(self) -> int:
        if self._asked.workers:
            return self._asked.workers
        there = int(self._ray.cluster_resources().get("CPU", 1)) if self._ray.is_initialized() else cores()
        return max(1, there // self.threads)


def compute_here(cell: str, carried: bytes | None, folder_of_driver: str) -> tuple[str, bytes | None]:
    """In a Ray worker: the cell of a file on the shared disk, or, with what it needs, of a file's text.

    Relative paths of data and models are the driver's, where its folder is on this machine too.
    """
    if Path(folder_of_driver).is_dir():
        os.chdir(folder_of_driver)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if carried is None:
        return compute_file(Path(cell)).model_dump_json(), None
    with tempfile.TemporaryDirectory(prefix="align-harness-") as folder:
        store = Path(folder) / "runs"
        unpack(carried, store)
        try:
            told = parse_own(CellFile, cell, "what the driver sent", SAME)
        except HarnessError as error:
            return CellEnd(kind="refused", reason=str(error)).model_dump_json(), pack(store, [])
        file = Path(folder) / f"{told.run_id}.json"
        write_cell(file, told.model_copy(update={"config": told.config.model_copy(update={"store": store})}))
        outcome = compute_file(file)
        fits = [path.name for path in (store / ".fits").glob("*")]
        return outcome.model_dump_json(), pack(store, [outcome.run_id or told.run_id], fits)
