"""`leaderboard`: tables from the records of a store."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options as shared
from harness.cli.output import say
from harness.records.schema import Record
from harness.util.files import storage

if TYPE_CHECKING:
    from leaderboards.table import Table


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
    import leaderboards

    with storage(out):
        paths = leaderboards.write(leaderboards.tables(store, task=task), out)
    for path in paths:
        say(str(path))


def show_tables(
    store: Path, *, task: str | None = None, form: Format = Format.md, beside: Sequence[Record] = ()
) -> list[Table]:
    """Print the tables, or those of some runs alone. Raises HarnessError when the store has no run that matches."""
    import leaderboards

    found = leaderboards.tables(store, task=task, beside=beside)
    say(leaderboards.render(found, form.value).rstrip("\n"))
    return found
