"""Plan, fit, evaluate, record: one cell at a time. Writes through the store only.

    RunConfig -> Plan -> (fit in a child process) -> Aligned -> Task.evaluate -> Record
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.budget import Meter
from harness.config import RunConfig
from harness.contracts import EvalContext, FewShot, HarnessError, Pair, Pool, SampleRow, Scores, Source, Task
from harness.progress import Progress, Silent
from harness.record import (
    AlignerInfo,
    BudgetInfo,
    DataInfo,
    Failure,
    Inference,
    Lost,
    Manifest,
    ModelInfo,
    Record,
    Score,
    SeedInfo,
    Seconds,
    Spent,
    Status,
    TaskInfo,
)
from harness.store import Store, read_json, read_samples, write_json
from harness.text import content_hash

if TYPE_CHECKING:
    from harness.models import ModelFiles
    from harness.registry import Registry

BASE_ALIGNER = "base"
# The libraries whose version can change a result.
DECISIVE = ("torch", "transformers", "trl", "peft", "lm-eval", "tokenizers", "numpy")
LISTED = (*DECISIVE, "align-harness", "datasets", "accelerate", "pydantic", "pluggy", "scikit-learn", "alpaca-eval", "vllm")


@dataclass(frozen=True)
class Plan:
    """Everything that decides a cell, before anything is computed."""

    config: RunConfig
    task: Task
    pool: Pool
    source: Source
    files: ModelFiles
    aligner_class: Any
    aligner_config: Any
    few_shot: FewShot
    training_pairs: tuple[Pair, ...]
    dropped: tuple[str, ...]
    warnings: tuple[str, ...]
    device: str
    precision: str
    threads: int
    task_revision: str
    pool_revision: str
    fit_id: str
    run_id: str


@dataclass
class Session:
    """What several cells of one process share: the registry, the store, and the loaded model."""

    registry: Registry
    store: Store
    progress: Progress = field(default_factory=Silent)
    _loaded: tuple[str, Any, Any, float] | None = None

    def model(self, plan: Plan) -> tuple[Any, Any, float]:
        """(model, tokenizer, seconds to load); loaded once."""
        from harness.models import load

        key = f"{plan.files.folder}|{plan.device}|{plan.precision}"
        if self._loaded is None or self._loaded[0] != key:
            self.progress.stage("load the model")
            started = time.monotonic()
            model, tokenizer = load(plan.files, device=plan.device, precision=plan.precision)
            self._loaded = (key, model, tokenizer, time.monotonic() - started)
        return self._loaded[1], self._loaded[2], self._loaded[3]


def run(config: RunConfig, *, registry: Registry, observer: Progress | None = None) -> Record:
    """Run one cell (and the base cell it is compared with) unless its record exists already.

    Raises HarnessError for input at fault; a cell that fails while it runs gives a record with status `failed`.
    """
    session = Session(registry, Store(config.store), observer or Silent())
    return run_cell(config, session)


def run_cell(config: RunConfig, session: Session) -> Record:
    """`run` inside a session."""
    plan = make_plan(config, session)
    base = _base_rows(plan, session)
    known = _finished(plan, session)
    if known is not None:
        session.progress.note(f"run {known.id} exists already")
        return known

    def waiting() -> None:
        session.progress.note(f"another process works on run {plan.run_id}; waiting for it")

    with session.store.lock(plan.run_id, waiting):
        return _finished(plan, session) or _execute(plan, session, base)


def _finished(plan: Plan, session: Session) -> Record | None:
    record = session.store.record(plan.run_id)
    return None if record is None or record.status == "failed" else record


def _base_rows(plan: Plan, session: Session) -> dict[str, SampleRow] | None:
    """The base model's rows on the same items; evaluated now if they are not there yet."""
    if plan.config.aligner == BASE_ALIGNER:
        return None
    record = run_cell(base_config(plan.config), session)
    if record.status == "failed":
        raise HarnessError(f"the base model's run {record.id} failed: {record.reason}")
    rows = read_samples(session.store.run_dir(record.id) / "samples.parquet")
    return {row.id: row for row in rows}


def base_config(config: RunConfig) -> RunConfig:
    """The base cell that belongs to a cell: seeds do not matter to it, the draw only where it is shown in the prompt."""
    draw_seed = config.draw_seed if config.num_fewshot else 0
    return config.model_copy(update={"aligner": BASE_ALIGNER, "aligner_config": {}, "seed": 0, "draw_seed": draw_seed})


# ---------------------------------------------------------------- plan


