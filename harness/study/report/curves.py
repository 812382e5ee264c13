"""Learning curves of a study, and how many labels a method needs to reach what the reference has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.contracts import HarnessError
from harness.stats.curves import LEAST_BUDGETS, CurvePoint, Reached, labels_to_reach, learning_curve
from harness.study.report.figures import CurvePanel, Efficiency, MethodCurve, Point
from harness.study.report.results import CURVE, PanelCells, Series, Values

USUAL_TARGET = 128


def curve_panels(groups: Sequence[PanelCells], reference: str, target: int | None) -> tuple[CurvePanel, ...]:
    """The curves of every task, pool and model with five budgets or more, all trained to their last step."""
    found: dict[tuple[str, ...], list[PanelCells]] = {}
    for group in groups:
        found.setdefault(tuple(str(group.axes[name]) for name in CURVE), []).append(group)
    return tuple(_panel(own, reference, target) for own in found.values() if len(own) >= LEAST_BUDGETS)


def _panel(groups: Sequence[PanelCells], reference: str, target: int | None) -> CurvePanel:
    methods: dict[str, dict[int, Series]] = {}
    for group in groups:
        for one in group.series:
            methods.setdefault(one.method, {})[one.records[0].budget.labels] = one
    said = _selection(groups)
    aim = _aim(methods.get(reference, {}), target)
    fit = {method: _fit(method, series, said) for method, series in methods.items()} if not said else {}
    goal = _Goal(reference, fit.get(reference, {}), aim)
    curves = []
    for method, series in fit.items():
        try:
            curves.append(_curve(method, series, goal))
        except HarnessError as error:
            said.append(f"{method} has no curve: {error}")
    first = groups[0].series[0].records[0]
    return CurvePanel(
        task=first.task.name,
        pool=first.data.pool,
        model=first.model.name,
        metric=first.task.main_metric,
        lower_is_better=groups[0].series[0].sign < 0,
        curves=tuple(curves),
        sentences=(*said, *(curve.efficiency.sentence for curve in curves if curve.efficiency)),
    )


@dataclass(frozen=True)
class _Goal:
    """The score whose number of labels is asked for: that of the reference at `labels`, where it has a sound run."""

    reference: str
    series: Mapping[int, Series]
    labels: int | None


def _fit(method: str, series: Mapping[int, Series], said: list[str]) -> dict[int, Series]:
    """The budgets at which a method has a sound run; what is left out is said."""
    unfit = [labels for labels, one in sorted(series.items()) if one.degenerate]
    if unfit:
        said.append(f"{method} has no point at {', '.join(map(str, unfit))} labels: it has no sound run there.")
    return {labels: one for labels, one in series.items() if not one.degenerate}


def _selection(groups: Sequence[PanelCells]) -> list[str]:
    """A curve compares budgets, so all of them must keep their last step; and it resamples draws and items together."""
    if any(group.asks_anew for group in groups):
        return ["No learning curve: every draw asks other items, and a curve needs the same items on every draw."]
    others = {r.budget.selection for group in groups for one in group.series for r in one.records} - {"last"}
    if not others:
        return []
    return [f"No learning curve: budgets differ in how the step is selected ({', '.join(sorted(others))}); use last."]


def _curve(method: str, series: Mapping[int, Series], goal: _Goal) -> MethodCurve:
    """Raises HarnessError where too few budgets have a sound run."""
    if not series:
        raise HarnessError("no budget has a sound run")
    first = next(iter(series.values()))
    common = sorted(set.intersection(*(set(one.by_draw) for one in series.values())))
    # A curve rises with the labels; of a figure of which less is better, the negative does.
    values = {labels: [_times(first.sign, one.by_draw[draw]) for draw in common] for labels, one in series.items()}
    points = tuple(_point(p, first.sign) for p in learning_curve(values, first.units).points)
    efficiency = None
    aim = goal.series.get(goal.labels) if goal.labels is not None else None
    if aim is not None and method != goal.reference and all(draw in aim.by_draw for draw in common):
        reached = labels_to_reach(values, [_times(first.sign, aim.by_draw[draw]) for draw in common], first.units)
        efficiency = _efficiency(method, goal, replace(reached, target=first.sign * reached.target), sorted(series))
    return MethodCurve(method=method, points=points, efficiency=efficiency)


def _times(sign: int, values: Values) -> Values:
    return values if sign > 0 else {item: -value for item, value in values.items()}


def _point(made: CurvePoint, sign: int) -> Point:
    ends = sorted(sign * end for end in made.ci95)
    return Point(labels=made.labels, mean=sign * made.mean, ci95=(ends[0], ends[1]))


def _aim(reference: Mapping[int, Series], target: int | None) -> int | None:
    """The reference's budget that is the target. Raises HarnessError for one that it was not run with."""
    if not reference:
        return None
    if target is not None and target not in reference:
        known = ", ".join(map(str, sorted(reference)))
        raise HarnessError(f"report.target_labels is {target}, and the reference was run with {known} labels")
    return target or max((n for n in reference if n <= USUAL_TARGET), default=min(reference))


def _efficiency(method: str, goal: _Goal, found: Reached, budgets: Sequence[int]) -> Efficiency:
    assert goal.labels is not None
    return Efficiency(
        reference=goal.reference,
        target_labels=goal.labels,
        target=found.target,
        labels=found.labels,
        ci95=found.ci95,
        below_range=found.below_range,
        beyond_range=found.beyond_range,
        sentence=_sentence(method, goal, found, budgets),
    )


def _sentence(method: str, goal: _Goal, found: Reached, budgets: Sequence[int]) -> str:
    what = f"what {goal.reference} has at {goal.labels} labels"
    interval = f"[{_end(found.ci95[0], budgets)}, {_end(found.ci95[1], budgets)}]"
    outside = []
    if found.below_range:
        outside.append(f"{100 * found.below_range:.0f} % of the resamples are below {budgets[0]} labels")
    if found.beyond_range:
        outside.append(f"{100 * found.beyond_range:.0f} % beyond {budgets[-1]}")
    censored = f" ({', '.join(outside)})" if outside else ""
    if found.labels is None:
        return f"{method} does not reach {what} within this range, {interval}{censored}."
    return f"{method} reaches {what} with {found.labels:.0f} {interval} labels{censored}."


def _end(labels: float, budgets: Sequence[int]) -> str:
    if labels == 0:
        return f"under {budgets[0]}"
    return f"over {budgets[-1]}" if math.isinf(labels) else f"{labels:.0f}"
