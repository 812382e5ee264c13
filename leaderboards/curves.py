"""Learning curves: rows of tables that differ in their number of labels alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.contracts import BASE, HarnessError
from harness.stats import average_seeds
from harness.stats.curves import CurvePoint, Draws, Reached, labels_to_reach, learning_curve
from leaderboards.best import scored, units_of
from leaderboards.load import Entry
from leaderboards.table import MethodRow, Setting, Table

GROWS = ("preset", "labels", "prompts", "batch", "min_steps", "cap_flops")
"""Fields of a setting that follow from the number of labels."""
REFERENCE = "sft"
"""The method whose score at its largest budget the others are asked to reach; base where it did not run."""


@dataclass(frozen=True, slots=True)
class Line:
    """One method over several budgets."""

    label: str
    points: tuple[CurvePoint, ...]
    """Scores with their tables' intervals; with five budgets the curve's, and its band over draws and items."""
    smoothed: bool
    """Whether the points are those of a curve that does not fall, with a band."""
    reached: Reached | None
    """With how many labels the reference's score is reached."""
    why_not: str | None
    """Why there is no curve."""


@dataclass(frozen=True, slots=True)
class Curves:
    """What tables of several budgets show together."""

    setting: Setting
    """That of the smallest budget."""
    budgets: tuple[int, ...]
    lines: tuple[Line, ...]
    target: str | None
    """Whose score the lines are asked to reach."""
    base: float | None
    """Score of base at the smallest budget."""


def curves(tables: Sequence[Table], entries: Mapping[str, Entry]) -> list[Curves]:
    """A set of curves for every setting that has two budgets or more; a budget that stands twice is left out."""
    groups: dict[str, dict[int, Table]] = {}
    twice: set[tuple[str, int]] = set()
    for table in tables:
        key, labels = table.setting.key((*GROWS, "pairs_hash")), table.setting.labels
        if labels in groups.setdefault(key, {}):
            twice.add((key, labels))
        groups[key][labels] = table
    kept = ({n: table for n, table in group.items() if (key, n) not in twice} for key, group in groups.items())
    return [_curves(dict(sorted(group.items())), entries) for group in kept if len(group) > 1]


def labels_text(reached: Reached, budgets: Sequence[int]) -> str:
    """How many labels reach the target, with the interval: `40 [fewer than 8, more than 128]`."""
    least, most = budgets[0], budgets[-1]

    def text(labels: float) -> str:
        return f"fewer than {least}" if labels < least else f"more than {most}" if labels > most else f"{labels:.0f}"

    middle = math.inf if reached.labels is None else reached.labels
    return f"{text(middle)} [{', '.join(map(text, reached.ci95))}]"


def _curves(group: Mapping[int, Table], entries: Mapping[str, Entry]) -> Curves:
    first = next(iter(group.values()))
    labels = dict.fromkeys(
        row.label for table in group.values() for row in table.rows if row.role in ("method", "control")
    )
    target, draws = _target(group, entries)
    lines = (_line(label, group, entries, draws if label != target else None) for label in labels)
    metric = first.setting.main_metric
    base = next(
        (row.metrics[metric].score.mean for row in first.rows if row.role == "base" and metric in row.metrics), None
    )
    return Curves(first.setting, tuple(group), tuple(line for line in lines if line.points), target, base)


def _target(group: Mapping[int, Table], entries: Mapping[str, Entry]) -> tuple[str | None, Draws | None]:
    """The reference method and its values, by draw, at the largest budget that it has."""
    for name in (REFERENCE, BASE):
        for table in reversed(list(group.values())):
            row = _row(table, name)
            if row and (draws := _draws(table, row, entries)):
                return name, draws
    return None, None


def _line(label: str, group: Mapping[int, Table], entries: Mapping[str, Entry], target: Draws | None) -> Line:
    found = [(table, row) for table in group.values() if (row := _row(table, label))]
    plain = tuple(_points(found))
    values = {table.setting.labels: _draws(table, row, entries) for table, row in found if not row.degenerate}
    units = {item: unit for table, _ in found for item, unit in units_of(table, entries).items()}
    try:
        curve = learning_curve(values, units)
        reached = None if target is None else labels_to_reach(values, _as_many(target, curve.n_draws), units)
    except HarnessError as error:
        return Line(label, plain, False, None, str(error))
    return Line(label, curve.points, True, reached, None)


def _as_many(draws: Draws, number: int) -> Draws:
    """Base has one run for all draws."""
    return list(draws) * number if len(draws) == 1 else draws


def _points(found: Sequence[tuple[Table, MethodRow]]) -> Iterator[CurvePoint]:
    for table, row in found:
        metric = row.metrics.get(table.setting.main_metric)
        if metric is not None:
            mean = metric.score.mean
            yield CurvePoint(table.setting.labels, mean, metric.score.ci95 or (mean, mean))


def _row(table: Table, label: str) -> MethodRow | None:
    return next((row for row in table.rows if row.label == label), None)


def _draws(table: Table, row: MethodRow, entries: Mapping[str, Entry]) -> Draws:
    """Values of the main metric by draw, averaged over the training seeds of each."""
    by_draw: dict[int, list[Mapping[str, float]]] = {}
    for entry in scored(row, entries):
        values = entry.samples.values.get(table.setting.main_metric, {}) if entry.samples else {}
        by_draw.setdefault(entry.record.seed.draw, []).append(values)
    return [average_seeds(runs) for _, runs in sorted(by_draw.items())]
