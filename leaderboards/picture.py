"""A board as one picture for a README: SVG of our own, the same bytes for the same records.

A panel with one number of labels has a line for every row, with its score and interval; a panel with several has
learning curves. The picture paints its own background and follows the reader's light or dark setting. Marks differ in
shape as well as in colour, and title and description say in words what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from harness.util.safe_text import line, shorten
from leaderboards.names import short_names
from leaderboards.panels import BoardPanel, BoardRow, ScorePoint
from leaderboards.planned import Missing

WIDTH = 760
LEFT, RIGHT = 236, 580
"""Where the scores of a panel with one budget are drawn."""
CURVE_LEFT, CURVE_RIGHT, CURVE_HEIGHT = 64, 516, 250
ROW = 22
LABEL = 30
"""Longest label of a row, in characters."""
SERIES = 8
"""Colours of curves; the ninth line has the first colour again, and other points."""
ASIDE = 36.0
"""How far a point of a curve may stand beside its number of labels, for the sake of the other curves' points."""
NO_SCORE = "no row has a score"
MARKS = {
    "better": "better than base",
    "cannot tell": "cannot be told from base",
    "worse": "worse than base",
    "not tested": "not tested",
    "base": "base",
    "control": "control",
    "degenerate": "no result of its method",
}
"""Kinds of points, and what the legend says of them."""
_LIGHT = ("#0067a3", "#b84300", "#00775a", "#a1357c", "#3a6ea5", "#8a5a00", "#5e4fa2", "#8c2d19")
_DARK = ("#5cb8f5", "#ff9457", "#35cfa1", "#ec9acb", "#9cc4ff", "#e8b74d", "#b9adf5", "#ff9d8a")
_KINDS_LIGHT = {"better": "#00775a", "worse": "#b84300", "cannot-tell": "#0067a3", "control": "#a1357c"}
_KINDS_DARK = {"better": "#35cfa1", "worse": "#ff9457", "cannot-tell": "#5cb8f5", "control": "#ec9acb"}
_DOTS = (None, "m-3.4 -3.4h6.8v6.8h-6.8z", "m0 -4.6l4.6 8h-9.2z", "m0 -5l5 5l-5 5l-5 -5z")
"""Shapes of points: a circle, a square, a triangle, a diamond."""


def picture(title: str, panels: Sequence[BoardPanel], missing: Sequence[Missing], planned: int) -> str:
    """The SVG of a board; a planned row without a score has its line, or its place below the curves."""
    parts: list[str] = []
    y = 64.0
    for panel in panels:
        drawn, y = _panel(panel, _absent(panel, missing), y)
        parts += drawn
    legend, y = _legend(panels, y)
    foot, y = _foot(panels, missing, planned, y)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" width="{WIDTH}" height="{y:.0f}" '
        'role="img" aria-labelledby="title description">'
    )
    told = f'<title id="title">{_xml(title)}</title>\n<desc id="description">{_xml(_described(panels))}</desc>'
    back = f'<rect class="back" width="{WIDTH}" height="{y:.0f}" rx="8"/>'
    name = _text(20, 34, shorten(title, 76), "name")
    return "\n".join((head, told, f"<style>{_style()}</style>", back, name, *parts, *legend, *foot, "</svg>")) + "\n"


def _described(panels: Sequence[BoardPanel]) -> str:
    """The figures in words, for whoever does not see them."""
    return " ".join(f"{_heading(panel)}, {_about(panel)}: {_figures(panel)}." for panel in panels)


def _figures(panel: BoardPanel) -> str:
    if not panel.rows:
        return NO_SCORE
    if len(panel.budgets) == 1:
        points = [(row.label, next(iter(row.points.values()))) for row in panel.rows]
        return "; ".join(f"{label} {_figure(panel, point)}{_unfit(point)}" for label, point in points)
    return "; ".join(
        f"{row.label} "
        + ", ".join(f"{point.mean:.3f}{_unfit(point)} at {labels}" for labels, point in row.points.items())
        for row in panel.rows
    )


