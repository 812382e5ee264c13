"""`run`: fit an aligner on few-shot preferences, score it on a task, show where it stands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from harness.cli import options as shared
from harness.cli import run_options as asked
from harness.cli.closing import one_of_each, words
from harness.cli.errors import MISTAKE, complain
from harness.cli.interrupts import leaving_in_time
from harness.cli.leaderboard import show_tables
from harness.cli.output import emit_json, note, say
from harness.cli.progress import watching
from harness.cli.resolve import EVERY, Options, cells, parse_seeds
from harness.config import LONGEST, RunConfig
from harness.contracts import HarnessError
from harness.contracts.progress import Progress
from harness.plugins.registry import Registry
from harness.records.schema import Record
from harness.run.session import Keeping
from harness.util.safe_text import line

FAILED = 1
OWN_TASKS = "HARNESS_LM_EVAL_TASKS"
"""The variable that tells lm-eval's tasks, here and in every process that is started, of a folder with more of them."""


def run(
    *,
    aligner: asked.AlignerNames = None,
    task: asked.TaskName = None,
    model: asked.ModelName = None,
    model_revision: asked.ModelRevision = None,
    data: asked.Data = None,
    train_on: asked.TrainOn = None,
    columns: asked.Columns = None,
    split_file: asked.SplitFile = None,
    folds: asked.Folds = None,
    control: asked.Control = None,
    budget: asked.Budgets = None,
    track: asked.Track = None,
    cap_flops: asked.CapFlops = None,
    tune: asked.Tune = None,
    seed: asked.Seeds = None,
    draw_seed: asked.DrawSeed = None,
    shuffle_labels: asked.ShuffleLabels = False,
    limit: asked.Limit = None,
    num_fewshot: asked.NumFewshot = None,
    generate: asked.Generate = False,
    device: asked.Device = None,
    precision: asked.Precision = None,
    fast_paths: asked.FastPaths = None,
    backend: asked.Backend = None,
    judge: asked.JudgeName = None,
    baseline: asked.Baseline = None,
    outputs: asked.OutputFiles = None,
    store: asked.Folder = None,
    config: asked.ConfigFile = None,
    sets: asked.Settings = None,
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
    trust_remote_code: asked.TrustRemoteCode = False,
    as_json: shared.Json = False,
    quiet: asked.Quiet = False,
    show: asked.Show = 0,
    force: asked.Force = False,
    no_texts: asked.NoTexts = False,
    include_path: asked.IncludePath = None,
    dry_run: asked.DryRun = False,
) -> None:
    """Fit an aligner within a budget of labels, evaluate it (and the base model) and show the table."""
    typed = dict(locals())  # exactly the parameters: nothing else is bound yet
    from harness.run.cells import every_cell

    if include_path is not None:
        os.environ[OWN_TASKS] = str(include_path.absolute())
    registry = shared.registry(no_plugins, plugins)
    shared.tell_skipped(registry)
    options = _options(typed)
    wanted = cells(options, registry)
    configs = every_cell(wanted, registry, control=control)
    if dry_run:
        _forecast(configs, registry, as_json=as_json)
        return
    keeping = _keeping(show, force, no_texts)
    records = execute(configs, registry, keeping, quiet=quiet, forgiving=options.aligner == EVERY)
    report(records, wanted, as_json=as_json, beside=list(_beside(typed, wanted)))


def _beside(typed: Mapping[str, Any], wanted: Sequence[RunConfig]) -> Iterator[str]:
    """The options that were typed and that no cell keeps, but that decide what a table shows or a store holds."""
    if typed["control"] is not None:
        yield "--control" if typed["control"] else "--no-control"
    if typed["config"] is not None and not one_of_each(wanted):
        yield from ("--config", str(typed["config"]))
    for name in ("include_path", "plugins"):
        if typed[name] is not None:
            yield from (f"--{name.replace('_', '-')}", str(typed[name]))
    yield from (f"--{name.replace('_', '-')}" for name in ("no_plugins", "no_texts") if typed[name])


def _keeping(show: int, force: bool, no_texts: bool) -> Keeping:
    if no_texts and show:
        raise HarnessError("--show keeps answers to be read, and --no-texts keeps no text; leave either out")
    return Keeping(show, force, not no_texts)


def _forecast(configs: Sequence[RunConfig], registry: Registry, *, as_json: bool) -> None:
    """What would run; exit 2 where no cell can."""
    from harness.cli.plan import show
    from harness.study.forecast import forecast

    found = forecast(configs, registry)
    show(found, as_json=as_json)
    if not any(cell.aligner == config.aligner for cell in found.cells for config in configs):
        raise typer.Exit(MISTAKE)


def _options(typed: Mapping[str, Any]) -> Options:
    """What was typed, and what environment and machine say where nothing was."""
    known = {field.name for field in fields(Options)}
    given = {name: value for name, value in typed.items() if name in known}
    return Options(
        **given
        | {
            "outputs": None,
            "files": tuple(typed["outputs"] or ()),
            "columns": shared.columns_of(typed["columns"]) or None,
            "seeds": parse_seeds(typed["seed"] or ()),
            "sets": tuple(typed["sets"] or ()),
            # A flag that was not given leaves the config file's word.
            "shuffle_labels": typed["shuffle_labels"] or None,
            "generate": typed["generate"] or None,
            "trust_remote_code": typed["trust_remote_code"] or None,
            "data_default": os.environ.get("HARNESS_DATA") or None,
            "cuda": sees_cuda(),
        }
    )


