"""From what was asked to what will run: names resolved, data read, labels drawn, leaks dropped, identity computed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.config import RunConfig
from harness.contracts import (
    Aligner,
    AsksJudge,
    ComparesWithReference,
    FewShot,
    FollowsPool,
    HarnessError,
    HasDataset,
    Judged,
    JudgedOnRequest,
    Lengths,
    Pool,
    Ratings,
    Regime,
    SaysAhead,
    Source,
    Task,
    WritesOnRequest,
    settled,
)
from harness.contracts.progress import Progress
from harness.data.reading import WatchedSource
from harness.data.sources import open_source
from harness.fit.demands import refuse_unable, refuse_unmet, takes
from harness.fit.sharding import Sharding
from harness.lm.paths import chosen
from harness.lm.speeds import AUTO, USUAL, Where, fastest
from harness.models.find import cache_dir, resolve
from harness.models.load import device_kind, pick_device, pick_precision
from harness.models.wheels import ModelFiles
from harness.records.provenance import Decisive, digest
from harness.records.store import Store
from harness.run.accelerate_file import sharding_of
from harness.run.dividing import gpu_count, refuse_undivided
from harness.run.identity import basis_of, manifest, run_id, without_threads
from harness.run.labels import Labels, draw_labels
from harness.run.lengths import sized
from harness.run.outputs import StandIn, aligner_of, refuse_outputs, stand_in
from harness.run.rows import as_asked, notes
from harness.util.hashes import content_hash, file_hash

if TYPE_CHECKING:
    from harness.plugins.registry import Registry


BASE_ALIGNER = "base"


REFERENCE = "reference"
"""The baseline that is the task's own reference outputs."""


@dataclass(frozen=True)
class Machine:
    """What a fit runs on."""

    device: str
    kind: str
    """What the device is called, where that can change a result: a GPU's product name."""
    precision: str
    threads: int
    fast_paths: bool
    """Whether log-probabilities and trainers take the shared-prefix step, and LoRA is fused."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides a cell, before anything is computed."""

    config: RunConfig
    task: Task
    pool: Pool
    source: WatchedSource
    files: ModelFiles
    aligner_class: Any
    aligner_config: Any
    labels: Labels
    machine: Machine
    lengths: Lengths
    cut: Mapping[str, float]
    """What the lengths cut of the pool, in shares; empty where they are not from the pool."""
    task_revision: str
    pool_revision: str
    pool_rows: Mapping[str, str] = field(default_factory=dict)
    """Hash of the rows of every split that the pool read to give pairs, prompts, groups and verifier."""
    task_rows: Mapping[str, str] = field(default_factory=dict)
    """Hash of the rows of every split that is scored or held out."""
    held_out: str | None = None
    """Hash of the pool's held-out pairs as rendered; None for a pool that has none here."""
    judge_version: str | None = None
    fit_judge: str | None = None
    """The judge that the aligner asks while it fits."""
    judge_models: Mapping[str, ModelFiles] = field(default_factory=dict)
    """Models that judges load, by the names they ask by; "" is the study's own."""
    stand_in: StandIn | None = None
    """What answers in place of a model, where answers come from a file."""
    sharding: Sharding | None = None
    """How several processes of a fit divide the model's weights."""
    baseline_answers: str | None = None
    """Hash of the samples of the run that answers are judged against, where one was named."""
    decisive: Decisive = field(default_factory=dict)
    """The manifest: all of the above that decides, with code, libraries and environment."""

    @property
    def few_shot(self) -> FewShot:
        """The drawn labels and prompts."""
        return self.labels.few_shot

    @cached_property
    def fit_id(self) -> str:
        """Hash of everything that can change the adapter."""
        return digest(self.decisive, "fit")

    @cached_property
    def run_id(self) -> str:
        """Hash of the fit and of everything that can change its scores."""
        return run_id(self.decisive)

    @cached_property
    def answers_id(self) -> str:
        """Hash of everything that can change a model's answers: `run_id` without who judges them, and against what."""
        return digest(self.decisive, "fit", "answers")

    @cached_property
    def start_id(self) -> str:
        """The cell's name whatever the number of threads: under it an unfinished cell keeps its number."""
        return content_hash(without_threads(self.decisive))[:16]

    @property
    def base_config(self) -> RunConfig:
        """The base cell that this one is compared with.

        No seed matters to it; the draw only where it is shown in prompts, or decides which groups are asked what.
        """
        config = self.config
        draw_seed = config.draw_seed if config.num_fewshot or self.few_shot.groups else 0
        return config.model_copy(
            update={
                "aligner": BASE_ALIGNER,
                "aligner_config": {},
                "seed": 0,
                "draw_seed": draw_seed,
                "shuffle_labels": False,
                "outputs": None,
                "processes": 1,
                "accelerate_config": None,
            }
        )


def rating_ids(ratings: Ratings) -> dict[str, list[str]]:
    """Which questions of which group: identity of a draw of opinions."""
    return {group: [rating.question for rating in given] for group, given in ratings.items()}


