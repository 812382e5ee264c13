"""`study`: many cells by one file; planned, computed, watched and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import options as shared
from harness.cli.output import emit_json, note, say, table
from harness.cli.progress import watching
from harness.contracts import HarnessError
from harness.util.files import write_atomic, write_json

if TYPE_CHECKING:
    from harness.study.api import Study
    from harness.study.drive import StudyOutcome
    from harness.study.outlook import StudyForecast
    from harness.study.plan import PlannedRun, StudyPlan

app = typer.Typer(help="Compute many cells from one file.", no_args_is_help=True, rich_markup_mode=None)

FAILED, INCOMPLETE = 1, 3
"""Exit codes: a cell failed; cells are missing."""

File = Annotated[
    Path, typer.Argument(metavar="STUDY.yaml", help="The study file; `study init` writes a first version.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the file: draws=6, aligners=sft,dpo, shared.limit=16"
    ),
]
Executor = Annotated[
    str | None, typer.Option(metavar="NAME", help="local, ray, slurm or a plug-in's executor, in place of the file's.")
]
MaxHours = Annotated[float | None, typer.Option(metavar="H", min=0, help="Start no cell after this many hours.")]
MaxFlops = Annotated[float | None, typer.Option(metavar="X", min=0, help="Start no cell after this many FLOPs.")]
MaxUsd = Annotated[
    float | None, typer.Option(metavar="USD", min=0, help="Start no cell once the judges have cost this much.")
]


def _study(file: Path, sets: Sequence[str] | None, no_plugins: bool, plugins: str | None, **given: object) -> Study:
    from harness.study.api import Study

    registry = shared.registry(no_plugins, plugins)
    shared.tell_skipped(registry)
    named = {
        "executor": "run.executor",
        "max_hours": "limits.hours",
        "max_flops": "limits.flops",
        "max_usd": "limits.usd",
    }
    typed = [f"{named[name]}={value}" for name, value in given.items() if value is not None]
    return Study.load(file, [*(sets or ()), *typed], registry)


@app.command("init")
def init(
    path: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The file to write.")] = Path("study.yaml"),
) -> None:
    """Write a study file with a comment on every key."""
    from harness.study.template import template

    if path.exists():
        raise HarnessError(f"{path} exists already; name another file")
    write_atomic(path, template(path.stem, str(path)).encode())
    say(f"{path} is written; next: python -m harness study plan {path}")


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of study files, for editors."""
    from harness.study.file import schema as made

    emit_json(made())


@app.command("plan")
def plan(
    *,
    file: File,
    sets: Sets = None,
    executor: Executor = None,
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
    as_json: shared.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress, only the result.")] = False,
) -> None:
    """Show what would be computed, at what cost, and which cells lack something (then the exit code is 3)."""
    study = _study(file, sets, no_plugins, plugins, executor=executor)
    with watching(quiet) as progress:
        made = study.plan(progress)
    command, forecast = study.submission(made), study.outlook(made)
    if as_json:
        emit_json({**_plan_json(made), "forecast": forecast.json_value(), "command": command})
    else:
        _show_plan(made)
        _show_forecast(forecast)
        if command is not None:
            say(command)
    if made.count("missing"):
        raise typer.Exit(INCOMPLETE)


@app.command("run")
def run(
    *,
    file: File,
    sets: Sets = None,
    executor: Executor = None,
    retry: Annotated[
        str | None,
        typer.Option(metavar="failed", help="`--retry failed` computes failed cells again.", show_default=False),
    ] = None,
    max_hours: MaxHours = None,
    max_flops: MaxFlops = None,
    max_usd: MaxUsd = None,
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
    as_json: shared.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress, only the result.")] = False,
) -> None:
    """Compute the cells that have no record yet. Exit code 1 if a cell failed, 3 if cells are missing."""
    if retry not in (None, "failed"):
        raise HarnessError(f"--retry takes failed, not {retry[:80]!r}")
    study = _study(
        file, sets, no_plugins, plugins, executor=executor, max_hours=max_hours, max_flops=max_flops, max_usd=max_usd
    )
    with watching(quiet) as progress:
        outcome = study.run(progress, retry_failed=retry is not None)
    if as_json:
        emit_json(_outcome_json(outcome))
    else:
        _show_outcome(outcome, file)
    if not outcome.complete:
        raise typer.Exit(INCOMPLETE)
    if outcome.count("failed"):
        raise typer.Exit(FAILED)


