"""Fits that are forked from a process which has imported torch and the trainers, in place of one that imports them.

Starting Python and importing takes some eight seconds of a core. What is forked gets the same arguments, environment,
descriptors, process group and folder as `subprocess.Popen` would give it, runs the same `main`, and is told no more of
the task. The process that is forked from has computed nothing, has a single thread, and ends with its parent.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any
from unittest import mock

IMPORTED = (
    *("torch", "transformers", "trl", "peft", "accelerate", "datasets"),
    *(
        "harness.run.worker",
        "harness.fit.fitting",
        "harness.fit.tuning",
        "harness.plugins.registry",
        "harness.run.warm",
    ),
)

SERVER_DIED = 255
"""What multiprocessing says of a process whose server died: how it ended is unknown. Its group is killed anyhow."""

TRIES = 3
"""How often the server is asked for a process: it may be killed, and the next one too while it imports."""
PAUSE = 0.5
"""Seconds before it is asked again: that a process was killed is seen a moment after its connections break."""


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

    def __init__(
        self, words: Sequence[str], *, stdout: Any, env: dict[str, str], pass_fds: tuple[int, int], **usual: Any
    ) -> None:
        """Fork the worker of these words: the folder is the fourth. `usual` is what it gets anyhow.

        Raises EOFError or ConnectionError where the server is killed again and again before it has forked.
        """
        lock, events = pass_fds
        assert words[-1] == str(events)
        reading, writing = os.pipe()
        try:
            handed = Handed(reading, stdout.fileno(), lock, events)
            self._process = _started((words[3], str(Path.cwd()), env, handed))
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self.stdin: IO[bytes] | None = os.fdopen(writing, "wb")
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> Any:
        """The exit status, negative for a signal; None while it runs."""
        code = self._process.exitcode
        return -signal.SIGKILL if code == SERVER_DIED else code

    def poll(self) -> int | None:
        """`returncode`, looked up now."""
        code: int | None = self.returncode
        return code

    def wait(self) -> int | None:
        """Until it has ended: `returncode`."""
        self._process.join()
        return self.poll()


def _started(arguments: tuple[Any, ...]) -> ForkServerProcess:
    """A forked process that does `_work`. Where the server was killed, asking again starts another one.

    Raises EOFError or ConnectionError where that one and the next are killed as well before they fork.
    """
    for _ in range(TRIES - 1):
        with contextlib.suppress(EOFError, ConnectionError):
            return _asked(arguments)
        time.sleep(PAUSE)
    return _asked(arguments)


def _asked(arguments: tuple[Any, ...]) -> ForkServerProcess:
    process = nursery().Process(target=_work, args=arguments)
    process.start()
    return process


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


def warm_up() -> None:
    """Import what fits need, and fork the process that they are forked from, which need not import it again.

    The caller has a single thread, has computed nothing and knows of no task. Should that process die, multiprocessing
    starts another one, a fresh interpreter.
    """
    import_ahead(IMPORTED)
    nursery()
    resource_tracker.ensure_running()
    with mock.patch.object(multiprocessing.util, "spawnv_passfds", _forked):
        forkserver.ensure_running()


def import_ahead(names: Sequence[str]) -> None:
    """Import modules before they are needed; one that cannot be imported is told where it is needed."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _forked(_interpreter: object, words: Sequence[str], descriptors: Sequence[int]) -> int:
    """A copy of this process that runs the code which an interpreter would be given, behind `-c`; its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        kept = {0, 1, 2, resource_tracker.getfd(), *descriptors}
        for number in [int(one.name) for one in Path("/dev/fd").iterdir()]:
            if number not in kept:
                with contextlib.suppress(OSError):  # of the listing itself
                    os.close(number)
        exec(words[-1], {})
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)
