"""What a mistake, a full disk, a closed pipe, Ctrl-C and a bug look like: one line and an exit code."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from harness.cli.output import command, silence_stdout, stderr
from harness.cli.places import refuse_nowhere
from harness.contracts import HarnessError
from harness.util.safe_text import VALUE, block, cut, shorten

MISTAKE, BUG, INTERRUPTED, BROKEN_PIPE = 2, 1, 130, 141
STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EFBIG}
PATHS = {errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
QUOTED = re.compile(r"'[^']{79,}'")
LONGEST = 280
"""Characters of an error line: more is noise, and hides the cause."""


def complain(text: str) -> None:
    """`error: ...` on standard error, in red on a terminal; a long quoted value is cut, and so is the line."""
    shown = QUOTED.sub(lambda found: shorten(found.group(), VALUE), text)
    stderr().print(Text.assemble(("error:", "red"), " ", shorten(shown, LONGEST)))


@contextmanager
def reported() -> Iterator[None]:
    """Turn whatever a command raises into its line and exit code. Exits and requested help pass."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except typer.TyperException as error:
        raise _usage(error) from error
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


def _usage(error: typer.TyperException) -> Exception:
    """A mistake of the options as one line that names where help is; the help itself, which is no mistake, as it is."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return error
    where = f"; see {context.command_path} --help" if context is not None else ""
    complain(f"{error.format_message().rstrip('.')}{where}")
    return typer.Exit(error.exit_code)


def _unexpected(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno in STORAGE:
        place = f" {cut(error.filename)}" if error.filename else ""
        instead = "free space or choose another place (--store, HARNESS_CACHE)"
        complain(f"cannot use{place}: {os.strerror(error.errno or 0)}; {instead}")
        return MISTAKE
    if isinstance(error, OSError) and error.errno in PATHS and error.filename:
        complain(f"cannot use {cut(error.filename)} as a path: {os.strerror(error.errno or 0)}")
        return MISTAKE
    first = str(error).strip().splitlines()[:1] or ["no message"]
    what = shorten(f"{type(error).__name__}: {first[0]}", LONGEST // 2)
    complain(f"{what} (a bug or a broken installation; traceback: {_save(error)})")
    return BUG


def _save(error: Exception) -> str:
    """Write the traceback to a new temporary file and return where; where that fails, show it instead."""
    text = "".join(traceback.format_exception(error))
    try:
        handle, path = tempfile.mkstemp(prefix="align-harness-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        stderr().print(block(text))
        return "above"
    return str(Path(path))


class CommandLine(TyperGroup):
    """The command group: every command below it, and the reading of its options, runs inside `reported`."""

    def make_context(self, *arguments: Any, **options: Any) -> typer.Context:
        """Read the options that stand before the command."""
        with reported():
            return super().make_context(*arguments, **options)  # type: ignore[return-value]

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run the chosen command."""
        with reported(), command():
            refuse_nowhere()
            return super().invoke(ctx)
