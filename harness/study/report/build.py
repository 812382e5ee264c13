"""From the records of a study to its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.contracts import BASE, HarnessError
from harness.stats import ALPHA, holm, mean_interval
from harness.stats.best import among_the_best
from harness.stats.crossed import ENOUGH_DRAWS, Crossed, crossed, crossed_difference
from harness.study.power import Design, advice, detectable
from harness.study.report.curves import curve_panels
from harness.study.report.figures import (
    Contrast,
    DrawsRow,
    ForecastError,
    OverDraws,
    Panel,
    PanelRow,
    StudyReport,
    Verdict,
)
from harness.study.report.results import OWN_CONTROLS, PanelCells, Series, StudyResults, Values
from leaderboards.draws import average

if TYPE_CHECKING:
    from harness.records.store import Store
    from harness.study.file import StudyFile
    from harness.study.index import Index


def build(study: StudyFile, index: Index, store: Store) -> StudyReport:
    """The report of what is there. Raises HarnessError where no cell has a record."""
    results = StudyResults(index, store)
    groups = results.groups()
    if not groups:
        raise HarnessError(f"study {study.name} has no record yet; compute its cells with: python -m harness study run")
    counts = results.counts()
    shown = [results.by_draw(group) if group.asks_anew else [group] for group in groups]
    panels = [[panel(one, study.report.reference) for one in some] for some in shown]
    return StudyReport(
        study=study.name,
        counts=counts,
        panels=tuple(one for some in panels for one in some),
        over_draws=tuple(over_draws(some) for some in panels if some[0].asks_anew),
        curves=curve_panels(groups, study.report.reference, study.report.target_labels),
        forecast=_forecast(index, results),
        sentences=tuple(_whole(study, counts)),
    )


def panel(group: PanelCells, reference: str) -> Panel:
    """One table, with what it can say and what it cannot."""
    series = [one for one in group.series if one.role != "base"]
    contrasts = {one.method: _contrasts(one, group.series, reference) for one in series}
    _adjust(series, contrasts)
    best = _best(group)
    rows = [_row(one, {k: c for k, (c, _) in contrasts[one.method].items()}, best) for one in series]
    rows.sort(key=lambda row: (row.degenerate, row.score is None, -(row.score or 0.0)))
    first = group.series[0]
    draws = tuple(sorted({draw for one in series for draw in one.by_draw}))
    family = [one for one in series if _tested(one)]
    designs = [_design(contrasts[one.method][BASE][1]) for one in family if BASE in contrasts[one.method]]
    least = [found for d in designs if (found := detectable(d, len(family))) is not None]
    axes = group.axes
    return Panel(
        task=str(axes["task"]),
        pool=first.records[0].data.pool,
        model=first.records[0].model.name,
        judge=first.records[0].task.judge,
        backend=str(axes["backend"]),
        track=str(axes["track"]),
        labels=first.records[0].budget.labels,
        selection=first.records[0].budget.selection,
        metric=first.metric,
        draws=draws,
        n_units=len({first.units[item] for values in first.by_draw.values() for item in values}),
        rows=(*_base_row(group, best), *rows),
        detectable=max(least, default=None),
        components=_widest(designs),
        sentences=tuple(_sentences(group, draws, designs, len(family))),
        asks_anew=group.draw is not None,
    )


def over_draws(panels: Sequence[Panel]) -> OverDraws:
    """Means over panels that differ in their draw alone."""
    first = panels[0]
    found: dict[str, list[PanelRow]] = {}
    for row in (row for one in panels for row in one.rows if row.score is not None):
        found.setdefault(row.method, []).append(row)
    rows = [_over(method, some) for method, some in found.items()]
    rows.sort(key=lambda row: (row.role != "base", -row.n_draws, -row.score.mean))
    return OverDraws(
        task=first.task, pool=first.pool, model=first.model, labels=first.labels, metric=first.metric, rows=tuple(rows)
    )


def _over(method: str, rows: Sequence[PanelRow]) -> DrawsRow:
    contrasts = [row.versus[BASE] for row in rows if BASE in row.versus]
    return DrawsRow(
        method=method,
        role=rows[0].role,
        n_draws=len(rows),
        score=average([row.score for row in rows if row.score is not None]),
        less_base=average([contrast.difference for contrast in contrasts]) if contrasts else None,
        verdicts=dict(Counter(map(_said_of, rows))),
    )


def _said_of(row: PanelRow) -> str:
    """The verdict against base, or why there is none."""
    if row.degenerate:
        return "degenerate"
    contrast = row.versus.get(BASE)
    return row.role if contrast is None or contrast.verdict is None else contrast.verdict


# ---------------------------------------------------------------- contrasts

Found = dict[str, tuple[Contrast, Crossed]]


def _tested(one: Series) -> bool:
    return one.role == "method" and not one.degenerate and bool(one.by_draw)


def _contrasts(one: Series, others: Sequence[Series], reference: str) -> Found:
    """The method less base, less the reference, and less its own controls: shuffled labels, a swapped context."""
    sides: dict[str, Mapping[int, Values]] = {BASE: one.base}
    named = {other.method: other for other in others}
    if reference in named and one.method != reference:
        sides[reference] = named[reference].by_draw
    for kind in OWN_CONTROLS:
        twin = next((other for other in others if other.control_of(kind) == one.method), None)
        if twin is not None:
            sides[kind] = twin.by_draw
    found: Found = {}
    for name, values in sides.items():
        try:
            made = _against(one, values)
        except HarnessError as error:
            one.notes.append(f"not compared with {name}: {error}")
            continue
        if made is not None:
            contrast = Contrast(
                against=name, difference=made.mean, ci95=made.ci95, p=made.p, p_holm=None, verdict=None,
                scope=made.scope, n_draws=made.n_draws,
            )  # fmt: skip
            found[name] = (contrast, made)
    return found


def _against(one: Series, other: Mapping[int, Values]) -> Crossed | None:
    """The difference over the draws that both sides have; None without a common draw."""
    common = sorted(set(one.by_draw) & set(other))
    if not common:
        return None
    mine, theirs = ([values[d] for d in common] for values in (one.by_draw, other))
    return crossed_difference(mine, theirs, one.units, inflation=one.inflation)


def _adjust(series: Sequence[Series], contrasts: Mapping[str, Found]) -> None:
    """Holm's adjustment over the methods, for each of the questions by itself; controls stay outside."""
    family = [one.method for one in series if _tested(one)]
    for question in {name for found in contrasts.values() for name in found}:
        asked = [method for method in family if question in contrasts[method]]
        adjusted = holm([contrasts[method][question][0].p for method in asked])
        for method, p in zip(asked, adjusted, strict=True):
            contrast, made = contrasts[method][question]
            update = {"p_holm": p, "verdict": _verdict(contrast.difference, p)}
            contrasts[method][question] = (contrast.model_copy(update=update), made)