def _unfit(point: ScorePoint) -> str:
    return " (degenerate)" if point.kind == "degenerate" else ""


def _absent(panel: BoardPanel, missing: Sequence[Missing]) -> dict[str, str]:
    """Labels of planned rows that the panel has no point of, and why."""
    there = {row.label for row in panel.rows}
    found: dict[str, str] = {}
    for one in missing:
        budgets = (one.cell.labels in panel.budgets) or one.cell.labels is None
        asked = (one.cell.task, one.cell.track or panel.setting.track, one.cell.pool or panel.setting.pool)
        if budgets and asked == (panel.setting.task, panel.setting.track, panel.setting.pool):
            found.setdefault(one.cell.label, "failed" if one.failure else "not run")
    return {label: why for label, why in found.items() if label not in there}


# ---------------------------------------------------------------- panels


def _panel(panel: BoardPanel, absent: dict[str, str], y: float) -> tuple[list[str], float]:
    parts = [_text(20, y, shorten(_heading(panel), 88), "task"), _text(20, y + 18, shorten(_about(panel), 116), "soft")]
    draw = _nothing if not panel.rows else _dots if len(panel.budgets) == 1 else _lines
    drawn, y = draw(panel, absent, y + 30)
    return parts + drawn, y + 34


def _heading(panel: BoardPanel) -> str:
    setting = panel.setting
    pool = f" with labels of {setting.pool}" if setting.pool != setting.task else ""
    against = f" against {setting.baseline}" if setting.baseline else ""
    budgets = ", ".join(map(str, panel.budgets))
    return f"{setting.task}{against}{pool}: {budgets} labels"


def _about(panel: BoardPanel) -> str:
    setting = panel.setting
    spread = "standard errors over draws" if panel.over_draws else "95 % intervals"
    better = "lower is better" if panel.falling else "higher is better"
    track = "" if setting.track == "labels" else f", track {setting.track}"
    draws = "1 draw" if panel.draws == 1 else f"{panel.draws} draws"
    dashed = "; controls and base are dashed" if len(panel.budgets) > 1 else ""
    return f"{setting.main_metric}, {better}, {spread}, {draws}{track}, {setting.model}{dashed}"


def _nothing(panel: BoardPanel, absent: dict[str, str], top: float) -> tuple[list[str], float]:
    """What stands where no row has a score."""
    return [_without_a_score(absent, top + 10) if absent else _text(20, top + 10, NO_SCORE, "soft")], top + 10


def _without_a_score(absent: dict[str, str], y: float) -> str:
    said = "; ".join(f"{label} {why}" for label, why in absent.items())
    return _text(20, y, shorten(f"Without a score: {said}", 116), "soft")


