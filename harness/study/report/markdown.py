"""A report as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.study.report.figures import (
    Contrast,
    CurvePanel,
    FigureRow,
    ForecastError,
    OverDraws,
    Panel,
    PanelRow,
    StudyReport,
)
from leaderboards.draws import Average


def page(report: StudyReport) -> str:
    """The whole page."""
    counts = ", ".join(f"{count} {status}" for status, count in sorted(report.counts.items()))
    parts = [f"# Study {report.study}", f"Cells: {counts}."]
    parts += report.sentences
    parts += ["\n".join(_over_draws(one)) for one in report.over_draws]
    parts += ["\n".join(_panel(panel)) for panel in report.panels]
    parts += ["\n".join(_curves(panel)) for panel in report.curves]
    if report.forecast is not None:
        parts.append("\n".join(_forecast(report.forecast)))
    return "\n\n".join(parts) + "\n"


def _panel(panel: Panel) -> Iterator[str]:
    judged = f", judged by {panel.judge}" if panel.judge else ""
    track = "" if panel.track == "labels" else f", track {panel.track}"
    draw = f", draw {panel.draws[0]}" if panel.asks_anew and panel.draws else ""
    yield f"## {panel.task}, {panel.labels} labels of {panel.pool}, {panel.model}{judged}{track}{draw}"
    yield ""
    names = [name for name in dict.fromkeys(k for row in panel.rows for k in row.versus) if name != "base"]
    draws = ("draw " if len(panel.draws) == 1 else "draws ") + ", ".join(map(str, panel.draws))
    better = ", lower is better," if panel.lower_is_better else ""
    yield f"{panel.metric}{better} over {panel.n_units} units and {draws}; selection {panel.selection}."
    yield ""
    yield from _table(_headings(names), [_cells(row, names) for row in panel.rows])
    yield ""
    yield from panel.sentences
    for row in panel.rows:
        yield from (f"- {row.method}: {remark}" for remark in row.notes)
    if panel.figures:
        yield from _figures(panel)


def _figures(panel: Panel) -> Iterator[str]:
    """The other figures of the same runs, a column each."""
    yield ""
    yield "Other figures of the same runs, with the difference to base (p is not adjusted):"
    yield ""
    known = [{row.method: row for row in figure.rows} for figure in panel.figures]
    heads = [figure.metric + (" (lower is better)" if figure.lower_is_better else "") for figure in panel.figures]
    rows = [[row.method, *(_figure(found.get(row.method)) for found in known)] for row in panel.rows]
    yield from _table(["method", *heads], rows)


def _figure(row: FigureRow | None) -> str:
    if row is None:
        return ""
    if row.less_base is None:
        return f"{row.score:.3f}"
    return f"{row.score:.3f} ({row.less_base:+.3f}" + ("" if row.p is None else f", {row.p:.3f}") + ")"


def _over_draws(found: OverDraws) -> Iterator[str]:
    yield f"## {found.task}, {found.labels} labels of {found.pool}, {found.model}: over the draws"
    yield ""
    yield (
        f"Every draw asks other items, so that each has a table of its own below. {found.metric}"
        f"{' (lower is better)' if found.lower_is_better else ''} here is the mean over "
        "the draws with its standard error; no test stands behind it."
    )
    yield ""
    rows = [
        [
            row.method + (" (control)" if row.role == "control" else ""),
            str(row.n_draws),
            _average(row.score, ".3f"),
            "" if row.less_base is None else _average(row.less_base, "+.3f"),
            ", ".join(f"{verdict} {count}" for verdict, count in row.verdicts.items() if verdict != row.role),
        ]
        for row in found.rows
    ]
    yield from _table(["method", "draws", "score", "less base", "verdicts"], rows)


def _average(average: Average, spec: str) -> str:
    error = "" if average.error is None else f" ± {average.error:.3f}"
    return f"{average.mean:{spec}}{error}"


def _headings(names: Sequence[str]) -> list[str]:
    others = [f"less {name} (p, Holm)" for name in ("base", *names)]
    return ["method", "score", "95 %", "sd of draws", *others, "verdict", "best?", "steps", "FLOPs", "s"]


def _cells(row: PanelRow, names: Sequence[str]) -> list[str]:
    best = {True: "cannot be told", False: "no", None: ""}[row.among_the_best]
    base = row.versus.get("base")
    verdict = base.verdict if base is not None and base.verdict else ""
    status = ", ".join(f"{n} {status}" for status, n in row.statuses.items() if status != "ok")
    return [
        row.method + (" (control)" if row.role == "control" else ""),
        "" if row.score is None else f"{row.score:.3f}",
        _interval(row.ci95),
        "" if row.draw_sd is None else f"{row.draw_sd:.3f}",
        *(_contrast(row.versus.get(name)) for name in ("base", *names)),
        status if row.degenerate or row.score is None else verdict + (f" ({status})" if status else ""),
        best,
        f"{row.steps:.0f}",
        f"{row.flops:.2e}",
        f"{row.seconds:.0f}",
    ]


def _contrast(contrast: Contrast | None) -> str:
    if contrast is None:
        return ""
    holm = "" if contrast.p_holm is None else f", {contrast.p_holm:.3f}"
    p = "" if contrast.p is None else f" ({contrast.p:.3f}{holm})"
    return f"{contrast.difference:+.3f} {_interval(contrast.ci95)}{p}"


def _interval(ci95: tuple[float, float] | None) -> str:
    return "" if ci95 is None else f"[{ci95[0]:.3f}, {ci95[1]:.3f}]"


def _curves(panel: CurvePanel) -> Iterator[str]:
    yield f"## Learning curves: {panel.task}, labels of {panel.pool}, {panel.model}"
    yield ""
    if panel.curves:
        budgets = sorted({point.labels for curve in panel.curves for point in curve.points})
        rows = []
        for curve in panel.curves:
            at = {point.labels: point for point in curve.points}
            rows.append(
                [curve.method, *(f"{at[n].mean:.3f} {_interval(at[n].ci95)}" if n in at else "" for n in budgets)]
            )
        yield from _table([panel.metric, *(f"{n} labels" for n in budgets)], rows)
        yield ""
    yield from panel.sentences


def _forecast(found: ForecastError) -> Iterator[str]:
    yield "## How far off the forecast was"
    yield ""
    rows = [
        ["hours", f"{found.seconds_expected / 3600:.3f}", f"{found.seconds_actual / 3600:.3f}",
         _off(found.seconds_expected, found.seconds_actual)],
        ["FLOPs", f"{found.flops_expected:.2e}", f"{found.flops_actual:.2e}",
         _off(found.flops_expected, found.flops_actual)],
    ]  # fmt: skip
    yield from _table([f"over {found.runs} runs", "forecast", "actual", "off by"], rows)


def _off(expected: float, actual: float) -> str:
    return f"{100 * (expected - actual) / actual:+.0f} %" if actual else ""


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
