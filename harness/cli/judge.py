"""`judge`: measure a judge on pairs that people labelled, and list what was measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

import typer

from harness.cli import options as shared
from harness.cli.output import emit_json, say, table
from harness.cli.progress import watching
from harness.config import DEFAULT_MODEL
from harness.judging.calibration import Calibration, Figures, file_of, load
from harness.records.schema import Score
from harness.records.store import Store

app = typer.Typer(help="Measure how far a judge agrees with people.", no_args_is_help=True, rich_markup_mode=None)


@app.command("check")
def check(
    *,
    name: Annotated[
        str, typer.Argument(help="similarity, local, local:MODEL, alpaca_eval:ANNOTATOR, or a plug-in's judge.")
    ],
    set_of: Annotated[
        str,
        typer.Option(
            "--set-of",
            metavar="sample|llmbar|llmbar_adversarial|mtbench|autoj",
            help="The set of labelled pairs. All but sample need --data.",
        ),
    ] = "sample",
    data: Annotated[
        str | None,
        typer.Option(
            metavar="sample|PATH", help="The folder that holds judge_pairs. If it is not given: HARNESS_DATA."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Judge only the first N pairs.", show_default=False)
    ] = None,
    repeat: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="How many pairs are judged again: in a second run, against a constant answer, in the other order.",
        ),
    ] = 64,
    model: Annotated[str, typer.Option(help="The study's model, for a judge that uses it.")] = DEFAULT_MODEL,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda", help="The device; auto: a GPU if there is one.")
    ] = "auto",
    store: shared.StoreFolder = shared.DEFAULT_STORE,
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
    as_json: shared.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress, only the result.")] = False,
) -> None:
    """Measure a judge: agreement with people, biases of position and length, consistency, a constant answer's wins."""
    registry = shared.registry(no_plugins, plugins)
    registry.judge(name)
    from harness.judging import check as judge_check

    with watching(quiet) as progress:
        made = judge_check.check(
            name,
            registry=registry,
            store=Store(store),
            pairs=set_of,
            data=data or os.environ.get("HARNESS_DATA") or "sample",
            limit=limit,
            repeat=repeat,
            model=model,
            device=device,
            progress=progress,
        )
    if as_json:
        emit_json(made.model_dump(mode="json"))
        return
    table(title(made), ["", "", ""], [list(row) for row in lines(made.figures)])
    for fault in made.fails:
        say(f"fails: {fault}")
    say(str(file_of(store, made)))


@app.command("list")
def list_(store: shared.StoreFolder = shared.DEFAULT_STORE, as_json: shared.Json = False) -> None:
    """List the judges that were measured in this store, with their figures."""
    found = list(load(store))
    if as_json:
        emit_json([calibration.model_dump(mode="json") for calibration in found])
        return
    table("judges", [*COLUMNS, ""], [row(calibration) for calibration in found])


COLUMNS = (
    *("judge", "version", "set", "verdicts", "agreement", "three ways", "first shown", "flips", "longer (people)"),
    *("same again", "null model"),
)


def row(made: Calibration) -> list[str]:
    """A line of `judge list`: figures without intervals but for agreement, and what the judge fails."""
    f = made.figures
    return [
        f"{made.judge} ({made.model})" if made.model else made.judge,
        made.judge_version,
        made.set,
        f"{f.answered} of {f.pairs}",
        share(f.agreement),
        mean(f.agreement_with_ties),
        mean(f.first_position),
        mean(f.flips),
        f"{mean(f.longer)} ({mean(f.longer_people)})",
        mean(f.consistency),
        mean(f.null_win_rate),
        ", ".join(f"fails: {fault}" for fault in made.fails),
    ]


def title(made: Calibration) -> str:
    """What was measured on what: one line."""
    model = f" ({made.model})" if made.model else ""
    return f"{made.judge}{model}, version {made.judge_version}, on {made.figures.pairs} pairs of {made.set}"


def lines(figures: Figures) -> Iterator[tuple[str, str, str]]:
    """Figure, value with interval, and what it means."""
    yield "verdicts", f"{figures.answered} of {figures.pairs}", "; ".join(figures.statuses)
    if not figures.answered:
        return
    yield (
        "agreement",
        share(figures.agreement),
        "with the labels; ties of the judge count half, ties of people left out",
    )
    if figures.agreement_with_ties is not None:
        yield "agreement, three ways", share(figures.agreement_with_ties), "a tie must be met by a tie"
    for order, found in zip(("first answer first", "second first"), figures.agreement_by_order, strict=False):
        yield f"agreement, {order}", share(found), "one order by itself"
    if figures.first_position is not None:
        yield "answer shown first", share(figures.first_position), "share of single-order verdicts for it; 0.5: no bias"
    yield "verdict changes with order", share(figures.flips), f"P moves by {number(figures.shift)} on average"
    yield "longer answer", share(figures.longer), f"share of verdicts for it; people {share(figures.longer_people)}"
    yield "ties", share(figures.ties), ""
    moved = number(figures.consistency_shift, ".1e")
    yield "same in a second run", share(figures.consistency), f"P moves by at most {moved}"
    yield "null model wins", share(figures.null_win_rate), "a constant answer against the better one"
    yield "tokens", str(figures.tokens), f"{figures.seconds:.0f} s; US$ {figures.cost:.4f}"


def share(score: Score | None) -> str:
    """`0.610 [0.512, 0.700]`; `not measured` where nothing could be counted."""
    if score is None:
        return "not measured"
    return f"{score.mean:.3f}" + (f" [{score.ci95[0]:.3f}, {score.ci95[1]:.3f}]" if score.ci95 else "")


def mean(score: Score | None) -> str:
    """The mean of a share, or a dash."""
    return number(None if score is None else score.mean)


def number(value: float | None, spec: str = ".3f") -> str:
    """A figure, or a dash."""
    return "-" if value is None else f"{value:{spec}}"