def make_plan(
    config: RunConfig,
    registry: Registry,
    progress: Progress,
    *,
    threads: int | None = None,
    models: Models | None = None,
    elsewhere: bool = False,
) -> Plan:
    """Resolve everything that a cell names, and hash it. Raises HarnessError for what cannot be had.

    `threads` stands in for the number that an unfinished start of this cell used, or that this machine offers.
    `models` are those that were found before: pass the same one along to hash each model once. `elsewhere`: another
    machine is to compute the cell, and has the GPU that it asks for.
    """
    models = models if models is not None else Models(registry, progress.note)
    plan = _read(config, registry, progress, models, elsewhere=elsewhere)
    if threads is None:
        plan = replace(plan, decisive=manifest(plan, registry))
        threads = Store(config.store).threads_of(plan.start_id) or plan.machine.threads
        if threads == plan.machine.threads:
            return plan
        progress.note(f"this cell was begun with {threads} threads and goes on with as many")
    plan = replace(plan, machine=replace(plan.machine, threads=threads))
    return replace(plan, decisive=manifest(plan, registry))


def _read(config: RunConfig, registry: Registry, progress: Progress, models: Models, *, elsewhere: bool) -> Plan:
    """Everything but the manifest."""
    if config.aligner == BASE_ALIGNER:
        config = config.model_copy(update={"processes": 1, "accelerate_config": None})
    aligner_class = aligner_of(config, registry)
    aligner_config = _validated(aligner_class, config.aligner_config)
    task, pool = _scored(config, registry)
    refuse_outputs(config, task)
    _refuse_unwritten(config, task, registry)
    if config.backend != AUTO:
        registry.backend(config.backend)
    config, baseline_answers = _with_baseline(_with_judge(config, task, registry))
    source = _source(config, task, pool)
    progress.note(f"data: {source.announce()}")
    files = models.get(config.model, config.model_revision, config.trust_remote_code)
    machine = _machine(config, files, elsewhere=elsewhere)
    config = config.model_copy(update={"backend": _backend(config, task, machine, files, registry)})
    other = not isinstance(task, FollowsPool) and pool.name != task.default_pool
    pool, size = as_asked(
        pool, source.view(), config, files, lambda read: sized(config, read, source.view(), files, other_data=other)
    )
    config = config.model_copy(update={"lengths": size.lengths})
    task = task.for_pool(pool) if isinstance(task, FollowsPool) else task
    from_pool, from_task = source.view(), source.view()
    refuse_unable(task, aligner_class, registry.backend(config.backend))
    labels = draw_labels(config, task, pool, bool(takes(aligner_class)), from_pool=from_pool, from_task=from_task)
    refuse_unmet(aligner_class, labels.few_shot, f"pool {pool.name}")
    _refuse_half_shuffled(config, aligner_class, labels.few_shot)
    refuse_undivided(
        config, aligner_class, registry, gpus=None if elsewhere or machine.device == "cpu" else gpu_count()
    )
    sharding = sharding_of(config, progress.note)
    config = config.model_copy(update={"budget": labels.budget or settled(config.budget, 1)})
    said = (labels.left_out.line, labels.left_out_held.line, *labels.warnings)
    for line in (*size.lines, *notes(pool, source.view()), *said):
        if line:
            progress.note(line)
    aligner = aligner_class(aligner_config)
    if isinstance(aligner, SaysAhead):
        regime = Regime(config.budget, size.lengths, machine.device, machine.precision)
        for line in aligner.ahead(regime, labels.few_shot):
            progress.note(line)
    fit_judge = _fit_judge(aligner, registry)
    return Plan(
        config=config,
        task=task,
        pool=pool,
        source=source,
        files=files,
        aligner_class=aligner_class,
        aligner_config=aligner_config,
        labels=labels,
        lengths=size.lengths,
        cut=size.cut,
        machine=machine,
        task_revision=task.revision(from_task),
        pool_revision=pool.revision(from_pool) if labels.training_pairs or labels.few_shot.groups else "none",
        held_out=_held_out(pool, from_task),
        pool_rows=from_pool.hashes(),
        task_rows=from_task.hashes(),
        judge_version=None if config.judge is None else registry.judge(config.judge).version,
        fit_judge=fit_judge,
        judge_models={"": files, **_judge_models((config.judge, fit_judge), registry, models)},
        baseline_answers=baseline_answers,
        stand_in=stand_in(config, task, from_task, files),
        sharding=sharding,
    )


@dataclass
class Models:
    """Models by name, each found and hashed once for as long as this lives."""

    registry: Registry
    say: Callable[[str], None]
    _found: dict[tuple[str, str | None, bool], ModelFiles] = field(default_factory=dict)

    def get(self, name: str, revision: str | None = None, trust_remote_code: bool = False) -> ModelFiles:
        """The model called `name`. Raises HarnessError when it is unknown or cannot be had."""
        key = (name, revision, trust_remote_code)
        if key not in self._found:
            self._found[key] = resolve(
                name,
                registry_models=self.registry.models,
                revision=revision,
                trust_remote_code=trust_remote_code,
                say=self.say,
            )
        return self._found[key]


