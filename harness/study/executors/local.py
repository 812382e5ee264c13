"""Cells in processes of this machine: warm from cell to cell; one that dies costs its cell and is replaced."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from harness.contracts import CellJob, CellState, HarnessError, Resources
from harness.run.launch import environment
from harness.util.names import nearest

if TYPE_CHECKING:
    from pathlib import Path

RESERVE = 0.9
"""Share of the memory that cells may take together."""
IDLE_BYTES = 2**30
"""What a worker and the process that fits are forked from take at most before they compute."""


class LocalExecutor:
    """Processes on this machine, within its cores, memory and GPUs."""

    name: ClassVar[str] = "local"
    options: ClassVar[frozenset[str]] = frozenset({"memory_gb"})

    def __init__(self, asked: Resources) -> None:
        refuse_unknown(asked.options, self.options, self.name)
        self._cores = cores()
        self.threads = share(asked, self._cores)
        most = max(1, self._cores // self.threads)
        self.workers = min(asked.workers or most, most)
        self._memory = float(asked.options.get("memory_gb", 0)) * 2**30 or RESERVE * total_memory()
        self._asked_gpus = asked.gpus
        self._gpus = visible_gpus() if asked.gpus else []
        self._folder = asked.folder
        self._idle: list[_Worker] = []
        self._busy: dict[str, _Worker] = {}
        self._started = 0

    def start_ahead(self, cells: int) -> None:
        """Start as many workers as so many cells can keep busy: they import while the study is planned."""
        gpus = math.ceil(self._asked_gpus)
        most = min(self.workers, cells, int(self._memory // IDLE_BYTES), len(self._gpus) // gpus if gpus else cells)
        while len(self._all()) < most:
            self._idle.append(self._begun(self.threads, gpus or None))

    def room(self, job: CellJob) -> bool:
        """Whether a worker, the memory and a GPU are free; the first cell always has room."""
        if not self._busy:
            return True
        taken = sum(worker.memory for worker in self._busy.values())
        if len(self._busy) >= self.workers or taken + job.memory_bytes > self._memory:
            return False
        return len(self._free_gpus(self._busy.values())) >= gpus_of(job)

    def submit(self, job: CellJob) -> str:
        """Give the cell to a worker that is already running, or start a worker."""
        self._idle = [worker for worker in self._idle if worker.alive]
        worker = self._fitting(job)
        worker.take(job)
        handle = f"{job.run_id}@{worker.number}"
        self._busy[handle] = worker
        return handle

    def poll(self, handles: Sequence[str]) -> Mapping[str, CellState]:
        """The states that the workers reported. A worker that has finished or died frees its place."""
        found = {}
        for handle in handles:
            worker = self._busy.get(handle)
            state = CellState("lost", "its worker is gone") if worker is None else worker.state()
            found[handle] = state
            if worker is not None and state.phase in ("ended", "lost"):
                del self._busy[handle]
                if state.phase == "ended":
                    self._idle.append(worker)
                else:
                    worker.end()
        return found

    def cancel(self, handle: str) -> None:
        """End the worker of a cell and every process that it started."""
        worker = self._busy.pop(handle, None)
        if worker is not None:
            worker.end()

    def close(self) -> None:
        """End every worker."""
        for worker in [*self._busy.values(), *self._idle]:
            worker.end()
        self._busy, self._idle = {}, []

    def pids(self) -> list[int]:
        """The processes that compute."""
        return [worker.process.pid for worker in [*self._busy.values(), *self._idle]]

    def _fitting(self, job: CellJob) -> _Worker:
        """An idle worker with as many threads and GPUs, or a new one, for which idle ones may have to end."""
        for place, worker in enumerate(self._idle):
            if worker.threads == job.threads and len(worker.gpus) == gpus_of(job):
                return self._idle.pop(place)
        while self._idle and (self._full() or len(self._free_gpus(self._all())) < gpus_of(job)):
            self._idle.pop().end()
        return self._begun(job.threads, gpus_of(job) if job.gpus else None)

    def _begun(self, threads: int, gpus: int | None) -> _Worker:
        """A new worker with so many threads and GPUs; None: it sees what this process sees."""
        self._started += 1
        seen = None if gpus is None else self._free_gpus(self._all())[:gpus]
        return _Worker.start(self._started, threads, self._folder / "workers", seen)

    def _all(self) -> list[_Worker]:
        return [*self._busy.values(), *self._idle]

    def _full(self) -> bool:
        return len(self._all()) >= self.workers

    def _free_gpus(self, workers: Iterable[_Worker]) -> list[str]:
        taken = {gpu for worker in workers for gpu in worker.gpus}
        return [gpu for gpu in self._gpus if gpu not in taken]


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    events: BinaryIO
    threads: int
    gpus: tuple[str, ...] = ()
    memory: int = 0
    _rest: bytes = b""
    _note: str = ""
    _ended: bool = field(default=False)

    @classmethod
    def start(cls, number: int, threads: int, logs: Path, gpus: Sequence[str] | None) -> _Worker:
        """A new process that leads a group of its own, so that it ends with all that it started."""
        logs.mkdir(parents=True, exist_ok=True)
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        seen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus is not None else {}
        with (logs / f"{os.getpid()}-{number}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "harness.study.executors.worker", str(writing)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**environment(os.environ), "OMP_NUM_THREADS": str(threads), **seen},
                pass_fds=(writing,),
                process_group=0,
            )
        os.close(writing)
        return cls(number, process, os.fdopen(reading, "rb", buffering=0), threads, tuple(gpus or ()))

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def take(self, job: CellJob) -> None:
        """Tell the process the cell's file; one that dies at this moment is seen at the next poll."""
        self.memory, self._note, self._ended = job.memory_bytes, "starting", False
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{job.file.resolve()}\n".encode())
            self.process.stdin.flush()

    def state(self) -> CellState:
        died = not self.alive  # asked before reading: what it told before it died counts
        self._read()
        if self._ended:
            return CellState("ended", self._note)
        if died:
            return CellState("lost", _end_in_words(self.process.returncode))
        return CellState("running", self._note)

    def _read(self) -> None:
        while chunk := self.events.read(1 << 16) or b"":
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                kind, text = json.loads(line)
                self._ended = self._ended or kind == "ended"
                self._note = text if kind == "stage" else self._note

    def end(self) -> None:
        """Kill the process's group; the process that fits ends when this one is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.events):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _end_in_words(code: int) -> str:
    if code >= 0:
        return f"its worker ended with exit status {code}"
    memory = "; the machine may have run out of memory" if -code == signal.SIGKILL else ""
    return f"its worker was killed by signal {-code} ({signal.Signals(-code).name}){memory}"


# ---------------------------------------------------------------- what the machine has


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(asked: Resources, there: int) -> int:
    """Threads of a cell: those asked for, else a worker's share of the cores. Raises HarnessError for too many."""
    if asked.threads is not None and asked.threads > there:
        raise HarnessError(f"run.threads is {asked.threads}, and there are {there} cores; take {there} or fewer")
    return asked.threads or max(1, there // (asked.workers or 1))


def total_memory() -> int:
    """Bytes of the machine's memory, or of the group of processes that this one is limited with."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:  # noqa: PTH123
        return min(whole, int(file.read()))
    return whole


def gpus_of(job: CellJob) -> int:
    """Whole GPUs that a cell takes."""
    return math.ceil(job.gpus)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that `CUDA_VISIBLE_DEVICES` takes."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def refuse_unknown(given: Mapping[str, Any], known: frozenset[str], name: str) -> None:
    """Raises HarnessError for an option that an executor does not know."""
    for key in given:
        if key not in known:
            raise HarnessError(f"run.options: executor {name} has no option {key!r}; {nearest(key, known)}")
