"""Executor `by_command`: each cell of a study is a process that a command of yours starts.

    run: {executor: by_command, workers: 4, threads: 8, options: {command: srun --gpus=1 --exact}}

The words of `command` stand before `python -m harness.study.cell FILE`: `srun`, `nice -n 10`, or nothing at all.
Where the command starts the process on another machine, store and study lie on a disk that both machines share.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from harness.contracts import CellJob, CellState, Executor, HarnessError, Resources
from harness.hookspecs import hookimpl

GRACE = 5.0
"""Seconds that a process has between the request to end and its death."""
TOLD = frozenset({0, 2})
"""Exit statuses of a process that has finished its cell: 0 with a record, 2 with an input that was refused."""


class ByCommand:
    """Starts a process for each cell and reads its exit status; the store says whether the cell has a result."""

    name: ClassVar[str] = "by_command"

    def __init__(self, asked: Resources) -> None:
        for option in asked.options:
            if option != "command":
                raise HarnessError(f"run.options: executor by_command has no option {option!r}, it has only 'command'")
        self.command = shlex.split(str(asked.options.get("command", "")))
        if self.command and shutil.which(self.command[0]) is None:
            raise HarnessError(f"run.options.command: there is no program {self.command[0]!r} on this machine")
        self.threads = asked.threads or 1
        self.workers = asked.workers or 1
        self._logs = asked.folder / "by_command"
        self._started = 0
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def room(self, job: CellJob) -> bool:
        """Whether fewer cells are running than the study allows."""
        return len(self._running) < self.workers

    def submit(self, job: CellJob) -> str:
        """Start the process as leader of a process group, so that all that it starts can be ended with it."""
        self._started += 1
        handle = f"{job.run_id}-{os.getpid()}-{self._started}"
        words = [*self.command, sys.executable, "-m", "harness.study.cell", str(job.file.resolve())]
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._log(handle).open("wb") as log:
            seen = {**os.environ, "OMP_NUM_THREADS": str(job.threads)}
            self._running[handle] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=seen, process_group=0
            )
        return handle

    def poll(self, handles: Sequence[str]) -> Mapping[str, CellState]:
        """The state of each cell; a process that has ended is forgotten after this has been reported once."""
        return {handle: self._state(handle) for handle in handles}

    def cancel(self, handle: str) -> None:
        """Ask the process to end, and kill its group if it does not."""
        process = self._running.pop(handle, None)
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)

    def close(self) -> None:
        """Cancel every cell that is still running."""
        for handle in list(self._running):
            self.cancel(handle)

    def _state(self, handle: str) -> CellState:
        process = self._running.get(handle)
        if process is None:
            return CellState("lost", f"this executor knows no cell {handle!r}")
        status = process.poll()
        if status is None:
            return CellState("running")
        del self._running[handle]
        last = self._log(handle).read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2][-200:]
        return CellState("ended" if status in TOLD else "lost", f"its process ended with status {status}: {last}")

    def _log(self, handle: str) -> Path:
        return self._logs / f"{handle}.log"


@hookimpl
def harness_executors() -> list[type[Executor]]:
    """What this module adds to the harness."""
    return [ByCommand]
