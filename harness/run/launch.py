"""Starting the process that fits, listening to it, and leaving nothing of it behind.

The process leads a group of its own, which is ended when it ends: children that a fit left behind neither go on nor
keep anybody waiting (those that left the group escape). What it tells comes through a descriptor of its own, so that
nothing a library prints is taken for an event.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.run.job import STDERR

LAUNCHER = frozenset(
    {
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE"),
        *("ROLE_RANK", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CROSS_RANK", "CROSS_SIZE", "LOCAL_SIZE"),
        *("FORK_LAUNCHED", "NPROC", "SM_HP_MP_PARAMETERS", "SM_FRAMEWORK_PARAMS", "DEEPSPEED_USE_HPU"),
    }
)
LAUNCHER_PREFIXES = (
    *("ACCELERATE_", "TORCHELASTIC_", "FSDP_", "PMI_", "PMIX_", "OMPI_", "MV2_", "MPI_", "MEGATRON_"),
    *("PARALLELISM_CONFIG_", "PET_", "HOROVOD_", "SMDATAPARALLEL_"),
)
"""What launchers of several processes set: a fit is one process, and would wait for others that never come."""

ACCELERATE = (
    *("--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
    *("--main_process_port", "0", "--num_processes"),
)
"""Options of `accelerate launch`, all said, so that no configuration of the user's decides. `--multi_gpu` is its name
for several processes of one machine; a fit on a CPU says so itself. The port is any free one."""

FIXED = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
TICK = 0.2
"""Seconds between two looks whether the process is still there."""
DRAIN = 1.0
"""Seconds for what was told before the end and is not read yet."""
GRACE = 2.3
"""Seconds that an interrupted fit has for its checkpoint before it is killed."""
LONGEST = 1 << 20
"""Bytes of a line that are kept while its end has not come."""
ARGUMENTS = {"stage": (2,), "advance": (2,), "note": (1,), "log": (1,)}
"""Events, and how many arguments each has."""

Event = tuple[str, list[Any]]


def environment(outer: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: the parent's without what launchers set."""
    kept = {k: v for k, v in outer.items() if k not in LAUNCHER and not k.startswith(LAUNCHER_PREFIXES)}
    return {**kept, **FIXED}


def run_worker(
    folder: Path,
    lock: int,
    threads: int,
    hear: Callable[[str, list[Any]], None],
    *,
    forked: bool = False,
    processes: int = 1,
) -> int:
    """Run the worker on `folder` to its end and give its exit status, negative for a signal.

    It holds the lock too, so that nobody fits the same cell while a dying worker lives on. `forked`: from a process
    that has imported what a fit needs, in place of a fresh interpreter. Several `processes` are started by accelerate,
    which tells each its rank; of them the launcher holds the lock.
    """
    worker = ["-m", "harness.run.worker", str(folder.resolve())]
    if processes == 1:
        return run_process([sys.executable, *worker], folder, lock, hear, threads, forked=forked)
    words = [sys.executable, "-m", "accelerate.commands.launch", *ACCELERATE, str(processes), *worker]
    code = run_process(words, folder, lock, hear, threads, named=True)
    return first_to_end((folder / STDERR).read_text(errors="replace"), code) if code else 0


def first_to_end(said: str, code: int) -> int:
    """How the process ended that made the others end: what the launcher says, whose own exit status is always 1.

    The others end because they wait for it: they raise something, or the launcher ends them (`SIGTERM`).
    """
    codes = [int(found) for found in re.findall(r"^ +exitcode +: (-?\d+)", said, re.MULTILINE)]
    ends = [one for one in codes if one not in (1, -signal.SIGTERM)]
    return min(ends, default=code)


def run_process(
    words: Sequence[str],
    folder: Path,
    lock: int,
    hear: Callable[[str, list[Any]], None],
    threads: int | None = None,
    *,
    forked: bool = False,
    named: bool = False,
) -> int:
    """Run a command that tells events on the descriptor whose number is its last argument; its output goes to a file.

    `threads` is how many it computes with, where that is not the parent's number. `named`: it is told a path in place
    of the number, for a launcher passes no descriptors on. Gives its exit status, negative for a signal.
    """
    counted = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    with contextlib.ExitStack() as until_the_end, (folder / STDERR).open("wb") as errors:
        reading, writing, told = _named_pipe(until_the_end) if named else (*os.pipe(), None)
        events = until_the_end.enter_context(os.fdopen(reading, "rb", buffering=0))
        try:
            process: Any = _starter(forked)(
                [*words, told or str(writing)],
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                env={**environment(os.environ), **counted},
                pass_fds=(lock, writing),
                process_group=0,
            )
        except (EOFError, ConnectionError):  # what it is forked from was killed before it began, again and again
            return -signal.SIGKILL
        finally:
            if not named:
                os.close(writing)
        try:
            _listen(process, events.fileno(), hear)
        except KeyboardInterrupt:
            _interrupt(process)
            raise
        finally:
            _end(process)
    return int(process.returncode)


def _named_pipe(until_the_end: contextlib.ExitStack) -> tuple[int, int, str]:
    """(reading end, writing end, path) of a pipe with a name. The writing end stays open: nobody else may have come."""
    path = Path(until_the_end.enter_context(tempfile.TemporaryDirectory())) / "events"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY)
    until_the_end.callback(os.close, writing)
    return reading, writing, str(path)


def _starter(forked: bool) -> Callable[..., Any]:
    """What starts a process: `Popen`, or what has as much of it as is used here."""
    if not forked:
        return subprocess.Popen
    from harness.run.nursery import ForkedWorker

    return ForkedWorker


def parse(line: bytes) -> Event | None:
    """An event of the worker's; None for a line that is none."""
    try:
        kind, *arguments = json.loads(line)
        return (kind, arguments) if len(arguments) in ARGUMENTS[kind] else None
    except (ValueError, TypeError, KeyError):
        return None


def _listen(process: subprocess.Popen[bytes], events: int, hear: Callable[[str, list[Any]], None]) -> None:
    """Pass events on until the process has ended, whoever else holds the descriptor."""
    rest, until = b"", math.inf
    while time.monotonic() < until:
        ended = process.poll() is not None
        if ended and until == math.inf:
            _kill_group(process)
            until = time.monotonic() + DRAIN
        if not select.select([events], [], [], 0 if ended else TICK)[0]:
            if ended:
                return
            continue
        chunk = os.read(events, 1 << 16)
        if not chunk:
            process.wait()
            return
        *lines, rest = (rest[-LONGEST:] + chunk).split(b"\n")
        for event in filter(None, map(parse, lines)):
            hear(*event)


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to save where it is and leave; a second Ctrl-C ends the wait."""
    until = time.monotonic() + GRACE
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGINT)
    while process.poll() is None and time.monotonic() < until:
        time.sleep(TICK / 4)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole group, and take the exit status: of a process that ended by itself it is its own."""
    _kill_group(process)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