def sees_cuda() -> bool:
    """Whether torch sees a CUDA device; without importing torch where nothing hints at one.

    Only decides whether the CPU profile applies; the engine asks torch again when it picks the device.
    """
    hints = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
    if not any(Path(hint).exists() for hint in hints) and shutil.which("nvidia-smi") is None:
        return False
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def execute(
    configs: Sequence[RunConfig],
    registry: Registry,
    keeping: Keeping,
    *,
    quiet: bool,
    forgiving: bool = False,
) -> list[Record]:
    """Run every cell in turn; progress goes to standard error.

    `forgiving` leaves out, with a note, cells whose input is refused (an aligner that needs what the pool does not
    offer), unless all are.
    """
    from harness.run import engine

    with leaving_in_time(), watching(quiet) as progress:
        announce(configs[0], progress)
        records, refused = [], None
        for number, config in enumerate(configs, start=1):
            progress.cell(number, len(configs), _called(config))
            try:
                records.append(engine.run(config, registry=registry, observer=progress, keeping=keeping))
            except HarnessError as error:
                if not forgiving:
                    raise
                refused = error
                progress.note(f"{config.aligner} is left out: {error}")
        if refused is not None and not records:
            raise refused
        return records


def _called(config: RunConfig) -> str:
    """A cell as people call it."""
    if config.outputs is not None:
        return f"outputs of {config.aligner_config['generator']}"
    shuffled = ", labels shuffled" if config.shuffle_labels else ""
    fold = f", fold {config.fold + 1} of {config.folds}" if config.fold is not None else ""
    return f"{config.aligner}, seed {config.seed}{shuffled}{fold}"


def announce(config: RunConfig, progress: Progress) -> None:
    """Say in one line what a profile changed."""
    if config.profile is not None:
        budget, longest = config.budget, LONGEST[config.profile]
        progress.note(
            f"profile {config.profile} (default model on CPU, no --budget): {budget.labels} labels, "
            f"{budget.prompts} prompts, batch {budget.batch}, {budget.min_steps} steps; at most {longest.prompt} "
            f"tokens of prompt, {longest.completion} of answer, {longest.new_tokens} sampled; "
            f"{config.lengths.sample_prompts} prompts per sampling step; {config.limit or 'all'} evaluation items"
        )


def report(
    records: Sequence[Record], wanted: Sequence[RunConfig], *, as_json: bool, beside: Sequence[str] = ()
) -> None:
    """The records as JSON, or a summary, the task's table and what it says. Raises typer.Exit(1) when a cell failed.

    `wanted` are the cells as they were asked for, and `beside` the options that none of them keeps.
    """
    if as_json:
        values = [record.model_dump(mode="json") for record in records]
        emit_json(values[0] if len(values) == 1 else values)
    else:
        for record in records:
            say(line(summary(record)))
        _stand(records, wanted, beside)
    failed = [record for record in records if record.status == "failed"]
    for record in failed:
        complain(f"run {record.id} failed: {record.failure.reason if record.failure else record.reason}")
    if failed:
        raise typer.Exit(FAILED)


def _stand(records: Sequence[Record], wanted: Sequence[RunConfig], beside: Sequence[str]) -> None:
    """Where the runs stand; a table that cannot be made is a remark, for the runs are done and kept."""
    say("")
    try:
        shown = show_tables([wanted[0].store], task=records[0].task.name, beside=records)
    except HarnessError as error:
        note(f"no table: {error}")
        return
    say("\n".join(["", *words(shown, wanted, beside)]))


def _which(record: Record) -> str:
    """The fold, and whether it is a control, in the line of a run."""
    fold = record.data.fold
    return f"{', labels shuffled' if record.data.shuffled_labels else ''}" + (
        "" if fold is None else f", fold {fold.index + 1} of {fold.of}"
    )


def summary(record: Record) -> str:
    """One line: what ran, its main score with interval, and what it spent."""
    spent, score = record.spent, record.scores.get(record.task.main_metric)
    figure = "no score"
    if score is not None:
        interval = f" [{score.ci95[0]:.3f}, {score.ci95[1]:.3f}]" if score.ci95 else ""
        figure = f"{record.task.main_metric} {score.mean:.3f}{interval} on {score.n}"
    reason = f" ({record.reason})" if record.reason else ""
    if record.outputs is not None:
        of = f"outputs of {record.outputs.generator} in {record.outputs.file} on {record.task.name}"
        return f"{of}: {record.status}{reason}; {figure}; run {record.id}"
    what = f"{record.aligner.name} on {record.task.name}, seed {record.seed.training}{_which(record)}"
    return (
        f"{what}: {record.status}{reason}; {figure}; "
        f"{spent.labels} labels, {spent.flops:.2e} FLOPs, {spent.seconds.total:.0f} s; run {record.id}"
    )
