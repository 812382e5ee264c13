"""Files that are written whole or not at all, and JSON in them."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError

ELSEWHERE = "another folder that can be written (--store, or HARNESS_CACHE for models)"


HALF = ".new-"
"""How the names of files and folders begin that are not whole yet."""
OLD = 24 * 3600.0
"""Seconds after which nobody is expected to finish them any more."""


@contextmanager
def storage(place: Path) -> Iterator[None]:
    """Turn a full disk, a missing permission or a bad path into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HarnessError(f"no space left below {place}; free some or pass {ELSEWHERE}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise HarnessError(f"cannot write below {place}: {error.strerror}; pass {ELSEWHERE}") from error
        raise


def expanded(text: str, instead: str = "write the whole path") -> Path:
    """A path with `~` replaced by the home folder. Raises HarnessError where there is none, and says what to do."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise HarnessError(f"{text[:80]!r} needs a home folder, and there is none; {instead}") from error


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; who may read it is left to the process's umask."""
    with storage(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{HALF}{path.name}-{uuid.uuid4().hex[:8]}")  # a temporary file is for one user
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; what stands there takes the place of `path` once it is whole."""
    with storage(path.parent):
        temporary = path.with_name(f"{HALF}{path.name}-{uuid.uuid4().hex[:8]}")
        try:
            yield temporary
            to_disk(temporary)
            temporary.replace(path)
            to_disk(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def to_disk(path: Path) -> None:
    """Have a file, or a folder's list of names, written to the disk, where the file system can be asked to.

    A renamed file whose content was not may be empty, under its right name, after a machine lost its power.
    """
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def all_to_disk(folder: Path) -> None:
    """`to_disk` for a folder and everything below it."""
    for path in (*folder.rglob("*"), folder):
        to_disk(path)


def sweep(folder: Path, depth: int) -> None:
    """Delete what processes that were killed left half written, in `folder` and the hidden folders below it.

    Younger things may belong to a process that is at work.
    """
    until = time.time() - OLD
    for level in range(depth + 1):
        for half in folder.glob("/".join([*[".*", "*"][:level], f"{HALF}*"])):
            with suppress(OSError):
                if half.stat().st_mtime < until:
                    shutil.rmtree(half) if half.is_dir() else half.unlink()


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` for a JSON value."""
    write_atomic(path, (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any | None:
    """The JSON value of a file, or None when there is none. Raises HarnessError when it is corrupt."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{path} is not valid JSON ({error}); delete it and run again") from error
