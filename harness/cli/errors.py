"""What a mistake, a full disk, a closed pipe, Ctrl-C and a bug look like: one line and an exit code."""

from __future__ import annotations

import errno
import os
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.markup import escape
from typer.core import TyperGroup

from harness.cli.output import silence_stdout, stderr
from harness.contracts import HarnessError

MISTAKE, BUG, INTERRUPTED, BROKEN_PIPE = 2, 1, 130, 141
STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EFBIG}


def complain(line: str) -> None:
    """`error: ...` on standard error, in red on a terminal."""
    stderr().print(f"[red]error:[/red] {escape(' '.join(line.split()))}")


@contextmanager
def reported() -> Iterator[None]:
    """Turn whatever a command raises into its line and exit code. Usage errors and exits pass."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except HarnessError as error:
        complain(str(error))
        raise typer.Exit(MISTAKE) from error
    except KeyboardInterrupt as error:
        stderr().print("\ninterrupted; the same command resumes where this one stopped")
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        silence_stdout()
        raise typer.Exit(BROKEN_PIPE) from error
    except Exception as error:
        raise typer.Exit(_unexpected(error)) from error


def _unexpected(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno in STORAGE:
        place = f" {error.filename!r}" if error.filename else ""
        complain(f"cannot use{place}: {os.strerror(error.errno or 0)}; free space or choose another place (--store)")
        return MISTAKE
    line = str(error).strip().splitlines()[:1] or ["no message"]
    complain(f"{type(error).__name__}: {line[0]} (a bug or a broken installation; traceback: {_save(error)})")
    return BUG


def _save(error: Exception) -> str:
    """Write the traceback to a new temporary file and return where; where that fails, show it instead."""
    text = "".join(traceback.format_exception(error))
    try:
        handle, path = tempfile.mkstemp(prefix="align-harness-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        stderr().print(escape(text))
        return "above"
    return str(Path(path))


class Guarded(TyperGroup):
    """The command group: every command below it runs inside `reported`."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run the chosen command."""
        with reported():
            return super().invoke(ctx)