def make_plan(config: RunConfig, session: Session) -> Plan:
    """Resolve names, load data, draw, check for leaks, and compute the identity of the cell."""
    from harness.data import open_source
    from harness.models import pick_device, resolve

    registry = session.registry
    aligner_class = registry.aligner(config.aligner)
    aligner_config = _validated(aligner_class, config.aligner_config)
    task = registry.task(config.task)()
    pool = registry.pool(config.train_on or task.default_pool)()
    device, precision = pick_device(config.device)
    source = open_source(config.data, pool.dataset)
    session.progress.note(f"data: {source.describe()}")
    files = resolve(
        config.model,
        registry_models=registry.models,
        revision=config.model_revision,
        trust_remote_code=config.trust_remote_code,
        say=session.progress.note,
    )
    few_shot, training_pairs, dropped, warnings = _labels(config, task, pool, source, aligner_class)
    for line in warnings:
        session.progress.note(line)
    task_revision = task.revision(source)
    pool_revision = pool.revision(source)
    threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    fit_id = _fit_id(config, aligner_class, aligner_config, few_shot, files, pool, pool_revision, device, precision, threads)
    run_id = content_hash(
        fit_id, config.task, task_revision, pool.name, pool_revision, source.kind, config.limit, config.num_fewshot,
        config.budget.track, config.judge,
        [p.id for p in few_shot.pairs[: config.num_fewshot]],
    )[:16]  # fmt: skip
    return Plan(
        config, task, pool, source, files, aligner_class, aligner_config, few_shot, training_pairs, dropped, warnings,
        device, precision, threads, task_revision, pool_revision, fit_id, run_id,
    )  # fmt: skip


def _validated(aligner_class: Any, values: Mapping[str, Any]) -> Any:
    try:
        return aligner_class.Config.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "config"
        known = ", ".join(aligner_class.Config.model_fields)
        raise HarnessError(
            f"aligner.{key} of {aligner_class.name}: {first['msg']}; its settings are: {known or 'none'}"
        ) from error


def _labels(
    config: RunConfig, task: Task, pool: Pool, source: Any, aligner_class: Any
) -> tuple[FewShot, tuple[Pair, ...], tuple[str, ...], tuple[str, ...]]:
    """(what the budget buys, all labelled pairs that stay, leaked ids, warnings); nothing where nothing is needed."""
    from harness.data import draw, find_leaks

    needs_labels = bool(aligner_class.needs) or config.num_fewshot > 0
    try:
        pairs = tuple(pool.pairs(source))
    except HarnessError:
        if needs_labels:
            raise
        return FewShot(), (), (), (f"pool {pool.name}: no training rows in this source",)
    dropped = find_leaks(dict(pool.questions(source)), dict(task.questions(source, config.limit)))
    kept = tuple(p for p in pairs if p.id not in set(dropped))
    if not needs_labels:
        return FewShot(), kept, dropped, ()
    drawn = draw(pool, source, config.budget, config.draw_seed, excluded=dropped)
    return drawn.few_shot, kept, dropped, tuple(drawn.warnings)


def _fit_id(
    config: RunConfig, aligner_class: Any, aligner_config: Any, few_shot: FewShot, files: ModelFiles, pool: Pool,
    pool_revision: str, device: str, precision: str, threads: int,
) -> str:  # fmt: skip
    """Hash of everything that can change the adapter. What needs no label does not depend on the draw or the budget."""
    common = (
        files.weights_hash, config.lora.model_dump(), config.lengths.model_dump(), precision, aligner_class.name,
        aligner_class.version, aligner_config.model_dump(mode="json"), config.backend, device, threads,
        config.checkpoint_steps, {name: _version(name) for name in DECISIVE},
    )  # fmt: skip
    if not aligner_class.needs:
        return content_hash(*common)[:16]
    return content_hash(
        *common, pool.name, pool_revision, [p.id for p in few_shot.pairs], [p.id for p in few_shot.prompts],
        config.budget.model_dump(), config.draw_seed, config.seed,
    )[:16]  # fmt: skip


# ---------------------------------------------------------------- execute