def _dots(panel: BoardPanel, absent: dict[str, str], top: float) -> tuple[list[str], float]:
    """A line for every row: label, mark with its interval, figures."""
    scale = _Scale(_values(panel), LEFT, RIGHT)
    count = len(panel.rows) + len(absent)
    bottom = top + ROW * count
    parts = [part for tick in scale.ticks for part in _tick(scale, tick, top, bottom)]
    base = next((row for row in panel.rows if row.role == "base"), None)
    if base is not None:
        x = scale(next(iter(base.points.values())).mean)
        parts.append(f'<path class="level" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
    names = short_names([*(row.label for row in panel.rows), *absent], LABEL)
    for number, row in enumerate(panel.rows):
        parts += _row(panel, row, names[row.label], scale, top + ROW * (number + 0.5))
    for number, (label, why) in enumerate(absent.items(), start=len(panel.rows)):
        y = top + ROW * (number + 0.5) + 4
        parts += [_text(LEFT - 12, y, names[label], "soft", "end"), _text(RIGHT + 16, y, why, "soft")]
    return parts, bottom + 16


def _row(panel: BoardPanel, row: BoardRow, name: str, scale: _Scale, y: float) -> Iterator[str]:
    point = next(iter(row.points.values()))
    kind = point.kind.replace(" ", "-")
    yield _text(LEFT - 12, y + 4, name, "label", "end")
    if point.low is not None and point.high is not None:
        yield f'<path class="bar {kind}" d="M{scale(point.low):.1f} {y:.1f}H{scale(point.high):.1f}"/>'
    yield _mark(point.kind, scale(point.mean), y)
    yield _text(RIGHT + 16, y + 4, _figure(panel, point), "figure")


def _figure(panel: BoardPanel, point: ScorePoint) -> str:
    few = f" ({point.draws} of {panel.draws})" if panel.lacks_draws(point) else ""
    if panel.over_draws:
        error = "" if point.high is None else f" ± {point.high - point.mean:.3f}"
        return f"{point.mean:.3f}{error}{few}"
    ends = "" if point.low is None or point.high is None else f" [{point.low:.3f}, {point.high:.3f}]"
    return f"{point.mean:.3f}{ends}{few}"


def _lines(panel: BoardPanel, absent: dict[str, str], top: float) -> tuple[list[str], float]:
    """Learning curves: a line for every row, its name at the end, base as a level."""
    up = _Scale(_values(panel), top + CURVE_HEIGHT, top + 8)
    curves = [row for row in panel.rows if row.role != "base"]
    room = -_aside(0, len(curves))
    left, right = CURVE_LEFT + max(24.0, room), CURVE_RIGHT - max(12.0, room)
    across = _Scale([math.log(labels) for labels in panel.budgets], left, right, rounded=False)
    parts = []
    for tick in up.ticks:
        parts.append(f'<path class="grid" d="M{CURVE_LEFT} {up(tick):.1f}H{CURVE_RIGHT}"/>')
        parts.append(_text(CURVE_LEFT - 8, up(tick) + 4, up.name(tick), "soft", "end"))
    bottom = top + CURVE_HEIGHT + 20
    parts += [_text(across(math.log(labels)), bottom, f"{labels}", "soft", "middle") for labels in panel.budgets]
    parts.append(_text(CURVE_RIGHT + 20, bottom, "labels", "soft"))
    ends: list[tuple[float, str, int]] = []
    names = short_names((row.label for row in panel.rows), LABEL - 10)
    for row in panel.rows:
        last = row.points[max(row.points)]
        place = curves.index(row) if row in curves else -1
        parts += _curve(row, place, len(curves), across, up) if place >= 0 else _level(last, up)
        at = "" if max(row.points) == panel.budgets[-1] or row.role == "base" else f" at {max(row.points)}"
        ends.append((up(last.mean), f"{names[row.label]} {last.mean:.3f}{at}", place))
    parts += _names(ends, top, top + CURVE_HEIGHT)
    if absent:
        bottom += 20
        parts.append(_without_a_score(absent, bottom))
    return parts, bottom


def _level(point: ScorePoint, up: _Scale) -> list[str]:
    return [f'<path class="level" d="M{CURVE_LEFT} {up(point.mean):.1f}H{CURVE_RIGHT}"/>']


def _curve(row: BoardRow, place: int, many: int, across: _Scale, up: _Scale) -> Iterator[str]:
    """One line with an interval at each point; lines stand a little apart so that intervals do not hide each other."""
    aside = _aside(place, many)
    colour = f"series-{place % SERIES}"
    places = [(across(math.log(labels)) + aside, point) for labels, point in sorted(row.points.items())]
    joined = " ".join(f"{x:.1f},{up(point.mean):.1f}" for x, point in places)
    dashed = " control-line" if row.role == "control" else ""
    yield f'<polyline class="line {colour}{dashed}" points="{joined}"/>'
    for x, point in places:
        if point.low is not None and point.high is not None:
            yield f'<path class="whisker {colour}" d="M{x:.1f} {up(point.low):.1f}V{up(point.high):.1f}"/>'
        if point.kind == "degenerate":
            yield f'<path class="line {colour}" d="M{x:.1f} {up(point.mean):.1f}m-4 -4l8 8m0 -8l-8 8"/>'
        else:
            yield _dot(place, x, up(point.mean))


def _aside(place: int, many: int) -> float:
    """How far the points of a curve stand beside their numbers of labels; those of the first stand farthest left."""
    return min(4.0, 2 * ASIDE / max(many - 1, 1)) * (place - (many - 1) / 2)


def _dot(place: int, x: float, y: float) -> str:
    """The point of a curve, whose shape tells curves of one colour apart."""
    kind, shape = f"dot series-{place % SERIES}", _DOTS[place // SERIES % len(_DOTS)]
    if shape is None:
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    return f'<path class="{kind}" d="M{x:.1f} {y:.1f}{shape}"/>'


def _names(ends: list[tuple[float, str, int]], top: float, bottom: float) -> Iterator[str]:
    """Names beside the ends of their lines, pushed apart where they would lie on each other.

    Where colours repeat, the point of the line stands before its name.
    """
    apart = min(17.0, (bottom - top) / max(len(ends), 1))
    dotted = len(ends) > SERIES + 1
    y = top
    ordered = sorted(ends)
    for number, (wanted, name, place) in enumerate(ordered):
        latest = bottom - apart * (len(ordered) - 1 - number)
        y = min(max(wanted, y + apart if number else top), latest)
        kind = "base" if place < 0 else f"series-{place % SERIES}"
        yield f'<path class="line lead {kind}" d="M{CURVE_RIGHT} {wanted:.1f}L{CURVE_RIGHT + 16} {y:.1f}"/>'
        if dotted and place >= 0:
            yield _dot(place, CURVE_RIGHT + 22, y)
        yield _text(CURVE_RIGHT + (30 if dotted else 20), y + 4, name, f"label {kind}-name")


# ---------------------------------------------------------------- scales and marks


class _Scale:
    """From scores to places, with ticks at round figures."""

    def __init__(self, values: Sequence[float], start: float, stop: float, *, rounded: bool = True) -> None:
        low, high = min(values), max(values)
        room = (high - low or 1.0) * (0.04 if rounded else 0.0)
        self.low, self.high, self.start, self.stop = low - room, high + room, start, stop
        self.step = _step(self.high - self.low)
        first = math.ceil(self.low / self.step)
        self.ticks = [n * self.step for n in range(first, math.floor(self.high / self.step) + 1)] if rounded else []

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low or 1.0) * (self.stop - self.start)

    def name(self, tick: float) -> str:
        """The tick with the decimals that its step needs."""
        return f"{tick:.{max(0, -math.floor(math.log10(self.step) + 1e-9))}f}"


def _step(width: float) -> float:
    """1, 2 or 5 times a power of ten that parts `width` into three to seven."""
    rough = (width or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(size * power for size in (1.0, 2.0, 5.0, 10.0) if size * power >= rough)


def _values(panel: BoardPanel) -> list[float]:
    points = [point for row in panel.rows for point in row.points.values()]
    return [value for point in points for value in (point.mean, point.low, point.high) if value is not None]


def _tick(scale: _Scale, tick: float, top: float, bottom: float) -> Iterator[str]:
    x = scale(tick)
    yield f'<path class="grid" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>'
    yield _text(x, bottom + 15, scale.name(tick), "soft", "middle")


def _mark(kind: str, x: float, y: float) -> str:
    name = kind.replace(" ", "-")
    if kind == "better":
        return f'<circle class="mark {name}" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>'
    if kind == "cannot tell":
        return f'<circle class="mark open {name}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    shapes = {
        "worse": "m0 6l-6 -11h12z",
        "control": "m0 -6.5l6.5 6.5l-6.5 6.5l-6.5 -6.5z",
        "degenerate": "m-5 -5l10 10m0 -10l-10 10",
    }
    shape = shapes.get(kind, "m-5 -5h10v10h-10z")
    open_ = " open" if kind in ("degenerate", "not tested") else ""
    return f'<path class="mark{open_} {name}" d="M{x:.1f} {y:.1f}{shape}"/>'


def _legend(panels: Sequence[BoardPanel], y: float) -> tuple[list[str], float]:
    """What the marks mean, as far as they are there."""
    dots = [panel for panel in panels if len(panel.budgets) == 1]
    there = {point.kind for panel in dots for row in panel.rows for point in row.points.values()}
    if any(p.kind == "degenerate" for panel in panels for row in panel.rows for p in row.points.values()):
        there.add("degenerate")
    parts: list[str] = []
    x = 20.0
    for kind, words in MARKS.items():
        if kind not in there:
            continue
        said = f"{words} in every draw" if kind in ("better", "worse") and any(p.over_draws for p in dots) else words
        width = 34 + 6.6 * len(said)
        if x + width > WIDTH:
            x, y = 20.0, y + 20
        parts += [_mark(kind, x + 6, y), _text(x + 18, y + 4, said, "soft")]
        x += width
    return parts, y + 28 if parts else y


def _foot(panels: Sequence[BoardPanel], missing: Sequence[Missing], planned: int, y: float) -> tuple[list[str], float]:
    if not missing:
        return [], y
    said = f"{len(missing)} of {planned} planned cells have no score yet; the board's page lists them."
    nothing = sorted({one.cell.task for one in missing} - {panel.setting.task for panel in panels})
    lines = [said, *([f"Nothing has been run yet of {', '.join(nothing)}."] if nothing else [])]
    return [_text(20, y + 18 * n, shorten(text, 116), "soft") for n, text in enumerate(lines)], y + 18 * len(lines) + 6


# ---------------------------------------------------------------- pieces


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    placed = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}"{placed}>{_xml(text)}</text>'


