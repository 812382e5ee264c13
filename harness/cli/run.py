"""`run`: fit an aligner on few-shot preferences, score it on a task, show where it stands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options as shared
from harness.cli.errors import complain
from harness.cli.leaderboard import show_tables
from harness.cli.output import emit_json, note, say
from harness.cli.progress import watching
from harness.cli.resolve import EVERY, Options, cells, parse_seeds
from harness.config import RunConfig
from harness.contracts import HarnessError
from harness.contracts.progress import Progress
from harness.plugins.registry import Registry
from harness.records.schema import Record
from harness.util.safe_text import line

FAILED = 1


def run(
    *,
    aligner: Annotated[
        str | None,
        typer.Option(metavar="NAME[,NAME]|all", help="The methods; see `list aligners`.", show_default=False),
    ] = None,
    task: Annotated[str | None, typer.Option(help="What is scored; see `list tasks`.", show_default=False)] = None,
    model: Annotated[
        str | None, typer.Option(help="Built-in name, hub id or folder; see `models`.", show_default=False)
    ] = None,
    model_revision: Annotated[str | None, typer.Option(help="Revision on the hub.", show_default=False)] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="auto|hub|sample|PATH", help="Where data come from; else HARNESS_DATA, else auto."),
    ] = None,
    train_on: Annotated[
        str | None, typer.Option(metavar="POOL", help="Labels come from this pool instead of the task's own.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="OURS=YOURS,...", help="Columns of your own pairs: prompt=question,chosen=better,..."),
    ] = None,
    split_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names the held-out rows of your own pairs.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="N[,N]|max", help="How many labelled pairs: any number, or all there are.")
    ] = None,
    track: Annotated[
        str | None, typer.Option(metavar="labels|labels+compute|parity", help="How compute is treated.")
    ] = None,
    cap_flops: Annotated[float | None, typer.Option(metavar="X", help="The cap of track labels+compute.")] = None,
    tune: Annotated[
        int | None, typer.Option(metavar="N", help="Compare N trials of hyper-parameters, inside the budget.")
    ] = None,
    seed: Annotated[
        list[str] | None, typer.Option(metavar="N[,N]", help="Training seed; one cell each.", show_default=False)
    ] = None,
    draw_seed: Annotated[
        int | None, typer.Option(metavar="N", help="Which pairs are drawn.", show_default=False)
    ] = None,
    shuffle_labels: Annotated[
        bool, typer.Option("--shuffle-labels", help="Control: swap the answers of half of the labelled pairs.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Evaluate the first N items.", show_default=False)
    ] = None,
    num_fewshot: Annotated[
        int | None, typer.Option(metavar="K", help="Own labelled pairs shown in the prompt.", show_default=False)
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="auto|cpu|cuda", show_default=False)] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="auto|fp32|bf16", help="Of base weights and products.", show_default=False),
    ] = None,
    backend: Annotated[str | None, typer.Option(help="What runs the model.", show_default=False)] = None,
    judge: Annotated[str | None, typer.Option(metavar="NAME", help="For judged tasks.", show_default=False)] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="reference|base|RUN", help="Whose answers are judged against.", show_default=False),
    ] = None,
    store: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where runs are kept (runs).")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="Settings; options override it.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="aligner.lambda=0.4, budget.batch=8, lora.r=8, lengths.prompt=256"
        ),
    ] = None,
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the model repository's own code.")
    ] = False,
    as_json: shared.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")] = False,
) -> None:
    """Fit an aligner within a budget of labels, evaluate it (and the base model) and show the table."""
    registry = shared.registry(no_plugins, plugins)
    shared.tell_skipped(registry)
    typed = Options(
        aligner=aligner,
        task=task,
        model=model,
        model_revision=model_revision,
        data=data,
        train_on=train_on,
        columns=shared.columns_of(columns) or None,
        split_file=split_file,
        budget=budget,
        track=track,
        cap_flops=cap_flops,
        tune=tune,
        seeds=parse_seeds(seed or ()),
        draw_seed=draw_seed,
        shuffle_labels=shuffle_labels or None,
        limit=limit,
        num_fewshot=num_fewshot,
        device=device,
        precision=precision,
        backend=backend,
        judge=judge,
        baseline=baseline,
        store=store,
        trust_remote_code=trust_remote_code or None,
        config=config,
        sets=tuple(sets or ()),
        data_default=os.environ.get("HARNESS_DATA") or None,
        cuda=sees_cuda(),
    )
    configs = cells(typed, registry)
    records = execute(configs, registry, quiet=quiet, forgiving=typed.aligner == EVERY)
    report(records, configs[0].store, as_json=as_json)


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


def execute(configs: Sequence[RunConfig], registry: Registry, *, quiet: bool, forgiving: bool = False) -> list[Record]:
    """Run every cell in turn; progress goes to standard error.

    `forgiving` leaves out, with a note, cells whose input is refused (an aligner that needs what the pool does not
    offer), unless all are.
    """
    from harness.run import engine

    with watching(quiet) as progress:
        announce(configs[0], progress)
        records, refused = [], None
        for config in configs:
            try:
                records.append(engine.run(config, registry=registry, observer=progress))
            except HarnessError as error:
                if not forgiving:
                    raise
                refused = error
                progress.note(f"{config.aligner} is left out: {error}")
        if refused is not None and not records:
            raise refused
        return records


def announce(config: RunConfig, progress: Progress) -> None:
    """Say in one line what a profile changed."""
    if config.profile is not None:
        budget, lengths = config.budget, config.lengths
        progress.note(
            f"profile {config.profile} (default model on CPU, no --budget): {budget.labels} labels, "
            f"{budget.prompts} prompts, batch {budget.batch}, {budget.min_steps} steps; up to {lengths.prompt} tokens "
            f"of prompt, {lengths.completion} of answer, {lengths.new_tokens} sampled; {lengths.sample_prompts} "
            f"prompts per sampling step; {config.limit or 'all'} evaluation items"
        )


def report(records: Sequence[Record], store: Path, *, as_json: bool) -> None:
    """The records as JSON, or a summary and the task's table. Raises typer.Exit(1) when a cell failed."""
    if as_json:
        values = [record.model_dump(mode="json") for record in records]
        emit_json(values[0] if len(values) == 1 else values)
    else:
        for record in records:
            say(line(summary(record)))
        _stand(records, store)
    failed = [record for record in records if record.status == "failed"]
    for record in failed:
        complain(f"run {record.id} failed: {record.failure.reason if record.failure else record.reason}")
    if failed:
        raise typer.Exit(FAILED)


def _stand(records: Sequence[Record], store: Path) -> None:
    """Where the runs stand; a table that cannot be made is a remark, for the runs are done and kept."""
    say("")
    try:
        show_tables(store, task=records[0].task.name)
    except HarnessError as error:
        note(f"no table: {error}")


def summary(record: Record) -> str:
    """One line: what ran, its main score with interval, and what it spent."""
    spent, score = record.spent, record.scores.get(record.task.main_metric)
    figure = "no score"
    if score is not None:
        interval = f" [{score.ci95[0]:.3f}, {score.ci95[1]:.3f}]" if score.ci95 else ""
        figure = f"{record.task.main_metric} {score.mean:.3f}{interval} on {score.n}"
    reason = f" ({record.reason})" if record.reason else ""
    return (
        f"{record.aligner.name} on {record.task.name}, seed {record.seed.training}: {record.status}{reason}; {figure}; "
        f"{spent.labels} labels, {spent.flops:.2e} FLOPs, {spent.seconds.total:.0f} s; run {record.id}"
    )