def _verdict(difference: float, p: float) -> Verdict:
    if p >= ALPHA or difference == 0:
        return "cannot tell"
    return "better" if difference > 0 else "worse"


def _design(made: Crossed) -> Design:
    return Design(made.components, made.n_draws, made.n_units)


def _widest(designs: Sequence[Design]) -> tuple[float, float, float] | None:
    """The largest of each variance, over differences that were seen on two draws or more."""
    found = [d.components for d in designs if d.draws > 1]
    if not found:
        return None
    return max(c.draws for c in found), max(c.units for c in found), max(c.rest for c in found)


# ---------------------------------------------------------------- rows


def _row(one: Series, versus: Mapping[str, Contrast], best: frozenset[str] | None) -> PanelRow:
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
        versus=dict(versus),
        among_the_best=None if best is None or not _tested(one) else one.method in best,
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


def _base_row(group: PanelCells, best: frozenset[str] | None) -> tuple[PanelRow, ...]:
    if group.base is None:
        return ()
    record, series = group.base, group.series[0]
    score = record.scores.get(series.metric)
    return (
        PanelRow(
            method=BASE, role="base", degenerate=False, score=None if score is None else score.mean,
            ci95=None if score is None else score.ci95, draw_sd=None, unit_sd=None, n_draws=1,
            statuses={record.status: 1}, versus={}, among_the_best=None if best is None else BASE in best,
            flops=record.spent.flops, seconds=record.spent.seconds.total, runs=(record.id,),
        ),
    )  # fmt: skip


def _best(group: PanelCells) -> frozenset[str] | None:
    """Methods and base that cannot be told from the best; None where they have different items."""
    means = {one.method: _mean(one.by_draw) for one in group.series if _tested(one)}
    base = _mean(group.series[0].base) if group.series[0].base else None
    if base is not None:
        means[BASE] = base
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


# ---------------------------------------------------------------- sentences


def _sentences(group: PanelCells, draws: Sequence[int], designs: Sequence[Design], family: int) -> list[str]:
    found = []
    if len(draws) < ENOUGH_DRAWS:
        number = "this 1 draw" if len(draws) == 1 else f"these {len(draws)} draws"
        found.append(
            f"p speaks of new questions for {number} of labels, not of new draws: that takes "
            f"{ENOUGH_DRAWS} draws or more."
        )
    else:
        found.append(f"Intervals and p speak of new draws of labels and of new questions ({len(draws)} draws).")
    if len(draws) > 1 and all(len(one.records) <= len(one.by_draw) for one in group.series):
        found.append(
            "Each draw was trained with one seed: the spread over draws is that of draws and of seeds together."
        )
    if any(one.inflation > 1 for one in group.series):
        found.append(
            "Every pair was held out by one fold. The folds' models share most of their labels: intervals and p take "
            "twice the variance of independent questions."
        )
    if designs:
        found += advice(max(designs, key=lambda d: detectable(d, family) or 0.0), family)
    found.append(
        "The set of methods that cannot be told from the best speaks of new questions for these draws; it ignores that "
        "draws vary."
    )
    return found


def _whole(study: StudyFile, counts: Mapping[str, int]) -> list[str]:
    missing = counts.get("missing", 0)
    if not missing:
        return []
    return [f"{missing} of {sum(counts.values())} cells have no record yet: python -m harness study run makes them."]


def _forecast(index: Index, results: StudyResults) -> ForecastError | None:
    done = {name: results.entries[name].record for name in index.forecast if name in results.entries}
    if not done:
        return None
    expected = [index.forecast[name] for name in done]
    return ForecastError(
        runs=len(done),
        seconds_expected=sum(e["seconds"] for e in expected),
        seconds_actual=sum(r.spent.seconds.total for r in done.values()),
        flops_expected=sum(e["flops"] for e in expected),
        flops_actual=sum(r.spent.flops + r.spent.inference.flops for r in done.values()),
    )
