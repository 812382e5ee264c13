"""What a board's picture shows of each task: rows with their scores, at one number of labels or at several.

A panel joins the tables of one setting that differ in their labels or in their draws. Where every draw asks other
items, a point is the mean over the draws; elsewhere it is the row's score in its table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from leaderboards.curves import GROWS
from leaderboards.draws import DRAWN, DrawnRow, over_draws
from leaderboards.table import MethodRow, RowVerdict, Setting, Table


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """A row's score at one number of labels."""

    mean: float
    low: float | None
    """Lower end of the interval, or of the standard error over draws; None for a figure without either."""
    high: float | None
    kind: str
    """`better`, `worse`, `cannot tell`, `not tested`, `base`, `control`, `degenerate`."""
    draws: int
    """Draws behind the score."""


@dataclass(frozen=True, slots=True)
class BoardRow:
    """A method over the budgets of its panel."""

    label: str
    role: str
    points: Mapping[int, ScorePoint]


@dataclass(frozen=True, slots=True)
class BoardPanel:
    """One task under one setting."""

    setting: Setting
    budgets: tuple[int, ...]
    rows: tuple[BoardRow, ...]
    """Base first, then by score at the largest number of labels that a row has."""
    draws: int
    over_draws: bool
    """Whether points are means over draws, with their standard error; elsewhere they have 95 % intervals."""
    falling: bool
    """Whether less of the main metric is better."""

    def lacks_draws(self, point: ScorePoint) -> bool:
        """Whether a score is of fewer draws than the panel has; base has none of its own."""
        return point.kind != "base" and point.draws < self.draws

    @property
    def in_part(self) -> bool:
        """Whether any score is of fewer draws than the panel has."""
        return any(self.lacks_draws(point) for row in self.rows for point in row.points.values())


def panels(tables: Sequence[Table]) -> list[BoardPanel]:
    """All panels, in the order of the tables."""
    return [_panel(group) for group in _groups(tables)]


def _groups(tables: Sequence[Table]) -> Iterator[dict[int, list[Table]]]:
    """Tables by labels, for every panel. Settings that have the same number of labels twice get a panel each."""
    alike: dict[str, dict[str, list[Table]]] = {}
    for table in tables:
        budgets = alike.setdefault(table.setting.key((*GROWS, *DRAWN)), {})
        budgets.setdefault(table.setting.key(DRAWN), []).append(table)
    for found in alike.values():
        labels = [group[0].setting.labels for group in found.values()]
        if len(set(labels)) == len(labels):
            yield dict(sorted(zip(labels, found.values(), strict=True), key=lambda pair: pair[0]))
        else:
            yield from ({number: group} for number, group in zip(labels, found.values(), strict=True))


def _panel(group: Mapping[int, Sequence[Table]]) -> BoardPanel:
    first = next(iter(group.values()))[0]
    falling = first.setting.main_metric in first.lower_is_better
    points: dict[str, dict[int, ScorePoint]] = {}
    roles: dict[str, str] = {}
    for labels, tables in group.items():
        for label, role, point in _points(tables):
            points.setdefault(label, {})[labels] = point
            roles[label] = role
    rows = [BoardRow(label, roles[label], found) for label, found in points.items()]
    draws = {draw for tables in group.values() for table in tables for draw in table.setting.draw_seeds}
    return BoardPanel(
        setting=first.setting,
        budgets=tuple(group),
        rows=tuple(sorted(rows, key=lambda row: _order(row, falling))),
        draws=len(draws),
        over_draws=any(over_draws(tables) for tables in group.values()),
        falling=falling,
    )


def _order(row: BoardRow, falling: bool) -> tuple[bool, bool, float, str]:
    last = row.points[max(row.points)]
    return row.role != "base", last.kind == "degenerate", last.mean if falling else -last.mean, row.label


def _points(tables: Sequence[Table]) -> Iterator[tuple[str, str, ScorePoint]]:
    """(label, role, point) of every row with a score at one number of labels; of several the one of the most seeds."""
    together = over_draws(tables)
    if together:
        for drawn in together[0].rows:
            yield drawn.label, drawn.role, _mean_point(drawn)
        return
    found: dict[str, list[tuple[MethodRow, Table]]] = {}
    for table in tables:
        for row in table.rows:
            if table.setting.main_metric in row.metrics:
                found.setdefault(row.label, []).append((row, table))
    for label, rows in found.items():
        row, table = max(rows, key=lambda pair: (not pair[0].degenerate, pair[0].n_scored))
        yield label, row.role, _point(row, table)


def _point(row: MethodRow, table: Table) -> ScorePoint:
    score = row.metrics[table.setting.main_metric].score
    low, high = score.ci95 or (None, None)
    kind = "degenerate" if row.degenerate else row.role if row.role != "method" else row.verdict or "not tested"
    return ScorePoint(score.mean, low, high, kind, row.n_draws or 1)  # without samples a score is of a single run


def _mean_point(row: DrawnRow) -> ScorePoint:
    mean, error = row.score.mean, row.score.error
    low, high = (None, None) if error is None else (mean - error, mean + error)
    return ScorePoint(mean, low, high, _kind_over_draws(row), row.draws)


def _kind_over_draws(row: DrawnRow) -> str:
    """The verdict where all draws have the same one; `cannot tell` where they do not agree."""
    if row.degenerate or row.role != "method":
        return "degenerate" if row.degenerate else row.role
    told = [name for name in row.verdicts if name in get_args(RowVerdict)]
    if not told:
        return "not tested"
    return told[0] if len(row.verdicts) == 1 else "cannot tell"