@app.command("status")
def status(
    *,
    file: File,
    sets: Sets = None,
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
    as_json: shared.Json = False,
) -> None:
    """Show how far the study is, whichever process computes it. Exit code 3 if cells are missing."""
    study = _study(file, sets, no_plugins, plugins)
    made = study.plan()
    states = {name: _now(study, planned) for name, planned in made.runs.items()}
    counts = {state: sum(s == state for s in states.values()) for state in dict.fromkeys(states.values())}
    if as_json:
        emit_json({"study": study.file.name, "counts": counts, "notes": list(made.notes()), "runs": states})
    else:
        table("status", ["state", "runs"], [[state, str(count)] for state, count in counts.items()])
        for name, state in states.items():
            if state in ("failed", "missing", "running"):
                say(f"{state}: {made.runs[name].words}{_because(made.runs[name])}")
        for line in made.notes():
            say(line)
    if set(states.values()) - {"done", "failed"}:
        raise typer.Exit(INCOMPLETE)


@app.command("report")
def report(
    *,
    file: File,
    sets: Sets = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write report.md and report.json into this folder.", show_default=False),
    ] = None,
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
    as_json: shared.Json = False,
) -> None:
    """Show the study's results: scores, tests, learning curves, and what the data could have shown."""
    made = _study(file, sets, no_plugins, plugins).report()
    if output is not None:
        write_atomic(output / "report.md", made.markdown().encode())
        write_json(output / "report.json", made.json_value())
        say(f"{output / 'report.md'} and {output / 'report.json'} are written")
    elif as_json:
        emit_json(made.json_value())
    else:
        say(made.markdown())


def _now(study: Study, planned: PlannedRun) -> str:
    if planned.plan is not None and study.store.is_locked(planned.run_id):
        return "running"
    return {"reused": "done", "run": "waiting"}.get(planned.state, planned.state)


def _because(planned: PlannedRun) -> str:
    return f" ({planned.reason})" if planned.reason else ""


# ---------------------------------------------------------------- what is shown


def _plan_json(made: StudyPlan) -> dict[str, Any]:
    return {
        "study": made.study.name,
        "threads": made.threads,
        "counts": {state: made.count(state) for state in ("run", "reused", "failed", "missing")},
        "notes": list(made.notes()),
        "runs": [_run_json(planned) for planned in made.runs.values()],
        "cells": [{"method": cell.method, **cell.axes, "run": run} for cell, run in made.cells],
    }


def _run_json(planned: PlannedRun) -> dict[str, Any]:
    return {
        "run": planned.run_id,
        "cell": planned.words,
        "state": planned.state,
        "reason": planned.reason,
        "fit_is_there": planned.fitted,
        "needs": list(planned.needs),
    }


def _show_plan(made: StudyPlan) -> None:
    rows = [[p.state, p.run_id[:10], p.words, p.reason] for p in made.runs.values()]
    table(f"study {made.study.name}", ["", "run", "cell", ""], rows)
    say(_counted({state: made.count(state) for state in ("run", "reused", "failed", "missing")}, made.threads))
    for line in made.notes():
        say(line)


def _show_forecast(forecast: StudyForecast) -> None:
    if forecast.runs:
        low, middle, high = forecast.hours
        least, usual, most = forecast.flops
        known = sum(run.cost.sure for run in forecast.runs.values())
        _, tokens, _ = forecast.tokens
        money = f", {forecast.usd:.2f} US dollars for judges" if forecast.usd else ""
        say(
            f"forecast: {middle:.2f} hours [{low:.2f}, {high:.2f}], {usual:.1e} FLOPs [{least:.1e}, {most:.1e}], "
            f"{tokens:.1e} tokens, {forecast.memory_bytes / 2**30:.1f} GiB of memory a cell, "
            f"{forecast.disk_bytes / 2**20:.0f} MiB of disk{money}; {known} of {len(forecast.runs)} runs by records"
        )
        for basis in forecast.basis:
            say(f"it rests on {basis}")
    for sentence in forecast.sentences:
        say(sentence)


def _counted(counts: Mapping[str, int], threads: int) -> str:
    words = {"run": "to run", "reused": "there already", "failed": "failed before", "missing": "lacking something"}
    parts = [f"{count} {words[state]}" for state, count in counts.items() if count]
    return f"{', '.join(parts)}; {threads} {'thread' if threads == 1 else 'threads'} a cell"


def _outcome_json(outcome: StudyOutcome) -> dict[str, Any]:
    return {
        "stopped": outcome.stopped,
        "seconds": round(outcome.seconds, 1),
        "flops": outcome.flops,
        "counts": outcome.counts(),
        "runs": {name: {"phase": run.phase, "reason": run.reason} for name, run in outcome.runs.items()},
    }


def _show_outcome(outcome: StudyOutcome, file: Path) -> None:
    for run in outcome.runs.values():
        if run.phase in ("failed", "missing"):
            say(f"{run.phase}: {run.planned.words}: {run.reason}")
    if outcome.stopped:
        note(f"stopped: {outcome.stopped}; the same command continues the study")
    parts = [f"{count} {phase}" for phase, count in outcome.counts().items() if count]
    say(f"{', '.join(parts)}; {outcome.seconds:.0f} s, {outcome.flops:.2e} FLOPs")
    say(f"next: python -m harness study report {file}")
