"""A published board as one page of Markdown: what it asks, what is missing, its tables, and how they were made."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from harness.contracts import BASE
from harness.records.schema import Record
from harness.util.safe_text import code, markdown
from leaderboards import Ranking
from leaderboards.closing import closing
from leaderboards.draws import Average, DrawnRow, DrawnTable, over_draws
from leaderboards.render import render
from leaderboards.table import Table

Cell = tuple[str, str, int]
"""Task, label of a row, draw."""


def board_page(found: Ranking, title: str, about: str, planned: Sequence[Cell]) -> str:
    """The page; the same records give the same bytes."""
    parts = [
        "<!-- Made by `python -m harness leaderboard publish --render`; changes belong into records/. -->",
        f"# {markdown(title)}",
        about.strip(),
        *_missing(found.tables, planned),
        *_over_draws(found.tables),
        *_findings(found.tables),
        render(found.tables, "md").strip(),
        "## How the records were made",
        *_made([entry.record for _, entry in sorted(found.entries.items())]),
    ]
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------- what is there, and what is not


def _missing(tables: Sequence[Table], planned: Sequence[Cell]) -> Iterator[str]:
    there = {
        (table.setting.task, row.label, draw)
        for table in tables
        for row in table.rows
        for draw, _ in row.seeds
        if row.n_scored
    }
    left: dict[tuple[str, str], list[int]] = {}
    for task, label, draw in planned:
        if (task, label, draw) not in there:
            left.setdefault((task, label), []).append(draw)
    if not left:
        return
    yield "## What is missing"
    lines = (
        f"- {code(task)}, {code(label)}: draws {', '.join(map(str, draws))}" for (task, label), draws in left.items()
    )
    yield f"{sum(map(len, left.values()))} of {len(planned)} planned cells have not been run:"
    yield "\n".join(lines)


def _over_draws(tables: Sequence[Table]) -> Iterator[str]:
    """Where every draw asks other items there is a table for each; here they stand together."""
    together = over_draws(tables)
    if not together:
        return
    yield "## Over the draws"
    yield (
        "Every draw divides groups and questions anew, so that each has a table of its own below. Here are the means "
        "over the draws with their standard error; they stand for no test, and a row counts the draws that it ran on."
    )
    for one in together:
        yield f"### {markdown(one.setting.task)}, {one.setting.labels} labels"
        yield _grid(one)


def _grid(one: DrawnTable) -> str:
    head = ["aligner", "draws", one.setting.main_metric, f"Δ {BASE}", *one.metrics, "verdicts"]
    lines = [list(map(markdown, head)), [":--", *["--:"] * (len(head) - 2), ":--"]]
    lines += [_cells(row, one.metrics) for row in one.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: DrawnRow, metrics: Sequence[str]) -> list[str]:
    verdicts = ", ".join(f"{name} {count}" for name, count in row.verdicts.items())
    return [
        markdown(row.label),
        str(row.draws),
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
    yield f"From {_sources(records)}. The commands, `PATH` being the folder of the data:"
    commands = sorted({_command(record) for record in records if record.aligner.name != BASE})
    yield "\n".join(f"    {command}" for command in commands)


def _sources(records: Sequence[Record]) -> str:
    made: Mapping[str, None] = dict.fromkeys(_source(record) for record in records)
    return "; ".join(made)


def _source(record: Record) -> str:
    manifest = record.manifest
    if manifest.git_commit:
        return f"commit {code(manifest.git_commit[:10])}"
    return f"installed files with hash {code((manifest.code_files or 'unknown')[:10])}"


def _command(record: Record) -> str:
    words = list(record.manifest.command)
    if "-m" in words:
        words = ["python", *words[words.index("-m") :]]
    for option, value in (("--data", "PATH"), ("--store", "runs")):
        if option in words[:-1]:
            words[words.index(option) + 1] = value
    return shlex.join(word for word in words if word not in ("--quiet", "--json"))