def _execute(plan: Plan, session: Session, base: Mapping[str, SampleRow] | None) -> Record:
    try:
        fitted = _fit(plan, session)
        if "failure" in fitted:
            failure = Failure(**fitted["failure"])
            return _publish_failed(plan, session, failure)
        scores, spend, seconds, n = _evaluate(plan, session, base)
    except (HarnessError, KeyboardInterrupt):
        raise
    except Exception as error:
        tail = "".join(traceback.format_exception(error))[-4000:]
        return _publish_failed(plan, session, Failure(reason=f"{type(error).__name__}: {error}", traceback=tail))
    record = _record(plan, session, fitted, scores, spend, seconds, n)
    session.store.publish(record, scores.rows, session.store.fit_dir(plan.fit_id))
    return record


def _fit(plan: Plan, session: Session) -> dict[str, Any]:
    """The fit's summary: found, or made by a child process that knows nothing of the task."""
    folder = session.store.fit_dir(plan.fit_id)

    def waiting() -> None:
        session.progress.note(f"another process fits {plan.fit_id}; waiting for it")

    with session.store.lock(plan.fit_id, waiting) as handle:
        done = read_json(folder / "fit.json")
        if done is not None:
            return dict(done)
        write_json(folder / "job.json", _job(plan, session))
        code = _spawn(folder, session.progress, handle)
    if code == 0:
        return dict(read_json(folder / "fit.json") or {})
    refused = read_json(folder / "refused.json")
    if code == 2 and refused is not None:
        raise HarnessError(refused["reason"])
    tail = (folder / "stderr.log").read_text(errors="replace")[-4000:]
    lines = [line for line in tail.strip().splitlines() if line.strip()]
    how = f"killed by signal {-code}" if code < 0 else (lines[-1] if lines else f"exit status {code}")
    return {"failure": {"reason": f"fit of {plan.config.aligner}: {how}", "traceback": tail}}


def _job(plan: Plan, session: Session) -> dict[str, Any]:
    from harness.worker import few_shot_to_json

    config = plan.config
    return {
        "aligner": plan.aligner_class.name,
        "aligner_config": plan.aligner_config.model_dump(mode="json", by_alias=True),
        "few_shot": few_shot_to_json(plan.few_shot),
        "files": {**asdict(plan.files), "folder": str(plan.files.folder)},
        "device": plan.device,
        "precision": plan.precision,
        "threads": plan.threads,
        "lora": config.lora.model_dump(),
        "regime": {
            "batch": config.budget.batch,
            "min_steps": config.budget.min_steps,
            "selection": config.budget.selection,
            "prompt_tokens": config.lengths.prompt,
            "completion_tokens": config.lengths.completion,
            "new_tokens": config.lengths.new_tokens,
            "sample_prompts": config.lengths.sample_prompts,
            "device": plan.device,
            "precision": plan.precision,
        },
        "cap_flops": config.budget.cap_flops if config.budget.track == "labels+compute" else None,
        "seed": config.seed,
        "checkpoint_steps": config.checkpoint_steps,
        "pool": plan.pool.name,
        "data": config.data if plan.source.kind == "folder" else plan.source.kind,
        "plugins": session.registry.plugins,
        "allow": sorted(session.registry.allow) if session.registry.allow is not None else None,
    }


