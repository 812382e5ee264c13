"""Locks between processes, on file systems with and without `flock`."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLock, Timeout, lock_descriptor

from harness.util.files import storage

NO_FLOCK = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO})
"""What a file system answers that knows no `flock` (some network and cluster file systems)."""


@contextmanager
def held(path: Path, waiting: Callable[[], None]) -> Iterator[int]:
    """Hold the lock `path` for this process; calls `waiting` once when another process has it.

    Gives the descriptor of the lock's file: a child that inherits it holds the lock as long as it lives. Where the file
    system has no locks, a file beside `path` that exists while the lock is held stands in, and a warning says so; that
    lock ends with this process and not with its children.
    """
    with storage(path.parent):
        file = path.open("a")
    with file:
        descriptor = file.fileno()
        try:
            if not lock_descriptor(descriptor, blocking=False):
                waiting()
                lock_descriptor(descriptor)
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
            with _stand_in(path, waiting):
                yield descriptor
            return
        yield descriptor


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock `path` at this moment; False where the file system cannot say."""
    try:
        with path.open("a") as file:
            return not lock_descriptor(file.fileno(), blocking=False)
    except OSError:
        return False


@contextmanager
def _stand_in(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    warnings.warn(
        f"the file system of {path.parent} has no locks; lock files stand in: run one process on a cell at a time",
        stacklevel=4,
    )
    lock = SoftFileLock(f"{path}.soft")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
