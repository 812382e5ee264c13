"""The command line, `python -m harness` and `align-harness`: the only place that prints.

Results go to standard output, everything said on the way to standard error. Exit codes: 0 done; 1 a failed run or a
bug; 2 a mistake of the user's, told in one line; 3 a study that lacks cells; 130 interrupted; 141 the reader closed
the pipe.
"""

from __future__ import annotations

import gc
from typing import Annotated

import typer

from harness import __version__
from harness.cli import (
    aligner,
    data,
    doctor,
    export,
    judge,
    leaderboard,
    listing,
    models,
    plan,
    run,
    samples,
    show,
    study,
)
from harness.cli.errors import INTERRUPTED, CommandLine
from harness.cli.interrupts import leave
from harness.cli.output import end_of_results, prepare_streams, say
from harness.cli.places import speak_unicode

app = typer.Typer(
    cls=CommandLine,
    name="harness",
    help="Which alignment method gives the best model for this task from N preference labels, and at what cost?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        say(f"align-harness {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Which alignment method gives the best model for this task from N preference labels, and at what cost?"""


app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("list")(listing.list_)
app.command("aligner")(aligner.aligner)
app.command("show")(show.show)
app.command("samples")(samples.samples)
app.command("compare")(samples.compare)
app.command("labels")(samples.labels)
app.command("export")(export.export)
app.command("import")(export.import_)
app.add_typer(leaderboard.app, name="leaderboard")
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(judge.app, name="judge")
app.add_typer(data.app, name="data")
app.add_typer(study.app, name="study")


def main() -> None:
    """Run the command line and exit."""
    speak_unicode()
    prepare_streams()
    gc.freeze()  # what is imported by now stays to the end: no collection need look at it, those at the end included
    try:
        app(prog_name="python -m harness")
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            end_of_results()
            leave()
        raise
    finally:
        end_of_results()
