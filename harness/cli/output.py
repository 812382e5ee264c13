"""Where text goes: results to standard output, everything said on the way to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.table import Table


def stderr() -> Console:
    """A console on standard error; plain text when that is not a terminal."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def stdout() -> Console:
    """A console on standard output."""
    return Console(highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """One result line on standard output, as it is."""
    print(line)


def emit_json(value: Any) -> None:
    """A JSON value, the only thing on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output: drawn on a terminal, tab-separated without a heading when piped."""
    console = stdout()
    if not console.is_terminal:
        for row in rows:
            print("\t".join([title, *row]))
        return
    drawn = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(cell.replace("[", r"\[") for cell in row))
    console.print(drawn)
    console.print()


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send standard output to standard error: this process's, its libraries' and its children's.

    Standard output belongs to results; a library that prints would corrupt `--json`.
    """
    sys.stdout.flush()
    saved = os.dup(1)
    python_stdout, sys.stdout = sys.stdout, sys.stderr
    os.dup2(2, 1)
    try:
        yield
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os.dup2(saved, 1)
        os.close(saved)
        sys.stdout = python_stdout


def silence_stdout() -> None:
    """Point standard output at nothing, so that the interpreter's last flush of a broken pipe stays quiet."""
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)
