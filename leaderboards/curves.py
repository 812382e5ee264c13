"""Learning curves: rows of tables that differ in their number of labels alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

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


ByDraw = Mapping[int, Mapping[str, float]]
"""Values by item of every draw; where less is better, with the sign turned."""


@dataclass(frozen=True, slots=True)
class Line:
    """One method over several budgets."""

    label: str
    points: tuple[CurvePoint, ...]
    """Scores with their tables' intervals; with five budgets the curve's, and its band over draws and items."""
    unfit: tuple[int, ...]
    """Budgets of points at which the row is degenerate."""
    smoothed: bool
    """Whether the points are those of a curve that does not get worse, with a band."""
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
    target_labels: int | None
    """With how many labels it has that score; None where it is base, which has none."""
    base: float | None
    """Score of base at the smallest budget."""
    falling: bool
    """Whether less of the main metric is better."""


@dataclass(frozen=True, slots=True)
class _Target:
    label: str
    labels: int
    draws: ByDraw


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
    target = next(_targets(group, entries), None)
    lines = (_line(label, group, entries, target) for label in labels)
    metric = first.setting.main_metric
    base = next(
        (row.metrics[metric].score.mean for row in first.rows if row.role == "base" and metric in row.metrics), None
    )
    return Curves(
        setting=first.setting,
        budgets=tuple(group),
        lines=tuple(line for line in lines if line.points),
        target=target.label if target else None,
        target_labels=target.labels if target and target.label != BASE else None,
        base=base,
        falling=metric in first.lower_is_better,
    )


def _targets(group: Mapping[int, Table], entries: Mapping[str, Entry]) -> Iterator[_Target]:
    """The reference method at its budgets, the largest first, as far as it is sound there; then base."""
    for name in (REFERENCE, BASE):
        for labels, table in reversed(list(group.items())):
            row = _row(table, name)
            if row is None or row.degenerate:
                continue
            with suppress(HarnessError):
                if draws := _by_draw(table, row, entries):
                    yield _Target(name, labels, draws)


def _line(label: str, group: Mapping[int, Table], entries: Mapping[str, Entry], target: _Target | None) -> Line:
    found = [(table, row) for table in group.values() if (row := _row(table, label))]
    plain = tuple(_points(found))
    unfit = tuple(table.setting.labels for table, row in found if row.degenerate)
    units = {item: unit for table, _ in found for item, unit in units_of(table, entries).items()}
    try:
        values = {table.setting.labels: _by_draw(table, row, entries) for table, row in found if not row.degenerate}
        draws = _shared(values)
        if values and not draws:
            raise HarnessError("no draw has a sound run with samples at every budget")
        curve = learning_curve(_on(draws, values), units)
        reached = None if target is None or label == target.label else _reached(values, target, units)
    except HarnessError as error:
        return Line(label, plain, unfit, False, None, str(error))
    falling = any(table.setting.main_metric in table.lower_is_better for table, _ in found)
    points = map(_turned, curve.points) if falling else curve.points
    if falling and reached is not None:
        reached = replace(reached, target=0.0 - reached.target)
    return Line(label, tuple(points), (), True, reached, None)


def _reached(values: Mapping[int, ByDraw], target: _Target, units: Mapping[str, str]) -> Reached | None:
    """On the draws that both have; None where they have none in common. One run of base serves all draws."""
    once = target.label == BASE and len(target.draws) == 1
    draws = [draw for draw in _shared(values) if once or draw in target.draws]
    if not draws:
        return None
    aim = list(target.draws.values()) * len(draws) if once else [target.draws[draw] for draw in draws]
    return labels_to_reach(_on(draws, values), aim, units)


def _shared(values: Mapping[int, ByDraw]) -> list[int]:
    """The draws that every budget has: a curve compares budgets, and draws differ more than budgets do."""
    return sorted(set.intersection(*map(set, values.values()))) if values else []


def _on(draws: Sequence[int], values: Mapping[int, ByDraw]) -> dict[int, Draws]:
    return {labels: [by_draw[draw] for draw in draws] for labels, by_draw in values.items()}


def _turned(point: CurvePoint) -> CurvePoint:
    low, high = point.ci95
    return CurvePoint(point.labels, 0.0 - point.mean, (0.0 - high, 0.0 - low))


def _points(found: Sequence[tuple[Table, MethodRow]]) -> Iterator[CurvePoint]:
    for table, row in found:
        metric = row.metrics.get(table.setting.main_metric)
        if metric is not None:
            mean = metric.score.mean
            yield CurvePoint(table.setting.labels, mean, metric.score.ci95 or (mean, mean))


def _row(table: Table, label: str) -> MethodRow | None:
    return next((row for row in table.rows if row.label == label), None)


def _by_draw(table: Table, row: MethodRow, entries: Mapping[str, Entry]) -> ByDraw:
    """Values of the main metric by draw, averaged over the training seeds of each.

    Raises HarnessError where seeds of a draw answered different items, and for folds.
    """
    if table.setting.folds:
        raise HarnessError("folds share labels, so that their items are not independent, as a curve's band takes them")
    metric = table.setting.main_metric
    sign = -1.0 if metric in table.lower_is_better else 1.0
    runs: dict[int, list[Mapping[str, float]]] = {}
    for entry in scored(row, entries):
        values = entry.samples.values.get(metric, {}) if entry.samples else {}
        runs.setdefault(entry.record.seed.draw, []).append({item: sign * value for item, value in values.items()})
    return {draw: average_seeds(seeds) for draw, seeds in sorted(runs.items())}
