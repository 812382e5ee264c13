"""Learning curves of a study, and how many labels a method needs to reach what the reference has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.contracts import HarnessError
from harness.stats.curves import LEAST_BUDGETS, Reached, labels_to_reach, learning_curve
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
    curves = []
    for method, series in methods.items() if not said else ():
        try:
            curves.append(_curve(method, series, methods.get(reference, {}), reference, aim))
        except HarnessError as error:
            said.append(f"{method} has no curve: {error}")
    first = groups[0].series[0].records[0]
    return CurvePanel(
        task=first.task.name,
        pool=first.data.pool,
        model=first.model.name,
        metric=first.task.main_metric,
        curves=tuple(curves),
        sentences=(*said, *(curve.efficiency.sentence for curve in curves if curve.efficiency)),
    )


def _selection(groups: Sequence[PanelCells]) -> list[str]:
    """A curve compares budgets, so all of them must keep their last step; and it resamples draws and items together."""
    if any(group.asks_anew for group in groups):
        return ["No learning curve: every draw asks other items, and a curve needs the same items on every draw."]
    others = {r.budget.selection for group in groups for one in group.series for r in one.records} - {"last"}
    if not others:
        return []
    return [f"No learning curve: budgets differ in how the step is selected ({', '.join(sorted(others))}); use last."]


def _curve(
    method: str, series: Mapping[int, Series], reference: Mapping[int, Series], name: str, aim: int | None
) -> MethodCurve:
    common = sorted(set.intersection(*(set(one.by_draw) for one in series.values())))
    units = next(iter(series.values())).units
    values = {labels: [one.by_draw[draw] for draw in common] for labels, one in series.items()}
    made = learning_curve(values, units)
    points = tuple(Point(labels=p.labels, mean=p.mean, ci95=p.ci95) for p in made.points)
    efficiency = None
    if aim is not None and method != name and all(draw in reference[aim].by_draw for draw in common):
        target: list[Values] = [reference[aim].by_draw[draw] for draw in common]
        efficiency = _efficiency(method, name, aim, labels_to_reach(values, target, units), sorted(series))
    return MethodCurve(method=method, points=points, efficiency=efficiency)


def _aim(reference: Mapping[int, Series], target: int | None) -> int | None:
    """The reference's budget that is the target. Raises HarnessError for one that it was not run with."""
    if not reference:
        return None
    if target is not None and target not in reference:
        known = ", ".join(map(str, sorted(reference)))
        raise HarnessError(f"report.target_labels is {target}, and the reference was run with {known} labels")
    return target or max((n for n in reference if n <= USUAL_TARGET), default=min(reference))


def _efficiency(method: str, name: str, aim: int, found: Reached, budgets: Sequence[int]) -> Efficiency:
    return Efficiency(
        reference=name,
        target_labels=aim,
        target=found.target,
        labels=found.labels,
        ci95=found.ci95,
        below_range=found.below_range,
        beyond_range=found.beyond_range,
        sentence=_sentence(method, name, aim, found, budgets),
    )


def _sentence(method: str, name: str, aim: int, found: Reached, budgets: Sequence[int]) -> str:
    what = f"what {name} has at {aim} labels"
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
