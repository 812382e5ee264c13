"""Ctrl-C ends a command within seconds, whatever it is at."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from harness.cli.errors import INTERRUPTED

LONGEST = 2.8
"""Seconds between Ctrl-C and the end: a fit's grace is shorter."""
WORDS = b"\ninterrupted; the same command resumes where this one stopped\n"


@contextmanager
def leaving_in_time() -> Iterator[None]:
    """Inside, an interrupt that has not ended the process `LONGEST` seconds later ends it at once.

    A library may be in a long product, or take the exception for one of its own. What is on disk is whole at any
    moment, and a fit's process ends with this one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(heard,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(told)


def leave() -> NoReturn:
    """End the process without what libraries do at its end, which may take longer than somebody waits."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(INTERRUPTED)


def _watch(heard: int) -> None:
    """Wait for an interrupt, then for the end of the process; returns where there was none."""
    while (said := os.read(heard, 1)) and said[0] != signal.SIGINT:
        pass
    os.close(heard)
    if said:
        time.sleep(LONGEST)
        os.write(2, WORDS)
        os._exit(INTERRUPTED)
