"""Tables that differ in their draw alone, taken together.

Where a draw decides what is asked, as with groups' opinions, every draw has other items and a table of its own. Their
rows are averaged here, with the standard error over the draws. No test stands behind it. A draw in which a row is
degenerate is no result of its method: it is left out of the mean, as long as another draw is sound.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Protocol, TypeVar

from leaderboards.table import MethodRow, Setting, Table

DRAWN = ("draw_seeds", "pairs_hash")
"""Fields of a setting that follow from the draws."""


class _MayBeUnfit(Protocol):
    @property
    def degenerate(self) -> bool: ...


OfOneDraw = TypeVar("OfOneDraw", bound=_MayBeUnfit)


@dataclass(frozen=True, slots=True)
class Average:
    """A mean over draws."""

    mean: float
    error: float | None
    """Standard error over the draws; None for one draw."""


@dataclass(frozen=True, slots=True)
class DrawnRow:
    """A row over its draws."""

    label: str
    aligner: str
    role: str
    draws: int
    """Draws behind the means: those in which it is sound, or all where it is sound in none."""
    ran: int
    """Draws in which it has a score."""
    degenerate: bool
    """Whether it is sound in no draw."""
    score: Average
    versus_base: Average | None
    others: Mapping[str, Average]
    verdicts: Mapping[str, int]
    """Verdict, or why there is none (degenerate, or the role), and in how many draws, unsound ones included."""


@dataclass(frozen=True, slots=True)
class DrawnTable:
    """Tables of several draws as one."""

    setting: Setting
    """That of the first."""
    metrics: tuple[str, ...]
    """The metrics beside the main one."""
    rows: tuple[DrawnRow, ...]
    """Those of the most draws first, then by score; degenerate rows last."""
    lower_is_better: tuple[str, ...]
    """Metrics of which less is better."""


def over_draws(tables: Sequence[Table]) -> list[DrawnTable]:
    """What tables of the same setting and other draws say together; nothing of a setting that has one table."""
    groups: dict[str, list[Table]] = {}
    for table in tables:
        groups.setdefault(table.setting.key(DRAWN), []).append(table)
    return [_together(group) for group in groups.values() if _asks_anew(group)]


def _asks_anew(group: Sequence[Table]) -> bool:
    """Whether every draw asks other items: then a row stands in several tables, and no run in two.

    Elsewhere a row is in one table with all its draws, and tables differ in the draws that their rows have so far.
    """
    labels = Counter(row.label for table in group for row in table.rows)
    runs = Counter(run for table in group for row in table.rows for run in row.records)
    return max(labels.values(), default=0) > 1 and max(runs.values(), default=0) == 1


def _together(group: Sequence[Table]) -> DrawnTable:
    main = group[0].setting.main_metric
    rows: dict[str, list[MethodRow]] = {}
    for table in group:
        for row in table.rows:
            if main in row.metrics:
                rows.setdefault(row.label, []).append(row)
    metrics = sorted({name for found in rows.values() for row in found for name in row.metrics} - {main})
    falling = tuple(sorted({name for table in group for name in table.lower_is_better}))
    sign = -1 if main in falling else 1
    made = (_row(label, found, main, metrics) for label, found in rows.items())
    ordered = sorted(made, key=lambda row: (row.degenerate, -row.draws, -sign * row.score.mean, row.label))
    return DrawnTable(group[0].setting, tuple(metrics), tuple(ordered), falling)


def _row(label: str, rows: Sequence[MethodRow], main: str, metrics: Sequence[str]) -> DrawnRow:
    kept = counted(rows)
    differences = [paired.difference for row in kept if (paired := row.metrics[main].versus_base)]
    values = {name: [row.metrics[name].score.mean for row in kept if name in row.metrics] for name in metrics}
    return DrawnRow(
        label=label,
        aligner=rows[0].aligner,
        role=rows[0].role,
        draws=len(kept),
        ran=len(rows),
        degenerate=all(row.degenerate for row in rows),
        score=average([row.metrics[main].score.mean for row in kept]),
        versus_base=average(differences) if differences else None,
        others={name: average(found) for name, found in values.items() if found},
        verdicts=Counter("degenerate" if row.degenerate else row.verdict or row.role for row in rows),
    )


def counted(rows: Sequence[OfOneDraw]) -> list[OfOneDraw]:
    """Of a row's figures in several draws those that a mean is of: the sound ones, or all where none is sound."""
    return [row for row in rows if not row.degenerate] or list(rows)


def average(values: Sequence[float]) -> Average:
    """The mean of a figure of each draw. Raises StatisticsError for none."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Average(fmean(values), error)
