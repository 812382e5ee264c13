"""`leaderboard`: tables, pages and figures from the records of a store, and what is published of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options as shared
from harness.cli.output import note, say
from harness.contracts import HarnessError
from harness.records.schema import Record
from harness.util.files import storage

if TYPE_CHECKING:
    from leaderboards.planned import BoardPlan
    from leaderboards.table import Table

app = typer.Typer(help="Tables, pages and figures from records.", rich_markup_mode=None)


class Format(StrEnum):
    """Forms of a leaderboard."""

    md = "md"
    csv = "csv"
    json = "json"
    latex = "latex"
    parquet = "parquet"
    html = "html"


NEED_A_FOLDER = (Format.parquet, Format.html)
"""Forms that are no text."""
FOLDER = "FOLDER"
PUBLISHED = Annotated[
    Path,
    typer.Option("--published", metavar=FOLDER, help="The folder with records/ and boards/: leaderboards/ of a clone."),
]


@app.callback(invoke_without_command=True)
def leaderboard(
    *,
    context: typer.Context,
    store: shared.Stores = None,
    task: Annotated[str | None, typer.Option(help="Only this task.", show_default=False)] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="The form of the tables (default: md).", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar=FOLDER, help="Write files into this folder; without --format, every text form.", show_default=False
        ),
    ] = None,
    figures: Annotated[bool, typer.Option("--figures", help="Write the charts too, as SVG and PNG.")] = False,
    price: Annotated[
        float | None,
        typer.Option(
            "--price",
            metavar="X",
            min=0,
            help="What an hour of the machine costs; adds a chart of scores against money.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Fail if a published record or page is not what it should be.")
    ] = False,
    published: PUBLISHED = Path("leaderboards"),
) -> None:
    """Turn the records of stores into tables, pages, figures: score, interval, paired p against base, cost, status."""
    if context.invoked_subcommand is not None:
        return
    if check:
        _check(published)
        return
    stores = store or [shared.DEFAULT_STORE]
    if out is None:
        _print(stores, task, form or Format.md, figures)
        return
    with storage(out):
        for path in _written(stores, task, form, out, figures=figures, price=price):
            say(str(path))


def show_tables(
    stores: Sequence[Path], *, task: str | None = None, form: Format = Format.md, beside: Sequence[Record] = ()
) -> list[Table]:
    """Print the tables, or those of some runs alone. Raises HarnessError when no store has a run that matches."""
    import leaderboards

    found = leaderboards.tables(stores, task=task, beside=beside)
    say(leaderboards.render(found, form.value).rstrip("\n"))
    return found


def _check(published: Path) -> None:
    from leaderboards.published import check

    found = check(published, installed=shared.registry(no_plugins=False, plugins=None))
    for fault in found:
        say(fault)
    if found:
        raise typer.Exit(1)


def _print(stores: Sequence[Path], task: str | None, form: Format, figures: bool) -> None:
    if figures or form in NEED_A_FOLDER:
        what = "figures" if figures else form.value
        raise HarnessError(f"{what} cannot be printed; say where to write: --out {FOLDER}")
    show_tables(stores, task=task, form=form)


def _written(
    stores: Sequence[Path], task: str | None, form: Format | None, out: Path, *, figures: bool, price: float | None
) -> list[Path]:
    """Write what was asked for; returns what somebody would open."""
    import leaderboards

    found = leaderboards.ranked(stores, task)
    paths: list[Path] = []
    if form is None:
        paths += leaderboards.write(found.tables, out)
    elif form is Format.html:
        from leaderboards.html import write_site

        paths.append(write_site(found, out, price=price, plan=_plan(stores)))
    elif form is Format.parquet:
        from leaderboards.parquet import write_parquet

        paths.append(write_parquet(found, out / "samples.parquet"))
    else:
        paths += leaderboards.write(found.tables, out, (form.value,))
    if figures:
        from leaderboards.html import write_figures

        paths += write_figures(found, out / "figures", price=price)
    return paths


def _plan(stores: Sequence[Path]) -> BoardPlan | None:
    """The plan of a published board, where its folder of records is the one store."""
    from leaderboards.planned import PLAN, plan_of

    return plan_of(stores[0]) if len(stores) == 1 and (stores[0] / PLAN).is_file() else None


@app.command("serve")
def serve(
    folder: Annotated[
        Path, typer.Argument(metavar=FOLDER, help="A site that `leaderboard --format html --out FOLDER` wrote.")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any free port.")] = 8000,
) -> None:
    """Serve a site for a browser on this machine, at 127.0.0.1 only."""
    from leaderboards.serve import server

    with server(folder, port) as made:
        note(f"http://127.0.0.1:{made.server_port}/ until Ctrl-C")
        made.serve_forever()


@app.command("validate")
def validate(
    runs: Annotated[list[Path], typer.Argument(metavar="FILE...", help="record.json of runs, or their folders.")],
) -> None:
    """Check records that are handed in: seal, hashes, ids, scores and intervals from their rows, provenance, budget."""
    from leaderboards.validate import faults

    installed = shared.registry(no_plugins=False, plugins=None)
    wrong = {path: faults(path, installed=installed) for path in runs}
    for path, found in wrong.items():
        for fault in found:
            say(f"{path}: {fault}")
        if not found:
            say(f"{path}: nothing is wrong")
    if any(wrong.values()):
        raise typer.Exit(1)


@app.command("publish")
def publish(
    board: Annotated[str | None, typer.Argument(help="Name of the board.", show_default=False)] = None,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Ids of the runs to publish; without any, all runs of the store."),
    ] = None,
    store: shared.StoreFolder = shared.DEFAULT_STORE,
    published: PUBLISHED = Path("leaderboards"),
    render: Annotated[
        bool, typer.Option("--render", help="Make the pages of all boards again, and publish nothing.")
    ] = False,
) -> None:
    """Put runs of a store into a published board, without texts and paths, and make the boards' pages."""
    from leaderboards.published import publish as into
    from leaderboards.published import render as pages

    if board is None and not render:
        raise HarnessError(
            "publish needs the name of a board, a folder of leaderboards/records; --render makes all pages again"
        )
    with storage(published):
        if board is not None:
            installed = shared.registry(no_plugins=False, plugins=None)
            for folder in into(store, runs or (), board, published, installed=installed):
                say(str(folder))
        for path in pages(published):
            say(str(path))
