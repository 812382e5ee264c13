"""The pages of the site, each from its template."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaderboards import Ranking
from leaderboards.columns import directed, of_all
from leaderboards.command import command
from leaderboards.curves import Curves, labels_text
from leaderboards.draws import DRAWN, over_draws
from leaderboards.folds import run_text
from leaderboards.html import charts, view
from leaderboards.html.data import write_samples
from leaderboards.html.safety import POLICY, check_extra, file_name, put, script_json, shown
from leaderboards.html.view import TableView
from leaderboards.load import Entry
from leaderboards.planned import BoardPlan, in_words, missing
from leaderboards.replaced import Replaced, replaced
from leaderboards.table import MethodRow

if TYPE_CHECKING:
    from jinja2 import Environment

STATIC = ("site.css", "site.js", "charts.js", "samples.js")
_VEGA = "window.vegaEmbed = vegaEmbed;"
"""What the bundle of chart libraries leaves behind for `charts.js`."""


def write_site(
    found: Ranking,
    folder: Path,
    *,
    title: str = "Leaderboards",
    price: float | None = None,
    plan: BoardPlan | None = None,
) -> Path:
    """Write the site into `folder`; returns its first page.

    `price` is what an hour of the machine costs, for the charts of score against money. `plan` is that of a published
    board: its title, and what of it has no score, stand on the first page. Raises HarnessError without the extra
    `site`.
    """
    check_extra()
    pages = environment(view.names_of(found.tables))
    views = view.table_views(found, price)
    lines = view.curves_with_lines(found)
    with_samples = write_samples(found.tables, found.entries, folder / "data")
    shared = {
        "title": plan.title if plan else title,
        "views": views,
        "has_curves": bool(lines),
        "with_samples": with_samples,
    }
    _write_assets(folder / "assets")
    _write(
        pages, "overview.html.j2", folder / "index.html", {**shared, **_overview(found, views), **_absent(found, plan)}
    )
    for one in views:
        page = {**_table_page(one, price), "to_look_at": _to_look_at(one, with_samples)}
        _write(pages, "table.html.j2", folder / "t" / f"{one.page}.html", {**shared, **page})
    if lines:
        _write(pages, "curves.html.j2", folder / "curves.html", {**shared, "curves": _curves(lines)})
    _write(pages, "samples.html.j2", folder / "samples.html", shared)
    _write_records(pages, found, views, folder, shared)
    return folder / "index.html"


def environment(names: Mapping[str, str]) -> Environment:
    """The templates, every value in them escaped, and a name that is missing an error.

    `names` are short ones of labels; a run that a newer one replaces has a label that no table has, and keeps it whole.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("leaderboards.html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(
        score=view.score_text, difference=view.difference_text, p=view.p_text, amount=view.amount,
        short=lambda label: names.get(label, label), pretty=view.pretty, file_name=file_name, kind=view.row_kind,
        labels_text=labels_text,
        directed=directed, of_all=of_all, run_text=run_text,
    )  # fmt: skip
    pages.globals["policy"] = POLICY
    return pages


def _finalized(value: Any) -> Any:
    """What fools a reader is spelt out, in all that a template prints."""
    return value if hasattr(value, "__html__") else shown(value)


def _write(pages: Environment, template: str, path: Path, values: Mapping[str, Any]) -> None:
    depth = "" if template.startswith(("overview", "curves", "samples", "records")) else "../"
    put(path, pages.get_template(template).render(**values, root=depth).encode())


def _write_assets(folder: Path) -> None:
    for name in STATIC:
        put(folder / name, (files("leaderboards.html") / "static" / name).read_bytes())
    put(folder / "vega.js", _chart_libraries())


@cache
def _chart_libraries() -> bytes:
    """One script for all pages; the same for every site, and two seconds to put together."""
    import vl_convert

    return vl_convert.javascript_bundle(_VEGA).encode()


# ---------------------------------------------------------------- what pages are given


