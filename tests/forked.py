"""A worker that is forked from a process which has imported torch and the trainers, in place of one that imports them.

Starting Python and importing takes some eight seconds of a core, more than any fit of the tiny model. What is forked
gets the same arguments, environment, descriptors, process group and folder as `subprocess.Popen` would give it, and
runs the same `main`. What it does not show is that a fresh interpreter starts, finds what it imports, and orders its
sets by another hash seed: tests of that use the fixture `fresh_processes`.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from typing import Any

IMPORTED = (
    *("torch", "transformers", "trl", "peft", "accelerate", "datasets"),
    *("harness.run.worker", "harness.fit.fitting", "harness.fit.tuning", "harness.plugins.registry"),
)


def nursery() -> ForkServerContext:
    """The context whose server has imported what every worker needs, has computed nothing and has a single thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


class Handed:
    """Descriptors that go to the new process, where they have other numbers."""

    def __init__(self, *descriptors: int) -> None:
        self.descriptors = descriptors

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, tuple(map(DupFd, self.descriptors))


def _received(*handles: Any) -> Handed:
    return Handed(*(handle.detach() for handle in handles))


class ForkedWorker:
    """As much of `subprocess.Popen` as `harness.run.launch` uses."""

    def __init__(self, words: Sequence[str], *, stdout: Any, env: dict[str, str], pass_fds: tuple[int, int]) -> None:
        lock, events = pass_fds
        assert words[-1] == str(events)
        reading, writing = os.pipe()
        try:
            handed = Handed(reading, stdout.fileno(), lock, events)
            self._process = nursery().Process(target=_work, args=(words[3], os.getcwd(), env, handed))
            self._process.start()
        finally:
            os.close(reading)
        self.stdin = os.fdopen(writing, "wb")
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode


def _work(folder: str, here: str, environment: dict[str, str], handed: Handed) -> None:
    from harness.run import worker

    os.setpgid(0, 0)
    os.chdir(here)
    os.environ.clear()
    os.environ.update(environment)
    reading, output, _lock, events = handed.descriptors
    for number, descriptor in enumerate((reading, output, output)):
        os.dup2(descriptor, number)
    sys.argv = [str(worker.__file__), folder, str(events)]
    code = worker.main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Processes:
    """Stands for the module `subprocess` in `harness.run.launch`: workers are forked, all else is started as ever."""

    PIPE = subprocess.PIPE

    @staticmethod
    def Popen(words: Sequence[str], **options: Any) -> Any:
        if list(words[:3]) != [sys.executable, "-m", "harness.run.worker"]:
            return subprocess.Popen(words, **options)
        assert (options["stdin"], options["process_group"]) == (subprocess.PIPE, 0)
        return ForkedWorker(words, **{name: options[name] for name in ("stdout", "env", "pass_fds")})
