"""Charts of a table and of learning curves, as Vega-Lite specifications made by Altair.

Texts of strangers enter as values of data or as titles only, never as names of fields and never in an expression.
Marks belong together by a row's short name (`leaderboards.names`), which no other row of the chart has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.util.safe_text import line
from leaderboards.columns import directed
from leaderboards.curves import Curves, Line
from leaderboards.names import short_names
from leaderboards.pareto import Axis, costs_and_scores, front
from leaderboards.table import MethodRow, Table

WIDTH = 720
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a6d3b", "#7f7f7f", "#b2182b", "#5e4fa2")
"""Okabe and Ito's colours, which people who see few of them tell apart, and four more."""
KINDS = {
    "better": "#009e73",
    "worse": "#d55e00",
    "cannot tell": "#0072b2",
    "base": "#7f7f7f",
    "control": "#cc79a7",
    "outputs": "#56b4e9",
    "not tested": "#e69f00",
    "degenerate": "#8a6d3b",
}
"""What a row may be in a chart, with its colour; the legend names those that are there."""
SHAPES = ("circle", "square", "triangle-up", "diamond")
DASHES = ([1, 0], [6, 3], [2, 2], [10, 3, 2, 3])
"""Lines beyond the colours of the palette have the same colours in another shape and dash."""
_NAME = 34
"""Longest name of a row, in characters."""

Spec = dict[str, Any]


def interval_chart(table: Table) -> Spec | None:
    """Every row's score with its interval, and base's score as a line across; None where no row has a score."""
    import altair as alt

    rows = [row for row in table.rows if table.setting.main_metric in row.metrics]
    if not rows:
        return None
    names = short_names((row.label for row in rows), _NAME)
    values = [_point(table, row, names[row.label]) for row in rows]
    order = [value["method"] for value in values]
    data = _data(alt, values)
    y = alt.Y("method:N", sort=order, title=None)
    kinds = {kind: colour for kind, colour in KINDS.items() if any(value["kind"] == kind for value in values)}
    scale = alt.Scale(domain=list(kinds), range=list(kinds.values()))
    colour = alt.Color("kind:N", scale=scale, legend=_legend(alt))
    x = alt.X("score:Q", title=_main_title(table), scale=alt.Scale(zero=False))
    tip = [_full_name(alt), alt.Tooltip("text:N"), alt.Tooltip("kind:N")]
    bars = alt.Chart(data).mark_rule(strokeWidth=2).encode(y=y, x=alt.X("low:Q"), x2="high:Q", color=colour)
    dots = alt.Chart(data).mark_point(filled=True, size=70, opacity=1).encode(y=y, x=x, color=colour, tooltip=tip)
    parts = [bars, dots]
    base = [value for value in values if value["kind"] == "base"]
    if base:
        parts.append(alt.Chart(_data(alt, base)).mark_rule(strokeDash=[4, 4]).encode(x="score:Q"))
    return _finished(alt.layer(*parts).properties(height=24 * len(values)), f"Scores on {table.setting.asked}")


def pareto_chart(table: Table, axis: Axis) -> Spec | None:
    """Score against one cost; rows that no other beats are blue and joined. None where no row has both figures."""
    import altair as alt

    points = costs_and_scores(table, axis)
    if not points:
        return None
    best = front(points, falling=table.setting.main_metric in table.lower_is_better)
    values = _places(points, best)
    joined = [value for value in values if value["front"]]
    x = alt.X(
        "cost:Q",
        title=axis.title,
        scale=alt.Scale(type="symlog", constant=_small(values)),
        axis=_cost_axis(alt, values, counted=axis.counted),
    )
    y = alt.Y("score:Q", title=_main_title(table), scale=alt.Scale(zero=False))
    tip = [_full_name(alt), alt.Tooltip("cost:Q", format=",.4~g"), alt.Tooltip("score:Q", format=".3f")]
    step = alt.Chart(_data(alt, joined)).mark_line(interpolate="step-after", strokeDash=[4, 3]).encode(x=x, y=y)
    fill = alt.condition("datum.front", alt.value("#0072b2"), alt.value("#9a9a9a"))
    dots = (
        alt.Chart(_data(alt, values))
        .mark_point(filled=True, size=80, opacity=1)
        .encode(x=x, y=y, color=fill, tooltip=tip)
    )
    names = alt.Chart(_data(alt, values)).mark_text(align="left", dx=8, dy=-7).encode(x=x, y=y, text="method:N")
    return _finished(alt.layer(step, dots, names).properties(height=300), f"Score against {axis.title}")