def _spawn(folder: Path, progress: Progress, lock: int) -> int:
    """Run the worker; it holds the lock too, so that nobody fits the same cell while a dying worker lives on."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with (folder / "stderr.log").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.worker", str(folder.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            pass_fds=(lock,),
        )
        try:
            for line in process.stdout or ():
                _forward(line, progress)
            return process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _forward(line: bytes, progress: Progress) -> None:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        kind, *arguments = json.loads(line)
        calls: dict[str, Any] = {"stage": progress.stage, "advance": progress.advance, "note": progress.note}
        calls[kind](*arguments)


def _evaluate(
    plan: Plan, session: Session, base: Mapping[str, SampleRow] | None
) -> tuple[Scores, Inference, dict[str, float], int]:
    """(scores, inference cost, seconds, times it was begun before)."""
    import torch

    from harness.aligned import Resumable
    from harness.metering import flop_model, metered

    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.config.seed)
    model, tokenizer, seconds_load = session.model(plan)
    folder = session.store.eval_dir(plan.run_id)
    starts = read_json(folder / "starts.json") or 0
    write_json(folder / "starts.json", starts + 1)
    session.progress.stage(f"evaluate {plan.config.aligner} on {plan.config.task}")

    def shown(stage: str, done: int, total: int) -> None:
        session.progress.advance(done, total)

    with _adapted(plan, session, model) as (active, aligned):
        meter = Meter()
        meter.attach(flop_model(active))
        resumable = Resumable(aligned(tokenizer), folder / "responses.jsonl", meter, progress=shown)
        started = time.monotonic()
        with metered(active, meter):
            scores = plan.task.evaluate(resumable, _context(plan, base, shown))
        seconds = time.monotonic() - started + resumable.seconds_before
    _check(scores, plan)
    spend = meter.spend
    cost = Inference(
        generated_tokens=spend.generated_tokens, forward_tokens=spend.forward_tokens, flops=spend.flops
    )
    return scores, cost, {"load": seconds_load, "evaluate": seconds}, starts


def _context(plan: Plan, base: Mapping[str, SampleRow] | None, progress: Any) -> EvalContext:
    config = plan.config
    return EvalContext(
        source=plan.source,
        limit=config.limit,
        num_fewshot=config.num_fewshot,
        seed=config.seed,
        demonstrations=plan.few_shot.pairs,
        track=config.budget.track,
        pool=plan.pool,
        base=base,
        progress=progress,
        training_pairs=plan.training_pairs,
    )


@contextlib.contextmanager
def _adapted(plan: Plan, session: Session, model: Any) -> Iterator[tuple[Any, Any]]:
    """(the model with the fit's adapter, a function from tokenizer to Aligned); the adapter is taken off afterwards.

    An adapter that changes nothing (base, icl) is not loaded: the plain model is the same and faster.
    """
    from peft import PeftModel

    from harness.aligned import ModelAligned, demonstrations
    from harness.backends.hf import HfBackend

    result = session.store.fit_dir(plan.fit_id) / "result"
    summary = read_json(session.store.fit_dir(plan.fit_id) / "fit.json") or {}
    lengths = plan.config.lengths
    active = PeftModel.from_pretrained(model, str(result)) if summary.get("parameter_change") else model
    active.eval()

    def make(tokenizer: Any) -> ModelAligned:
        backend = HfBackend(active, tokenizer)
        return ModelAligned(backend, lengths.prompt, lengths.completion, demonstrations(result))

    try:
        yield active, make
    finally:
        if active is not model:
            active.unload()
            vars(model).pop("peft_config", None)


def _check(scores: Scores, plan: Plan) -> None:
    if not scores.rows:
        raise HarnessError(f"task {plan.task.name} has no items in {plan.source.kind} data")
    for row in scores.rows:
        bad = [name for name, value in row.values.items() if value != value]
        if bad:
            raise ValueError(f"sample {row.id}: {bad[0]} is not a number")


# ---------------------------------------------------------------- record


def _record(
    plan: Plan, session: Session, fitted: Mapping[str, Any], scores: Scores, cost: Inference,
    seconds: Mapping[str, float], eval_restarts: int,
) -> Record:  # fmt: skip
    from harness.worker import peak_memory

    spend, fit_seconds = fitted["spend"], fitted["seconds"]
    load = float(fit_seconds["load"]) + seconds["load"]
    total = load + float(fit_seconds["fit"]) + seconds["evaluate"]
    shown = plan.config.num_fewshot if not plan.aligner_class.needs else 0
    spent = Spent(
        labels=max(spend["labels"], min(shown, len(plan.few_shot.pairs))),
        auxiliary_labels=spend["auxiliary_labels"],
        prompts=spend["prompts"],
        generated_tokens=spend["generated_tokens"],
        forward_tokens=spend["forward_tokens"],
        trained_tokens=spend["trained_tokens"],
        optimizer_steps=spend["optimizer_steps"],
        flops=spend["flops"],
        seconds=Seconds(load=load, fit=fit_seconds["fit"], evaluate=seconds["evaluate"], total=total),
        peak_memory_bytes=max(int(fitted["peak_memory_bytes"]), peak_memory(plan.device)),
        inference=cost,
        lost=Lost(restarts=int(fitted["lost"]["restarts"]) + eval_restarts, seconds=fitted["lost"]["seconds"]),
    )
    return _assemble(plan, session, fitted["status"], fitted["reason"], None, fitted, spent, scores)


def _publish_failed(plan: Plan, session: Session, failure: Failure) -> Record:
    zero = Seconds(load=0.0, fit=0.0, evaluate=0.0, total=0.0)
    spent = Spent(
        labels=0, auxiliary_labels=0, prompts=0, generated_tokens=0, forward_tokens=0, trained_tokens=0,
        optimizer_steps=0, flops=0.0, seconds=zero, peak_memory_bytes=0, inference=Inference(), lost=Lost(),
    )  # fmt: skip
    record = _assemble(plan, session, "failed", failure.reason, failure, {}, spent, Scores(()))
    session.store.publish(record, (), None)
    return record


def _assemble(
    plan: Plan, session: Session, status: Status, reason: str | None, failure: Failure | None,
    fitted: Mapping[str, Any], spent: Spent, scores: Scores,
) -> Record:  # fmt: skip
    config = plan.config
    return Record(
        id=plan.run_id,
        status=status,
        reason=reason,
        failure=failure,
        aligner=_aligner_info(plan, fitted),
        task=TaskInfo(
            name=config.task,
            revision=plan.task_revision,
            main_metric=plan.task.main_metric,
            limit=config.limit,
            num_fewshot=config.num_fewshot,
            n_items=len(scores.rows),
            judge=config.judge,
            notes=dict(scores.notes),
        ),
        model=ModelInfo(
            name=plan.files.name,
            weights_hash=plan.files.weights_hash,
            parameters=int(fitted.get("parameters", 0)),
            precision=plan.precision,
            device=plan.device,
            backend=config.backend,
            lora=config.lora.model_dump(),
            lengths=config.lengths.model_dump(),
        ),
        data=DataInfo(
            source=plan.source.describe(),
            pool=plan.pool.name,
            pool_revision=plan.pool_revision,
            pair_ids=tuple(p.id for p in plan.few_shot.pairs),
            prompt_ids=tuple(p.id for p in plan.few_shot.prompts),
            dropped_leaks=plan.dropped,
            warnings=plan.warnings,
        ),
        budget=BudgetInfo(**config.budget.model_dump(), profile=config.profile),
        spent=spent,
        scores=summarise(scores),
        manifest=manifest(plan, session),
        seed=SeedInfo(draw=config.draw_seed, training=config.seed),
    )


def _aligner_info(plan: Plan, fitted: Mapping[str, Any]) -> AlignerInfo:
    values = plan.aligner_config.model_dump(mode="json", by_alias=True)
    defaults = type(plan.aligner_config)().model_dump(mode="json", by_alias=True)
    return AlignerInfo(
        name=plan.aligner_class.name,
        version=plan.aligner_class.version,
        paper=plan.aligner_class.paper,
        fit_id=plan.fit_id,
        config=values,
        changed={k: v for k, v in values.items() if defaults.get(k) != v},
        liveness=dict(fitted.get("liveness", {})),
        adapter_hash=fitted.get("adapter_hash"),
        parameter_change=fitted.get("parameter_change"),
    )


def summarise(scores: Scores) -> dict[str, Score]:
    """Mean and interval of every metric, over independent units."""
    from harness.stats import mean_interval

    metrics = sorted({name for row in scores.rows for name in row.values})
    summary: dict[str, Score] = {}
    for name in metrics:
        rows = [row for row in scores.rows if name in row.values]
        found = mean_interval([row.values[name] for row in rows], [row.unit for row in rows])
        summary[name] = Score(mean=found.mean, ci95=found.ci95, n=found.n)
    return summary


def manifest(plan: Plan, session: Session) -> Manifest:
    """What produced the record."""
    commit, dirty = git_state()
    used = {
        f"aligner:{plan.aligner_class.name}",
        f"task:{plan.config.task}",
        f"pool:{plan.pool.name}",
        f"model:{plan.files.name}",
        f"backend:{plan.config.backend}",
    }
    return Manifest(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=tuple(sys.orig_argv),
        packages={name: version for name in LISTED if (version := _version(name)) is not None},
        plugins={name: where for name, where in session.registry.provenance.items() if name in used},
        platform=platform.platform(),
        python=platform.python_version(),
        device=_device_name(plan.device),
        threads=plan.threads,
        git_commit=commit,
        git_dirty=dirty,
    )


def _device_name(device: str) -> str:
    if device == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    return f"cpu ({platform.machine()}, {os.cpu_count()} cores)"


def git_state() -> tuple[str | None, bool | None]:
    """(commit, dirty) of the checkout that this package runs from; (None, None) when it is no checkout of ours."""
    here = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    if top is None or not (Path(top) / "harness" / "contracts.py").exists():
        return None, None
    changed = git("status", "--porcelain", "--", "harness", "aligners", "tasks", "leaderboards")
    return git("rev-parse", "HEAD"), None if changed is None else bool(changed)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cells(config: RunConfig, seeds: Sequence[int]) -> list[RunConfig]:
    """The same cell under several training seeds."""
    return [config.model_copy(update={"seed": seed}) for seed in seeds]


__all__ = ["Session", "base_config", "cells", "make_plan", "run", "run_cell"]
