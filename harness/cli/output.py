"""Where text goes: results to standard output, everything said on the way to standard error, both made harmless."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.util.safe_text import block, json_text, line

_RESULTS: ContextVar[TextIO | None] = ContextVar("results", default=None)
"""Where results go while strangers' code may print; None: standard output."""
_COMMAND: ContextVar[ExitStack | None] = ContextVar("command", default=None)
"""What the command that runs gives back at its end."""


def stderr() -> Console:
    """A console on standard error; plain text when that is not a terminal. It knows no markup."""
    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def stdout() -> Console:
    """A console for results. It knows no markup."""
    return Console(file=_results(), highlight=False, soft_wrap=True, markup=False, emoji=False)


def _results() -> TextIO:
    return _RESULTS.get() or sys.stdout


def say(text: str) -> None:
    """A result on standard output, one line or several."""
    print(block(text), file=_results(), flush=True)


def note(text: str) -> None:
    """One line on standard error."""
    stderr().print(line(text))


def emit_json(value: Any) -> None:
    """A JSON value, the only thing on standard output."""
    out = _results()
    unicode = (out.encoding or "").lower().replace("-", "").startswith("utf")
    print(json_text(value, indent=2, ascii_only=not unicode), file=out, flush=True)


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output: drawn on a terminal, tab-separated without a heading when piped."""
    console = stdout()
    if not console.is_terminal:
        for row in rows:
            say("\t".join(line(cell) for cell in (title, *row)))
        return
    heading = Text(line(title), style="bold")
    drawn = Table(title=heading, title_justify="left", box=None, pad_edge=False)
    for name in headings:
        drawn.add_column(Text(line(name)), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(line(cell)) for cell in row))
    console.print(drawn)
    console.print()


# ---------------------------------------------------------------- standard output belongs to results


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send standard output to standard error: this process's, its libraries' and its children's; results pass by.

    A library or a plug-in that prints would corrupt `--json`.
    """
    sys.stdout.flush()
    saved = os.dup(1)
    python_stdout = sys.stdout
    results, own = _beside(python_stdout, saved)
    token = _RESULTS.set(_RESULTS.get() or results)
    sys.stdout = sys.stderr
    os.dup2(2, 1)
    try:
        yield
    finally:
        _RESULTS.reset(token)
        for stream in (sys.stderr, python_stdout, sys.__stdout__):  # what strangers wrote must not surface later
            if stream is not None:
                with suppress(OSError, ValueError):
                    stream.flush()
        os.dup2(saved, 1)
        os.close(saved)
        sys.stdout = python_stdout
        if own:
            results.close()


def _beside(stream: TextIO, saved: int) -> tuple[TextIO, bool]:
    """A stream to where `stream` goes that does not write to descriptor 1, and whether it must be closed."""
    try:
        on_descriptor_1 = stream.fileno() == 1
    except (OSError, ValueError):
        on_descriptor_1 = False
    if not on_descriptor_1:
        return stream, False
    return os.fdopen(os.dup(saved), "w", encoding=stream.encoding, errors=stream.errors), True


@contextmanager
def command() -> Iterator[None]:
    """The time of one command: what it diverted is given back at its end."""
    with ExitStack() as stack:
        token = _COMMAND.set(stack)
        try:
            yield
        finally:
            _COMMAND.reset(token)


def divert() -> None:
    """From here to the end of the command, whatever prints goes to standard error; `say`, `table`, `emit_json` do not.

    Called before strangers' code is imported.
    """
    stack = _COMMAND.get()
    if stack is not None and _RESULTS.get() is None:
        stack.enter_context(stdout_to_stderr())


def silence_stdout() -> None:
    """Point standard output at nothing, so that the interpreter's last flush of a broken pipe stays quiet."""
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)


# ---------------------------------------------------------------- the process


def prepare_streams() -> None:
    """Make the three streams usable: closed ones go nowhere, and what an encoding lacks is spelt out."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _warned


def _warned(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning in one line: whose code gave it, and where that lies, is nothing for the reader of results."""
    note(f"warning: {message}")


def end_of_results() -> None:
    """What is printed after this, by whatever runs when the interpreter ends, goes to standard error."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    with suppress(OSError):
        os.dup2(2, 1)
    sys.stdout = sys.stderr
