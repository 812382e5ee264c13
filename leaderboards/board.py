"""A published board as one page of Markdown: what it asks, what is missing, its tables, and how they were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.contracts import BASE
from harness.records.schema import Record
from harness.stats.curves import LEAST_BUDGETS
from harness.util.safe_text import code, line, markdown
from leaderboards import Ranking
from leaderboards.closing import closing
from leaderboards.columns import directed, of_all
from leaderboards.command import PLACE, command
from leaderboards.curves import Curves, curves, labels_text
from leaderboards.draws import Average, DrawnRow, DrawnTable, over_draws
from leaderboards.panels import BoardPanel, ScorePoint
from leaderboards.planned import BoardPlan, Missing, PlannedCell, not_run
from leaderboards.render import render
from leaderboards.table import Table

FEWER_DRAWS = (
    "Numbers behind a score, such as (1 of 3), say on how many of the draws its row was run. Draws of the labels "
    "differ, so compare rows of the same draws, as the tables below do."
)

LEFT_OUT = (
    "Draws in which a row is degenerate are left out of its means as long as another is sound: 2/3 says that the means "
    "are of two of the three draws that it ran on."
)


def board_page(
    found: Ranking, plan: BoardPlan, left: Sequence[Missing], shown: Sequence[BoardPanel], *, picture: str
) -> str:
    """The page; the same records give the same bytes. `picture` is the name of the file beside it."""
    parts = [
        "<!-- Made by `python -m harness leaderboard publish --render`; changes belong into records/. -->",
        f"# {markdown(plan.title)}",
        f"![Scores of every row; the tables below have the same figures]({picture})",
        plan.about.strip(),
        *_missing(left, len(plan.cells())),
        *_budgets(shown),
        *_reached(curves(found.tables, found.entries)),
        *_over_draws(found.tables),
        *_findings(found.tables),
        render(found.tables, "md").strip(),
        "## How the records were made",
        *_made([entry.record for _, entry in sorted(found.entries.items())]),
    ]
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------- what is there, and what is not


def _missing(left: Sequence[Missing], planned: int) -> Iterator[str]:
    if not left:
        return
    open_, failed = [one for one in left if not one.failure], [one for one in left if one.failure]
    yield "## What is missing"
    if open_:
        draws = not_run(open_)
        yield f"{len(open_)} of {planned} planned cells have not been run:"
        yield "\n".join(f"- {_cell(cell)}: draws {_list(found)}{_because(cell.why)}" for cell, found in draws.items())
    if failed:
        yield f"{len(failed)} of {planned} planned cells were run and failed, so that they have no score:"
        yield "\n".join(f"- {_cell(one.cell)}: draw {one.cell.draw}: {markdown(one.failure or '')}" for one in failed)


def _cell(cell: PlannedCell) -> str:
    labels = "" if cell.labels is None else f", {cell.labels} labels"
    track = "" if cell.track is None else f", track {code(cell.track)}"
    pool = "" if cell.pool is None else f", pool {code(cell.pool)}"
    return f"{code(cell.task)}, {code(cell.label)}{labels}{track}{pool}"


def _because(why: str | None) -> str:
    return "" if why is None else f": {markdown(why)}"


def _list(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


# ---------------------------------------------------------------- several budgets


def _budgets(shown: Sequence[BoardPanel]) -> Iterator[str]:
    """Scores by number of labels, for every setting that has several."""
    several = [panel for panel in shown if len(panel.budgets) > 1]
    if not several:
        return
    yield "## Scores by number of labels"
    for panel in several:
        setting = panel.setting
        better = "lower" if panel.falling else "higher"
        spread = "standard error over draws" if panel.over_draws else "95 % interval"
        track = "" if setting.track == "labels" else f", track {code(setting.track)}"
        yield f"### {markdown(setting.task)}, labels of {code(setting.pool)}{track}"
        yield (
            f"{code(setting.main_metric)}, {better} is better, with its {spread}. Verdicts are against {BASE}, each "
            "budget for itself." + (f" {FEWER_DRAWS}" if panel.in_part else "")
        )
        head = ("aligner", *(f"{labels} labels" for labels in panel.budgets))
        rule = (":--", *("--:" for _ in panel.budgets))
        rows = (
            (markdown(row.label), *(_point(row.points.get(n), row.role, panel) for n in panel.budgets))
            for row in panel.rows
        )
        yield "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _point(point: ScorePoint | None, role: str, panel: BoardPanel) -> str:
    if point is None:
        return ""
    ends = "" if point.low is None or point.high is None else f" [{point.low:.3f}, {point.high:.3f}]"
    few = f" ({point.draws} of {panel.draws})" if panel.lacks_draws(point) else ""
    said = f" {point.kind}" if role == "method" or point.kind == "degenerate" else ""
    return f"{point.mean:.3f}{ends}{few}{said}"


def _reached(found: Sequence[Curves]) -> Iterator[str]:
    """How many labels reach the score of the reference, where there are budgets enough to fit a curve."""
    lines = [
        f"- {code(one.setting.task)}: {code(row.label)} needs {labels_text(row.reached, one.budgets)} labels for the "
        f"score {_aim(one.target, one.target_labels)}"
        for one in found
        for row in one.lines
        if row.reached is not None and one.target is not None
    ]
    if lines:
        yield "\n".join(lines)
    elif found:
        yield (
            f"With fewer than {LEAST_BUDGETS} budgets no curve is fitted, and it is not estimated how many labels a "
            "method needs for the score of another."
        )


def _aim(target: str, labels: int | None) -> str:
    """Whose score is to be reached; base has one score for all numbers of labels."""
    return f"of {code(target)}" if labels is None else f"that {code(target)} has with {labels}"


# ---------------------------------------------------------------- several draws


def _over_draws(tables: Sequence[Table]) -> Iterator[str]:
    """Where every draw asks other items there is a table for each; here they stand together."""
    together = over_draws(tables)
    if not together:
        return
    yield "## Over the draws"
    yield (
        "Every draw divides groups and questions anew, so that each has a table of its own below. Here are the means "
        "over the draws with their standard error; they stand for no test, and a row counts the draws that it ran on."
        + (f" {LEFT_OUT}" if any(row.draws < row.ran for one in together for row in one.rows) else "")
    )
    for one in together:
        yield f"### {markdown(one.setting.task)}, {one.setting.labels} labels"
        yield _grid(one)


def _grid(one: DrawnTable) -> str:
    main, *others = (directed(name, one.lower_is_better) for name in (one.setting.main_metric, *one.metrics))
    head = ["aligner", "draws", main, f"Δ {BASE}", *others, "verdicts"]
    lines = [list(map(markdown, head)), [":--", *["--:"] * (len(head) - 2), ":--"]]
    lines += [_cells(row, one.metrics) for row in one.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: DrawnRow, metrics: Sequence[str]) -> list[str]:
    verdicts = ", ".join(f"{name} {count}" for name, count in row.verdicts.items())
    return [
        markdown(row.label),
        of_all(row.draws, row.ran),
        _average(row.score, ".4f"),
        _average(row.versus_base, "+.4f"),
        *(_average(row.others.get(name), ".4f") for name in metrics),
        "" if row.role == "base" else verdicts,
    ]


def _average(found: Average | None, spec: str) -> str:
    if found is None:
        return ""
    return f"{found.mean:{spec}}" + ("" if found.error is None else f" ± {found.error:.4f}")


def _findings(tables: Sequence[Table]) -> Iterator[str]:
    yield "## What the tables say"
    for table in tables:
        draws = ", ".join(map(str, table.setting.draw_seeds)) or "none"
        yield f"{code(table.setting.task)}, {table.setting.labels} labels, draws {draws}:"
        yield "\n".join(f"- {markdown(text)}" for text in closing(table))


# ---------------------------------------------------------------- how to make it again


def _made(records: Sequence[Record]) -> Iterator[str]:
    commands = sorted({command(record) for record in records if record.aligner.name != BASE})
    placed = any(f" {PLACE}/" in one for one in commands)
    where = f", {code(PLACE)} being the folder that holds what is named there" if placed else ""
    yield f"From {_sources(records)}. The commands that make them again with the same code{where}:"
    yield "\n".join(f"    {line(one)}" for one in commands)


def _sources(records: Sequence[Record]) -> str:
    made: Mapping[str, None] = dict.fromkeys(_source(record) for record in records)
    return "; ".join(made)


def _source(record: Record) -> str:
    manifest = record.manifest
    if manifest.git_commit:
        return f"commit {code(manifest.git_commit[:10])}"
    return f"installed files with hash {code((manifest.code_files or 'unknown')[:10])}"
