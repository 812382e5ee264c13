"""From the records of a study to its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.contracts import BASE, HarnessError
from harness.stats.crossed import ENOUGH_DRAWS
from harness.study.power import advice, detectable
from harness.study.report.compare import Showable, compare, could_have_shown
from harness.study.report.curves import curve_panels
from harness.study.report.figures import DrawsRow, ForecastError, OverDraws, Panel, PanelRow, StudyReport
from harness.study.report.results import PanelCells, StudyResults
from harness.study.report.rows import base_row, best_of, figure_of, row_of
from leaderboards.draws import average, counted

if TYPE_CHECKING:
    from harness.records.store import Store
    from harness.study.file import StudyFile
    from harness.study.index import Index

DEGENERATE = "degenerate"


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
    compared = compare(series, group.series, reference)
    best = best_of(group)
    rows = [row_of(one, compared[one.method], best) for one in series]
    first = group.series[0]
    rows.sort(key=lambda row: (row.degenerate, row.score is None, -first.sign * (row.score or 0.0)))
    draws = tuple(sorted({draw for one in series for draw in one.by_draw}))
    shown = could_have_shown(series, compared)
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
        lower_is_better=first.sign < 0,
        draws=draws,
        n_units=len({first.units[item] for values in first.by_draw.values() for item in values}),
        rows=(*base_row(group, best), *rows),
        figures=tuple(figure_of(name, some, group.base) for name, some in group.others.items()),
        detectable=shown.least,
        components=shown.components,
        sentences=tuple(_sentences(group, draws, shown)),
        asks_anew=group.draw is not None,
    )


def over_draws(panels: Sequence[Panel]) -> OverDraws:
    """Means over panels that differ in their draw alone."""
    first = panels[0]
    found: dict[str, list[PanelRow]] = {}
    for row in (row for one in panels for row in one.rows if row.score is not None):
        found.setdefault(row.method, []).append(row)
    rows = [_over(method, some) for method, some in found.items()]
    sign = -1 if first.lower_is_better else 1
    rows.sort(key=lambda row: (row.role != "base", _only_degenerate(row), -row.n_draws, -sign * row.score.mean))
    return OverDraws(
        task=first.task,
        pool=first.pool,
        model=first.model,
        labels=first.labels,
        metric=first.metric,
        lower_is_better=first.lower_is_better,
        rows=tuple(rows),
    )


def _only_degenerate(row: DrawsRow) -> bool:
    return set(row.verdicts) == {DEGENERATE}


def _over(method: str, all_: Sequence[PanelRow]) -> DrawsRow:
    """Means over the draws on which the method did what it is about; over all where there is no such draw."""
    rows = counted(all_)
    contrasts = [row.versus[BASE] for row in rows if BASE in row.versus]
    return DrawsRow(
        method=method,
        role=rows[0].role,
        n_draws=len(rows),
        score=average([row.score for row in rows if row.score is not None]),
        less_base=average([contrast.difference for contrast in contrasts]) if contrasts else None,
        verdicts=dict(Counter(map(_said_of, all_))),
    )


def _said_of(row: PanelRow) -> str:
    """The verdict against base, or why there is none."""
    if row.degenerate:
        return DEGENERATE
    contrast = row.versus.get(BASE)
    return row.role if contrast is None or contrast.verdict is None else contrast.verdict


# ---------------------------------------------------------------- sentences


def _sentences(group: PanelCells, draws: Sequence[int], shown: Showable) -> list[str]:
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
    if any(one.needs_control for one in group.series):
        found.append(
            "`better` means better than base and better than the same method on shuffled labels: the larger p of the "
            "two counts in the verdict."
        )
    if shown.least is not None:
        found += advice(max(shown.designs, key=lambda d: detectable(d, shown.family) or 0.0), shown.family)
    elif shown.family:
        found.append(
            "Some difference behind these verdicts would not have been found four times in five, however large it is: "
            "there are too few units."
        )
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