def _scored(config: RunConfig, registry: Registry) -> tuple[Task, Pool]:
    """The task, on the pool's items where it follows the pool, and the pool."""
    task = registry.task(config.task)()
    pool = registry.pool(config.train_on or task.default_pool)()
    return (task.for_pool(pool) if isinstance(task, FollowsPool) else task), pool


def _source(config: RunConfig, task: Task, pool: Pool) -> WatchedSource:
    own = [task.dataset] if isinstance(task, HasDataset) else []
    return WatchedSource(open_source(config.data, pool.dataset, *own))


def _held_out(pool: Pool, source: Source) -> str | None:
    """The pool's held-out pairs, which a task may score beside its own items."""
    try:
        return content_hash([asdict(pair) for pair in pool.pairs(source, "eval")])
    except HarnessError:  # a source without held-out rows of this pool: whoever scores them says so
        return None


def _machine(config: RunConfig, files: ModelFiles, *, elsewhere: bool) -> Machine:
    device = pick_device(config.device, elsewhere=elsewhere)
    kind, precision = device_kind(device), pick_precision(config.precision, device, files)
    fast = chosen(config.fast_paths, device, kind, files.folder, cache_dir())
    return Machine(device, kind, precision, thread_count(), fast)


def _backend(config: RunConfig, task: Task, machine: Machine, files: ModelFiles, registry: Registry) -> str:
    """The backend; `auto` is the one that was measured to sample fastest where the task samples, else hf."""
    if config.backend != AUTO:
        return config.backend
    if "generate" not in task.requires | task.accepts and not config.generate:
        return USUAL
    return fastest(Where(cache_dir(), machine.kind, files.folder, machine.precision), list(registry.backends))


def _judge_models(judges: Sequence[str | None], registry: Registry, models: Models) -> dict[str, ModelFiles]:
    named = {name for judge in judges if judge is not None for name in basis_of(registry.judge(judge)).models}
    return {name: models.get(name) for name in sorted(named)}


def _with_baseline(config: RunConfig) -> tuple[RunConfig, str | None]:
    """The whole id of a run that was named as baseline, and the hash of its samples."""
    if config.baseline in (None, REFERENCE, BASE_ALIGNER):
        return config, None
    folder = Store(config.store).find(str(config.baseline))
    samples = folder / "samples.parquet"
    return config.model_copy(update={"baseline": folder.name}), file_hash(samples) if samples.is_file() else None


def _refuse_unwritten(config: RunConfig, task: Task, registry: Registry) -> None:
    if config.generate and not isinstance(task, WritesOnRequest):
        able = ", ".join(name for name in sorted(registry.tasks) if hasattr(registry.task(name), "written_metrics"))
        raise HarnessError(f"--generate: task {config.task} has no answers to write beside its own; these have: {able}")


def _refuse_half_shuffled(config: RunConfig, aligner_class: type[Aligner], few_shot: FewShot) -> None:
    """A control that is handed every right answer would be none."""
    if config.shuffle_labels and few_shot.verifier is not None and "verifier" in takes(aligner_class):
        raise HarnessError(
            f"aligner {aligner_class.name} asks a verifier what is right, and --shuffle-labels shuffles pairs only; "
            "drop --shuffle-labels, or take an aligner that learns from pairs alone"
        )


def _fit_judge(aligner: Aligner, registry: Registry) -> str | None:
    """The judge that a fit asks. Raises HarnessError where there is none of that name."""
    name = aligner.asked_judge if isinstance(aligner, AsksJudge) else None
    if name is not None:
        registry.judge(name)
    return name


def _with_judge(config: RunConfig, task: Task, registry: Registry) -> RunConfig:
    """Judge and baseline, where the user named none. Raises HarnessError where nothing is judged but was asked for."""
    named = config.judge or (task.default_judge if isinstance(task, Judged) else None)
    if named is not None and isinstance(task, Judged | JudgedOnRequest):
        judge = named
        judging: object = registry.judge(judge)
        closeness = isinstance(judging, ComparesWithReference) and judging.compares_with_reference
        baseline = config.baseline or (BASE_ALIGNER if closeness else REFERENCE)
        return config.model_copy(update={"judge": judge, "baseline": baseline})
    unless = " unless --judge names who does" if isinstance(task, JudgedOnRequest) else ""
    asked = {"judge": config.judge, "baseline": config.baseline}
    for option, value in asked.items():
        if value is not None:
            raise HarnessError(
                f"task {config.task!r} judges no answers{unless}, but --{option} {value} was given; leave it out"
            )
    return config


def thread_count() -> int:
    """Threads that a fit uses: `OMP_NUM_THREADS`, else the cores this process may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _validated(aligner_class: Any, values: Mapping[str, Any]) -> Any:
    try:
        return aligner_class.Config.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "config"
        known = ", ".join(aligner_class.Config.model_fields) or "none"
        where = f"aligner.{key} of {aligner_class.name}"
        raise HarnessError(f"{where}: {first['msg']}; its settings are: {known}") from error
