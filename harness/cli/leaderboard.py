"""`leaderboard`: tables from the records of a store."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options as shared
from harness.cli.output import say
from harness.store import storage, write_atomic


class Format(StrEnum):
    """Forms of a table."""

    md = "md"
    csv = "csv"
    json = "json"


def leaderboard(
    store: shared.StoreFolder = shared.DEFAULT_STORE,
    task: Annotated[str | None, typer.Option(help="Only this task.", show_default=False)] = None,
    form: Annotated[Format, typer.Option("--format", help="Form of what is printed.")] = Format.md,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write every form there instead.", show_default=False)
    ] = None,
) -> None:
    """Turn a store's records into tables: score, interval, paired p against base, cost, status."""
    if out is None:
        show_tables(store, task=task, form=form)
        return
    for path in write_tables(store, out, task=task):
        say(str(path))


def show_tables(store: Path, *, task: str | None = None, form: Format = Format.md) -> None:
    """Print the tables. Raises HarnessError when the store has no record that matches."""
    import leaderboards

    say(leaderboards.render(leaderboards.tables(store, task=task), format=form.value).rstrip("\n"))


def write_tables(store: Path, out: Path, *, task: str | None = None) -> list[Path]:
    """Write `leaderboard.md`, `.csv` and `.json` into `out`, each whole or not at all."""
    import leaderboards

    tables = leaderboards.tables(store, task=task)
    paths = [out / f"leaderboard.{form.value}" for form in Format]
    with storage(out):
        for path, form in zip(paths, Format, strict=True):
            write_atomic(path, leaderboards.render(tables, format=form.value).encode("utf-8"))
    return paths