def _xml(text: str) -> str:
    return escape(line(text))


def _style() -> str:
    light = _colours("#ffffff", "#1b1b1b", "#57606a", "#d8dee4") + _lines_and_marks(_LIGHT, _KINDS_LIGHT)
    dark = _colours("#0f1419", "#e8e8e8", "#a3adb8", "#2d353d") + _lines_and_marks(_DARK, _KINDS_DARK)
    open_light, open_dark = ".mark.open{fill:#ffffff}", ".mark.open{fill:#0f1419}"
    return f"{_SHAPES}{light}{open_light}@media (prefers-color-scheme:dark){{{dark}{open_dark}}}"


_SHAPES = (
    "text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}"
    "text.name{font-size:19px;font-weight:600}text.task{font-size:15px;font-weight:600}"
    "text.soft{font-size:12px}text.figure{font-size:12px;font-variant-numeric:tabular-nums}"
    ".bar{stroke-width:2.5;fill:none}.mark{stroke-width:2}.grid{stroke-width:1}"
    ".level{stroke-width:1.5;stroke-dasharray:5 4;fill:none}.line{fill:none;stroke-width:2}"
    ".control-line{stroke-dasharray:5 4}.lead{stroke-width:1;opacity:.6}.whisker{stroke-width:1.5;opacity:.55}"
)


def _colours(back: str, ink: str, soft: str, grid: str) -> str:
    return (
        f".back{{fill:{back}}}text{{fill:{ink}}}text.soft{{fill:{soft}}}.grid{{stroke:{grid}}}.level{{stroke:{soft}}}"
        f".mark,.bar,.line.base{{stroke:{soft}}}.mark{{fill:{soft}}}"
    )


def _lines_and_marks(series: Sequence[str], kinds: Mapping[str, str]) -> str:
    marks = (f".mark.{name},.bar.{name}{{stroke:{c}}}.mark.{name}{{fill:{c}}}" for name, c in kinds.items())
    lines = (
        f".series-{n}{{stroke:{c}}}.dot.series-{n}{{fill:{c};stroke:none}}text.series-{n}-name{{fill:{c}}}"
        for n, c in enumerate(series)
    )
    return "".join((*marks, *lines))
