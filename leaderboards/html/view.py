"""What the templates are given: a table with what goes beside it, a record with its command, figures as text."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from harness.records.schema import Record
from harness.stats import Estimate
from harness.util.hashes import content_hash
from harness.util.safe_text import shorten
from leaderboards import Ranking
from leaderboards.best import best_of
from leaderboards.closing import closing
from leaderboards.columns import other_metrics
from leaderboards.curves import Curves, curves
from leaderboards.html import charts
from leaderboards.html.charts import Spec, kind_of
from leaderboards.html.safety import file_name
from leaderboards.load import Entry
from leaderboards.markdown import CHANCE, FLOORS, SHORTCUTS
from leaderboards.names import short_names
from leaderboards.pareto import Axis, axes, unbeaten
from leaderboards.settings import differences
from leaderboards.table import Cost, MethodRow, Setting, Table, Versus

BUDGET = ("preset", "labels", "prompts", "batch", "min_steps", "selection", "tune", "track", "cap_flops", "profile")
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class TableView:
    """A table and what its pages say of it."""

    table: Table
    page: str
    apart: str
    """What tells it from other tables of the same task and number of labels."""
    best: frozenset[str]
    unbeaten: Mapping[str, Sequence[str]]
    closing: Sequence[str]
    runs: Sequence[tuple[str, Record]]
    """Every record of every row, behind the row's label."""
    low: float
    """Where the small intervals of the overview begin: least and greatest limit over the rows."""
    high: float

    @property
    def main(self) -> str:
        """Name of the main metric."""
        return self.table.setting.main_metric

    @property
    def controls(self) -> list[MethodRow]:
        """Rows that learn nothing from the labels."""
        return [row for row in self.table.rows if row.role == "control"]

    @property
    def floors(self) -> dict[str, tuple[float, float]]:
        """What chance, or something that understands nothing, reaches on the same items."""
        words = (CHANCE, *SHORTCUTS, *FLOORS)
        return {name: span for name, span in self.table.notes.items() if any(word in name for word in words)}

    @property
    def facts(self) -> dict[str, tuple[float, float]]:
        """The data's other figures."""
        return {name: span for name, span in self.table.notes.items() if name not in self.floors}

    @property
    def unfit(self) -> list[MethodRow]:
        """Rows of which not every run is a result of its method."""
        return [row for row in self.table.rows if set(row.statuses) != {"ok"}]

    @property
    def others(self) -> list[str]:
        """The metrics beside the main one."""
        return other_metrics(self.table)

    def place(self, value: float) -> float:
        """Where a score lies between the limits, from 2 to 98."""
        width = self.high - self.low
        share = (value - self.low) / width if width else 0.5
        return round(2 + 96 * min(1.0, max(0.0, share)), 2)


def table_views(found: Ranking, price: float | None) -> list[TableView]:
    """All tables, each with what goes beside it."""
    settings = [table.setting for table in found.tables]
    apart = told_apart(settings, [f"{setting.asked} at {setting.labels}" for setting in settings])
    return [_table_view(one, what, found.entries, price) for one, what in zip(found.tables, apart, strict=True)]


def _table_view(table: Table, apart: str, entries: Mapping[str, Entry], price: float | None) -> TableView:
    """A table with its best rows, its fronts and its sentences."""
    scores = [
        row.metrics[table.setting.main_metric].score for row in table.rows if table.setting.main_metric in row.metrics
    ]
    limits = [limit for score in scores for limit in (score.ci95 or (score.mean, score.mean))]
    low, high = min(limits, default=0.0), max(limits, default=1.0)
    runs = [(row.label, entries[run].record) for row in table.rows for run in row.records if run in entries]
    return TableView(
        table=table,
        page=page_of(table),
        apart=apart,
        best=best_of(table, entries),
        unbeaten=unbeaten(table, price),
        closing=closing(table),
        runs=runs,
        low=low,
        high=high,
    )


def table_charts(table: Table, price: float | None) -> tuple[Spec | None, list[tuple[Axis, Spec]]]:
    """The chart of scores, and one of score against each cost, as far as there is something to draw."""
    drawn = ((axis, charts.pareto_chart(table, axis)) for axis in axes(price))
    return charts.interval_chart(table), [(axis, spec) for axis, spec in drawn if spec is not None]


def curves_with_lines(found: Ranking) -> list[Curves]:
    """The learning curves, less those of budgets that no method has a score at."""
    return [one for one in curves(found.tables, found.entries) if one.lines]


