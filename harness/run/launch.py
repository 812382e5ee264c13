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
import select
import signal
import subprocess
import sys
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
    folder: Path, lock: int, threads: int, hear: Callable[[str, list[Any]], None], *, forked: bool = False
) -> int:
    """Run the worker on `folder` to its end and give its exit status, negative for a signal.

    It holds the lock too, so that nobody fits the same cell while a dying worker lives on. `forked`: from a process
    that has imported what a fit needs, in place of a fresh interpreter.
    """
    words = [sys.executable, "-m", "harness.run.worker", str(folder.resolve())]
    return run_process(words, folder, lock, hear, threads, forked=forked)


def run_process(
    words: Sequence[str],
    folder: Path,
    lock: int,
    hear: Callable[[str, list[Any]], None],
    threads: int | None = None,
    *,
    forked: bool = False,
) -> int:
    """Run a command that tells events on the descriptor whose number is its last argument; its output goes to a file.

    `threads` is how many it computes with, where that is not the parent's number. Gives its exit status, negative for
    a signal.
    """
    counted = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    reading, writing = os.pipe()
    with (folder / STDERR).open("wb") as errors, os.fdopen(reading, "rb", buffering=0) as events:
        try:
            process: Any = _starter(forked)(
                [*words, str(writing)],
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                env={**environment(os.environ), **counted},
                pass_fds=(lock, writing),
                process_group=0,
            )
        finally:
            os.close(writing)
        try:
            _listen(process, events.fileno(), hear)
        except KeyboardInterrupt:
            _interrupt(process)
            raise
        finally:
            _end(process)
    return int(process.returncode)


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
