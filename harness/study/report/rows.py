"""The rows of a study's table: scores over the draws, and the figures beside the main one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.contracts import BASE, HarnessError
from harness.stats import mean_interval
from harness.stats.best import among_the_best
from harness.stats.crossed import Crossed, crossed
from harness.study.report.compare import Side, against, tested
from harness.study.report.figures import Figure, FigureRow, Interval, PanelRow
from harness.study.report.results import PanelCells, Series, Values

if TYPE_CHECKING:
    from harness.records.schema import Record


def row_of(one: Series, sides: Mapping[str, Side], best: frozenset[str] | None) -> PanelRow:
    """A method's row; `best` are those that cannot be told from the best."""
    values = list(one.by_draw.values())
    found = _score(values, one) if values else None
    several = found is not None and found.n_draws > 1
    return PanelRow(
        method=one.method,
        role=one.role,
        degenerate=one.degenerate,
        score=None if found is None else found.mean,
        ci95=None if found is None else found.ci95,
        draw_sd=found.components.draws**0.5 if found is not None and several else None,
        unit_sd=found.components.units**0.5 if found is not None and several else None,
        n_draws=len(values),
        statuses=one.statuses,
        versus={name: side.contrast for name, side in sides.items()},
        among_the_best=None if best is None or not tested(one) else one.method in best,
        steps=sum(r.spent.optimizer_steps for r in one.records) / len(one.records),
        flops=sum(r.spent.flops for r in one.records) / len(one.records),
        seconds=sum(r.spent.seconds.total for r in one.records) / len(one.records),
        runs=tuple(record.id for record in one.records),
        notes=tuple(one.notes),
    )


def _score(values: Sequence[Values], one: Series) -> Crossed | None:
    """Over draws and units; of a single draw over units alone."""
    try:
        found = crossed(values, one.units, inflation=one.inflation)
    except HarnessError as error:
        one.notes.append(f"no mean over draws: {error}")
        return None
    if found.ci95 is not None or len(values) > 1:
        return found
    items = sorted(values[0])
    units = [one.units[item] for item in items]
    interval = mean_interval([values[0][item] for item in items], units, inflation=one.inflation).ci95
    return Crossed(found.mean, interval, found.p, found.scope, 0.0, found.components, 1, found.n_units)


def base_row(group: PanelCells, best: frozenset[str] | None) -> tuple[PanelRow, ...]:
    """The base model's row, where it has a record."""
    if group.base is None:
        return ()
    record, series = group.base, group.series[0]
    score = record.scores.get(series.metric)
    return (
        PanelRow(
            method=BASE, role="base", degenerate=False, score=None if score is None else score.mean,
            ci95=None if score is None else score.ci95, draw_sd=None, unit_sd=None, n_draws=1,
            statuses={record.status: 1}, versus={}, among_the_best=None if best is None else BASE in best,
            steps=record.spent.optimizer_steps, flops=record.spent.flops, seconds=record.spent.seconds.total,
            runs=(record.id,),
        ),
    )  # fmt: skip


def best_of(group: PanelCells) -> frozenset[str] | None:
    """Methods and base that cannot be told from the best; None where they have different items."""
    means = {one.method: _mean(one.by_draw) for one in group.series if tested(one)}
    first = group.series[0]
    if first.base:
        means[BASE] = _mean(first.base)
    means = {name: {item: first.sign * value for item, value in found.items()} for name, found in means.items()}
    if len(means) < 2:
        return None
    units = {item: unit for one in group.series for item, unit in one.units.items()}
    try:
        return among_the_best(means, units)
    except HarnessError:
        return None


def _mean(by_draw: Mapping[int, Values]) -> dict[str, float]:
    rows = list(by_draw.values())
    return {item: sum(row.get(item, 0.0) for row in rows) / len(rows) for item in rows[0]}


# ---------------------------------------------------------------- figures beside the main one


def figure_of(metric: str, series: Sequence[Series], base: Record | None) -> Figure:
    """A figure beside the main one, of all methods that have it."""
    rows = [row for one in series if one.role != "base" and (row := _figure_row(one)) is not None]
    rows.sort(key=lambda row: -series[0].sign * row.score)
    score = base.scores.get(metric) if base is not None else None
    own = [] if score is None else [_plain_row(BASE, score.mean, score.ci95)]
    return Figure(metric=metric, lower_is_better=series[0].sign < 0, rows=(*own, *rows))


def _figure_row(one: Series) -> FigureRow | None:
    """A method's figure; None where it has no mean."""
    found = _score(list(one.by_draw.values()), one)
    if found is None:
        return None
    try:
        side = against(BASE, one, one.base)
    except HarnessError:  # base has other items, or a value that is no number: the figure stands without a difference
        side = None
    plain = _plain_row(one.method, found.mean, found.ci95)
    if side is None:
        return plain
    less = {"less_base": side.made.mean, "less_base_ci95": side.made.ci95, "p": side.contrast.p}
    return plain.model_copy(update=less)


def _plain_row(method: str, score: float, ci95: Interval) -> FigureRow:
    return FigureRow(method=method, score=score, ci95=ci95, less_base=None, less_base_ci95=None, p=None)
