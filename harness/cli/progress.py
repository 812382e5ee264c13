"""Progress on standard error: a bar with stage, rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from harness.cli.output import stderr
from harness.contracts.progress import Progress, Silent
from harness.util.safe_text import line as harmless

EVERY_S = 15.0
"""Seconds between two lines of a stage where there is no terminal to redraw."""

Figure = float | int | str | bool


class _Rate(ProgressColumn):
    """Units per second, or seconds per unit when slow."""

    def render(self, task: Task) -> Text:
        """The rate over the last half minute."""
        return Text(rate(task.finished_speed or task.speed))


def rate(per_second: float | None) -> str:
    """A speed as a person reads it: `3.2/s`, `4.1 s each`."""
    if not per_second:
        return ""
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{1 / per_second:.1f} s each"


def figures_line(figures: dict[str, Figure]) -> str:
    """`loss 0.31, reward 0.5`."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
    )


class Bars:
    """One bar per stage, on a terminal."""

    def __init__(self, progress: RichProgress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None, figures="")

    def stage(self, name: str, total: int | None = None) -> None:
        """Close the bar of the stage before and open one."""
        self._finish()
        self._task = self._progress.add_task(harmless(name), total=total, figures="")

    def advance(self, done: int, total: int | None = None, **figures: Figure) -> None:
        """Move the bar."""
        self._progress.update(self._task, total=total, completed=done)  # a total of None leaves it as it was
        if figures:
            self._progress.update(self._task, figures=harmless(figures_line(figures)))

    def note(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(Text(harmless(line)))

    def _finish(self) -> None:
        task = self._progress.tasks[-1]
        if task.completed == 0 and task.total is None:
            self._progress.remove_task(self._task)
        else:
            self._progress.stop_task(self._task)


class Lines:
    """A line when a stage begins, and one now and then while it lasts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._name = "starting"
        self._total: int | None = None
        self._began = self._said = time.monotonic()
        self._first = 0

    def stage(self, name: str, total: int | None = None) -> None:
        """Say that a stage begins."""
        self._name, self._total = name, total
        self._began = self._said = time.monotonic()
        self._first = -1
        self._console.print(Text(harmless(f"{name}{f' ({total})' if total else ''}")))

    def advance(self, done: int, total: int | None = None, **figures: Figure) -> None:
        """Say how far it is, at most every `EVERY_S` seconds."""
        self._total = total if total is not None else self._total
        if self._first < 0:  # what a resumed stage starts from is not speed
            self._first = done
        now = time.monotonic()
        if now - self._said < EVERY_S:
            return
        self._said = now
        self._console.print(Text(harmless(self._line(done, now - self._began, figures))))

    def _line(self, done: int, seconds: float, figures: dict[str, Figure]) -> str:
        speed = (done - self._first) / seconds if seconds > 0 else 0.0
        parts = [f"{self._name} {done}{f'/{self._total}' if self._total else ''}", rate(speed)]
        if self._total and speed:
            parts.append(f"{(self._total - done) / speed:.0f} s left")
        return ", ".join(part for part in [*parts, figures_line(figures)] if part)

    def note(self, line: str) -> None:
        """Print a line."""
        self._console.print(Text(harmless(line)))


@contextmanager
def watching(quiet: bool) -> Iterator[Progress]:
    """What the engine reports to: nothing, bars or lines, on standard error."""
    console = stderr()
    if quiet:
        yield Silent()
    elif not console.is_terminal:
        yield Lines(console)
    else:
        with RichProgress(*_columns(), console=console, transient=False, redirect_stdout=False) as progress:
            yield Bars(progress)


def _columns() -> list[ProgressColumn]:
    return [
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", style="dim", markup=False),
    ]