def _overview(found: Ranking, views: list[TableView]) -> dict[str, Any]:
    settings = [one.table.setting for one in views]
    warnings = dict.fromkeys(text for one in views for text in one.table.warnings)
    return {
        "choices": {
            "task": sorted({s.task for s in settings}),
            "model": sorted({s.model for s in settings}),
            "labels": sorted({s.labels for s in settings}),
            "track": sorted({s.track for s in settings}),
            "aligner": sorted({row.aligner for one in views for row in one.table.rows}),
        },
        "together": _together(found),
        "runs": len({run for one in views for row in one.table.rows for run in row.records}),
        "warnings": list(warnings),
    }


def _absent(found: Ranking, plan: BoardPlan | None) -> dict[str, Any]:
    """What of a board's plan has no score."""
    cells = plan.cells() if plan else []
    left = missing(found.tables, found.entries, cells)
    return {"planned": len(cells), "absent": len(left), "absent_lines": in_words(left)}


def _table_page(one: TableView, price: float | None) -> dict[str, Any]:
    scores, pareto = view.table_charts(one.table, price)
    setting = one.table.setting
    return {
        "one": one,
        "scores": scores and _embedded(scores),
        "pareto": [(axis, _embedded(spec)) for axis, spec in pareto],
        "costs": [(row.label, view.cost_figures(row.cost)) for row in one.table.rows if row.cost is not None],
        "budget": view.budget_of(setting),
        "settings": view.settings_of(setting),
        "facts": {name.replace("_", " "): view.span_text(*span) for name, span in one.facts.items()},
    }


def _curves(lines: Sequence[Curves]) -> list[dict[str, Any]]:
    titles = [f"{one.setting.asked}: {one.budgets}" for one in lines]
    apart = view.told_apart([one.setting for one in lines], titles)
    return [
        {"curves": one, "apart": what, "spec": _embedded(charts.curve_chart(one))}
        for one, what in zip(lines, apart, strict=True)
    ]


def _together(found: Ranking) -> list[dict[str, Any]]:
    tables = over_draws(found.tables)
    titles = [f"{one.setting.asked} at {one.setting.labels}" for one in tables]
    apart = view.told_apart([one.setting for one in tables], titles, DRAWN)
    return [{"drawn": one, "apart": what} for one, what in zip(tables, apart, strict=True)]


def _to_look_at(one: TableView, with_samples: Collection[str]) -> str | None:
    """The first run of the table that has samples, base only where it is the only one."""
    rows = sorted(one.table.rows, key=lambda row: row.role == "base")
    return next((run for row in rows for run in row.records if run in with_samples), None)


def _write_records(
    pages: Environment, found: Ranking, views: list[TableView], folder: Path, shared: Mapping[str, Any]
) -> None:
    where = {run: (one, row) for one in reversed(views) for row in one.table.rows for run in row.records}
    listed = [(entry, *where[run]) for run, entry in found.entries.items() if run in where]
    by_table = {id(one.table): one for one in views}
    listed += [(old.entry, by_table[id(old.table)], _older(old)) for old in replaced(found)]
    _write(pages, "records.html.j2", folder / "records.html", {**shared, "listed": listed})
    for entry, one, row in listed:
        page = folder / "r" / f"{file_name(entry.record.id)}.html"
        _write(pages, "record.html.j2", page, {**shared, **_record_page(entry), "one": one, "row": row})


def _older(old: Replaced) -> MethodRow:
    """The row of a run that a newer one replaces, under a name that says so."""
    return replace(old.row, label=f"{old.row.label}, replaced by {old.by}")


def _record_page(entry: Entry) -> dict[str, Any]:
    record = entry.record
    manifest = record.manifest.model_dump(exclude={"decisive"})
    made = {"command": command(record), "manifest": manifest, "spent": view.spent_texts(record)}
    return {"entry": entry, "record": record, **made}


def _embedded(spec: charts.Spec) -> Any:
    """A chart as data in a page: JSON that cannot end the element that it stands in."""
    from markupsafe import Markup

    return Markup(script_json(spec))