def told_apart(settings: Sequence[Setting], titles: Sequence[str], without: Sequence[str] = ()) -> list[str]:
    """What each has otherwise than the others of its title, less some fields; empty where its title is its own."""
    by_title: dict[str, list[Setting]] = {}
    for setting, title in zip(settings, titles, strict=True):
        by_title.setdefault(title, []).append(setting)
    differing = {title: differences(alike).keys() - set(without) for title, alike in by_title.items()}
    return [_in_words(setting, differing[title]) for setting, title in zip(settings, titles, strict=True)]


def _in_words(setting: Setting, names: Collection[str]) -> str:
    """`model a, draws 0, 1`; hashes only where nothing else differs."""
    said = [f.name for f in fields(setting) if f.name in names]
    plain = [name for name in said if not name.endswith(("_hash", "_revision"))]
    return ", ".join(_field_in_words(setting, name) for name in plain or said)


def _field_in_words(setting: Setting, name: str) -> str:
    value = getattr(setting, name)
    if name == "draw_seeds":
        return f"draw {value[0]}" if len(value) == 1 else f"draws {', '.join(map(str, value)) or 'none'}"
    if isinstance(value, Mapping):
        value = ", ".join(f"{part} {inner}" for part, inner in value.items())
    return f"{name.replace('_', ' ')} {shorten('none' if value is None else str(value), 40)}"


def page_of(table: Table) -> str:
    """Name of a table's page, without its ending: task, labels, and a hash of its setting."""
    setting = table.setting
    return f"{file_name(setting.task)}-{setting.labels}-{content_hash(setting.key())[:8]}"


def budget_of(setting: Setting) -> dict[str, Any]:
    """The budget in full."""
    return {name: getattr(setting, name) for name in BUDGET}


def settings_of(setting: Setting) -> dict[str, Any]:
    """What the rows of a table share, less its budget."""
    return {f.name: getattr(setting, f.name) for f in fields(setting) if f.name not in BUDGET}


# ---------------------------------------------------------------- figures as text


def score_text(score: Estimate | None) -> str:
    """`0.512 [0.401, 0.622]`."""
    return "" if score is None else _interval(score.mean, score.ci95, ".3f")


def difference_text(versus: Versus | None) -> str:
    """`+0.012 [-0.040, +0.065]`."""
    return "" if versus is None else _interval(versus.difference, versus.ci95, "+.3f")


def p_text(p: float | None) -> str:
    """A p-value to three digits."""
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


@dataclass(frozen=True, slots=True)
class CostFigure:
    """A figure as it is read, and as it is sorted by."""

    text: str
    value: float


def cost_figures(cost: Cost) -> dict[str, CostFigure]:
    """Every cost of a row with its unit."""
    found: dict[str, CostFigure] = {}
    for field in fields(cost):
        value = float(getattr(cost, field.name))
        name, text = field.name.replace("_", " "), amount(value)
        if field.name == "peak_memory_bytes":
            name, text = "peak memory", f"{value / _GIB:.2f} GiB"
        elif field.name.endswith("seconds"):
            text = f"{value:,.1f} s"
        found[name] = CostFigure(text, value)
    return found


def span_text(low: float, high: float) -> str:
    """A figure, or from where to where it goes over the records."""
    return amount(low) if low == high else f"{amount(low)} to {amount(high)}"


def spent_texts(record: Record) -> dict[str, str]:
    """What one run cost, by dotted name, with units."""
    found: dict[str, str] = {}
    if record.outputs is not None:
        return found
    for name, value in _leaves(record.spent.model_dump()):
        if name == "peak_memory_bytes":
            found["peak memory"] = f"{value / _GIB:.2f} GiB"
        else:
            found[name.replace("_", " ")] = f"{value:,.1f} s" if "seconds" in name else amount(value)
    return found


def _leaves(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, part in value.items():
        if isinstance(part, Mapping):
            yield from _leaves(part, f"{before}{name}, ")
        else:
            yield f"{before}{name}", part


def amount(value: Any) -> str:
    """A number with at most four digits that matter and the letter of its power of ten."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return str(value)
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.4g} {letter}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def row_kind(row: MethodRow) -> str:
    """A row's verdict, or why it has none."""
    if row.status == "failed" and not row.metrics:
        return "failed"
    return kind_of(row)


def names_of(tables: Sequence[Table]) -> dict[str, str]:
    """A label for a cell, for every label; the record's page has all of it."""
    return short_names((row.label for table in tables for row in table.rows), 60)


def pretty(value: Any) -> str:
    """A value as JSON on several lines."""
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True, default=str)


def _interval(mean: float, ci95: tuple[float, float] | None, spec: str) -> str:
    return f"{mean:{spec}}" + (f" [{ci95[0]:{spec}}, {ci95[1]:{spec}}]" if ci95 else "")
