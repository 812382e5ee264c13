"""Progress on standard error: a bar with stage, rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
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
STILL_S = 300.0
"""Seconds until a line is said again though nothing has moved: a sign of life, and no log of thousands of lines."""

Figure = float | int | str | bool


class Watcher(Progress, Protocol):
    """A Progress that also knows of cells: one bar, or line, over all of them."""

    def cell(self, number: int, total: int, name: str) -> None:
        """Cell `number` of `total`, counted from 1, begins."""
        ...


class Quiet(Silent):
    """Shows nothing."""

    def cell(self, number: int, total: int, name: str) -> None:
        """Ignored."""


class Course:
    """How far a list of cells is: what each took tells what is left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()

    def line(self, number: int, total: int, name: str) -> str:
        """`cell 3 of 6: dpo, seed 1, about 14 min left`; of the first cell nobody knows how long it takes."""
        done = number - 1
        left = (self._clock() - self._began) / done * (total - done) if done else None
        return f"cell {number} of {total}: {name}" + ("" if left is None else f", about {duration(left)} left")


def duration(seconds: float) -> str:
    """Seconds as a person reads them: `40 s`, `14 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


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
        self._course = Course()
        self._all: TaskID | None = None
        self._cells = 0
        self._task = progress.add_task("starting", total=None, figures="")

    def cell(self, number: int, total: int, name: str) -> None:
        """Move the bar over all cells; a single cell needs none."""
        if total == 1:
            return
        if self._all is None:
            self._all = self._progress.add_task("", total=total, figures="")
        self._cells = total
        described = harmless(self._course.line(number, total, name))
        self._progress.update(self._all, completed=number - 1, description=described)

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

    def close(self) -> None:
        """All cells are done."""
        if self._all is not None:
            self._progress.update(self._all, completed=self._cells, description="all cells")

    def _finish(self) -> None:
        task = next(task for task in self._progress.tasks if task.id == self._task)
        if task.completed == 0 and task.total is None:
            self._progress.remove_task(self._task)
        else:
            self._progress.stop_task(self._task)


class Lines:
    """A line when a stage begins, and one now and then while it lasts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._course = Course()
        self._name = "starting"
        self._total: int | None = None
        self._began = self._said = time.monotonic()
        self._first = 0
        self._last: tuple[int, dict[str, Figure]] | None = None

    def cell(self, number: int, total: int, name: str) -> None:
        """Say which cell begins; a single cell needs no number."""
        if total > 1:
            self.note(self._course.line(number, total, name))

    def stage(self, name: str, total: int | None = None) -> None:
        """Say that a stage begins."""
        self._name, self._total = name, total
        self._began = self._said = time.monotonic()
        self._first = -1
        self._last = None
        self._console.print(Text(harmless(f"{name}{f' ({total})' if total else ''}")))

    def advance(self, done: int, total: int | None = None, **figures: Figure) -> None:
        """Say how far it is, at most every `EVERY_S` seconds; while nothing moves, every `STILL_S`."""
        self._total = total if total is not None else self._total
        if self._first < 0:  # what a resumed stage starts from is not speed
            self._first = done
        now = time.monotonic()
        if now - self._said < (STILL_S if (done, figures) == self._last else EVERY_S):
            return
        self._said, self._last = now, (done, figures)
        self._console.print(Text(harmless(self._line(done, now - self._began, figures))))

    def _line(self, done: int, seconds: float, figures: dict[str, Figure]) -> str:
        speed = (done - self._first) / seconds if seconds > 0 else 0.0
        parts = [f"{self._name} {done}{f'/{self._total}' if self._total else ''}", rate(speed)]
        if self._total and speed:
            parts.append(f"{duration((self._total - done) / speed)} left")
        return ", ".join(part for part in [*parts, figures_line(figures)] if part)

    def note(self, line: str) -> None:
        """Print a line."""
        self._console.print(Text(harmless(line)))


@contextmanager
def watching(quiet: bool) -> Iterator[Watcher]:
    """What the engine reports to: nothing, bars or lines, on standard error."""
    console = stderr()
    if quiet:
        yield Quiet()
    elif not console.is_terminal:
        yield Lines(console)
    else:
        with RichProgress(*_columns(), console=console, transient=False, redirect_stdout=False) as progress:
            bars = Bars(progress)
            yield bars
            bars.close()


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