def curve_chart(found: Curves) -> Spec:
    """Score by number of labels, a line and a band for every method."""
    import altair as alt

    names = short_names((one.label for one in found.lines), _NAME)
    values = [value for one in found.lines for value in _line_points(one, names[one.label])]
    data = _data(alt, values)
    x = alt.X(
        "labels:Q",
        title="labels",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(values=list(found.budgets), format="d"),
    )
    metric = found.setting.main_metric
    y = alt.Y("score:Q", title=line(directed(metric, {metric} if found.falling else ())), scale=alt.Scale(zero=False))
    colour, shape, dash = _looks(alt, list(names.values()))
    tip = [_full_name(alt), alt.Tooltip("labels:Q"), alt.Tooltip("score:Q", format=".3f")]
    band = alt.Chart(data).mark_area(opacity=0.15).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    lines = alt.Chart(data).mark_line().encode(x=x, y=y, color=colour, strokeDash=dash)
    dots = alt.Chart(data).mark_point(filled=True, size=50, opacity=1)
    parts = [band, lines, dots.encode(x=x, y=y, color=colour, shape=shape, tooltip=tip)]
    unfit = [value for value in values if value["kind"]]
    if unfit:
        cross = alt.Chart(_data(alt, unfit)).mark_point(shape="cross", angle=45, size=160, filled=True, opacity=1)
        parts.append(cross.encode(x=x, y=y, color=colour, tooltip=[*tip, alt.Tooltip("kind:N")]))
    if found.base is not None:
        rule = alt.Chart(_data(alt, [{"score": found.base}])).mark_rule(strokeDash=[4, 4])
        parts.append(rule.encode(y="score:Q"))
    return _finished(alt.layer(*parts).properties(height=320), f"Learning curves on {found.setting.asked}")


def kind_of(row: MethodRow) -> str:
    """What a row is in a chart: its verdict, or why it has none."""
    if row.degenerate:
        return "degenerate"
    if row.role != "method":
        return row.role
    return row.verdict or "not tested"


def _point(table: Table, row: MethodRow, name: str) -> Mapping[str, Any]:
    score = row.metrics[table.setting.main_metric].score
    low, high = score.ci95 or (score.mean, score.mean)
    text = f"{score.mean:.3f} [{low:.3f}, {high:.3f}]"
    return {
        "method": name,
        "label": line(row.label),
        "score": score.mean,
        "low": low,
        "high": high,
        "kind": kind_of(row),
        "text": text,
    }


def _line_points(one: Line, name: str) -> Iterator[Mapping[str, Any]]:
    for point in one.points:
        low, high = point.ci95
        yield {
            "method": name,
            "label": line(one.label),
            "labels": point.labels,
            "score": point.mean,
            "low": low,
            "high": high,
            "kind": "degenerate" if point.labels in one.unfit else "",
        }


def _main_title(table: Table) -> str:
    return line(directed(table.setting.main_metric, table.lower_is_better))


def _data(alt: Any, values: Sequence[Mapping[str, Any]]) -> Any:
    """Rows of a chart; Altair's own class has no types."""
    return alt.Data(values=list(values))


def _places(points: Mapping[str, tuple[float, float]], best: Sequence[str]) -> list[dict[str, Any]]:
    """Points by rising cost; rows at the same place are one point with all their names."""
    labels: dict[tuple[float, float], list[str]] = {}
    for label, place in points.items():
        labels.setdefault(place, []).append(label)
    names = short_names(points, _NAME)
    joined = {place: ", ".join(names[label] for label in found) for place, found in labels.items()}
    short = short_names(joined.values(), _NAME)
    return [
        {
            "method": short[joined[place]],
            "label": line(", ".join(found)),
            "cost": place[0],
            "score": place[1],
            "front": found[0] in best,
        }
        for place, found in sorted(labels.items())
    ]


def _cost_axis(alt: Any, values: Sequence[Mapping[str, Any]], *, counted: bool) -> Any:
    """A counted cost has a tick where a row is, for half a label means nothing."""
    if not counted:
        return alt.Axis(format="~s", labelOverlap=True)
    return alt.Axis(format="d", labelOverlap=True, values=sorted({value["cost"] for value in values}))


def _small(values: Sequence[Mapping[str, Any]]) -> float:
    """Where the axis of costs turns from linear to logarithmic: at the least cost that is not nothing."""
    costs = [float(value["cost"]) for value in values if value["cost"] > 0]
    return min(costs, default=1.0)


def _looks(alt: Any, names: Sequence[str]) -> tuple[Any, Any, Any]:
    """Colour, shape and dash of every line; the legend shows the first two."""
    rounds = [divmod(number, len(PALETTE)) for number in range(len(names))]
    colours = [PALETTE[place] for _, place in rounds]
    shapes = [SHAPES[again % len(SHAPES)] for again, _ in rounds]
    dashes = [DASHES[again % len(DASHES)] for again, _ in rounds]

    def scale(looks: Sequence[Any]) -> Any:
        return alt.Scale(domain=list(names), range=list(looks))

    return (
        alt.Color("method:N", scale=scale(colours), legend=_legend(alt)),
        alt.Shape("method:N", scale=scale(shapes), legend=_legend(alt)),
        alt.StrokeDash("method:N", scale=scale(dashes), legend=_legend(alt)),
    )


def _full_name(alt: Any) -> Any:
    """What a reader who points at a mark is told of its row's name."""
    return alt.Tooltip("label:N", title="method")


def _legend(alt: Any) -> Any:
    return alt.Legend(title=None, orient="top", labelLimit=200, symbolOpacity=1, symbolStrokeWidth=0)


def _finished(chart: Any, title: str) -> Spec:
    spec: Spec = chart.properties(width=WIDTH, description=line(title)).to_dict()
    return spec
