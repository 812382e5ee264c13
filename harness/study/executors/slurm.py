"""Cells as jobs of Slurm, through submitit: what is submitted together is one job array.

A job that runs into its time limit, or is preempted, is queued again and goes on from its checkpoints. The values
`local` and `debug` of `options.cluster` are submitit's own: processes of this machine, and this process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.contracts import CellJob, CellState, HarnessError, Resources
from harness.study.cell import compute_file
from harness.study.executors.local import cores, refuse_unknown

MOST = 64
"""Cells that are queued at a time, where the study names no number."""
MINUTES = 240
OWN = frozenset({"cluster", "minutes", "partition", "account", "qos", "constraint"})


class SlurmExecutor:
    """Jobs of a Slurm cluster, through submitit; all nodes must share the disk of the store."""

    name: ClassVar[str] = "slurm"
    elsewhere: ClassVar[bool] = True
    options: ClassVar[frozenset[str]] = OWN

    def __init__(self, asked: Resources) -> None:
        refuse_unknown(asked.options, self.options, self.name)
        try:
            import submitit
        except ImportError as error:
            raise HarnessError("executor slurm needs submitit: pip install 'align-harness[slurm]'") from error
        self._submitit: Any = submitit
        self.threads = asked.threads or max(1, cores() // (asked.workers or 1))
        self._asked = asked
        self._pending: list[tuple[str, CellJob]] = []
        self._jobs: dict[str, Any] = {}
        self._count = 0

    def room(self, job: CellJob) -> bool:
        """Whether fewer cells are queued than the study allows."""
        return len(self._pending) + len(self._jobs) < (self._asked.workers or MOST)

    def submit(self, job: CellJob) -> str:
        """Queue a cell. The next `poll` sends it to Slurm together with the other queued cells."""
        self._count += 1
        handle = f"{job.run_id}@{self._count}"
        self._pending.append((handle, job))
        return handle

    def poll(self, handles: Sequence[str]) -> Mapping[str, CellState]:
        """Send the queued cells as job arrays, and return the states of all cells that were asked for."""
        self._send()
        return {handle: self._state(handle) for handle in handles}

    def cancel(self, handle: str) -> None:
        """Remove a cell from the queue, or cancel its job."""
        self._pending = [(name, job) for name, job in self._pending if name != handle]
        job = self._jobs.pop(handle, None)
        if job is not None and not job.done():
            job.cancel()

    def close(self) -> None:
        """Cancel every job that has not finished."""
        for handle in [*self._jobs, *(name for name, _ in self._pending)]:
            self.cancel(handle)

    def preview(self, job: CellJob, count: int) -> str:
        """The `sbatch` line of an array of `count` such cells."""
        wanted = self._wanted(job)
        parts = [
            f"--array=0-{max(count, 1) - 1}%{self._asked.workers or MOST}",
            f"--time={wanted['timeout_min']}",
            f"--cpus-per-task={wanted['cpus_per_task']}",
            *([f"--mem={wanted['mem_gb']}GB"] if "mem_gb" in wanted else []),
            *([f"--gpus-per-node={wanted['gpus_per_node']}"] if "gpus_per_node" in wanted else []),
            *(
                f"--{name.removeprefix('slurm_')}={value}"
                for name, value in wanted.items()
                if name.startswith("slurm_")
            ),
        ]
        return f"sbatch {' '.join(parts)} (python -m harness.study.cell FILE)"

    def _send(self) -> None:
        """One array for all cells that ask for the same."""
        groups: dict[str, list[tuple[str, CellJob]]] = {}
        for handle, job in self._pending:
            groups.setdefault(str(self._wanted(job)), []).append((handle, job))
        self._pending = []
        for group in groups.values():
            executor = self._submitit.AutoExecutor(
                folder=self._asked.folder / "slurm" / "%j", cluster=self._asked.options.get("cluster", "slurm")
            )
            executor.update_parameters(name="align-harness", **self._wanted(group[0][1]))
            with executor.batch():
                jobs = [executor.submit(CellCall(str(job.file.resolve()))) for _, job in group]
            self._jobs |= dict(zip((handle for handle, _ in group), jobs, strict=True))

    def _wanted(self, job: CellJob) -> dict[str, Any]:
        options = self._asked.options
        wanted = {"timeout_min": int(options.get("minutes", MINUTES)), "cpus_per_task": job.threads}
        if options.get("cluster", "slurm") != "slurm":
            return wanted
        named = {
            f"slurm_{key}": options[key] for key in ("partition", "account", "qos", "constraint") if key in options
        }
        memory = {"mem_gb": max(1, round(job.memory_bytes / 2**30))} if job.memory_bytes else {}
        gpus = {"gpus_per_node": max(1, round(job.gpus))} if job.gpus else {}
        return {**wanted, **memory, **gpus, **named}

    def _state(self, handle: str) -> CellState:
        job = self._jobs.get(handle)
        if job is None:
            return CellState("lost", "its job is unknown")
        if not job.done():
            return CellState("waiting" if job.state.upper() in ("PENDING", "UNKNOWN", "READY") else "running")
        del self._jobs[handle]
        error = job.exception()
        if error is None:
            return CellState("ended")
        return CellState("lost", f"job {job.job_id} was lost: {' '.join(str(error).split())[-200:]}")


class CellCall:
    """What submitit calls on a node: the cell of a file. A job that is queued again gets the same."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __call__(self) -> str:
        """Compute the cell; what came of it stands beside its file."""
        return compute_file(Path(self.file)).kind

    def checkpoint(self) -> Any:
        """Called on time-out and preemption: the same again, which goes on from what is on disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
