"""From what was asked to what will run: names resolved, data read, labels drawn, leaks dropped, identity computed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.config import RunConfig
from harness.contracts import (
    Aligner,
    AsksJudge,
    Budget,
    ComparesWithReference,
    DeclaresSpans,
    FewShot,
    FollowsPool,
    HarnessError,
    HasDataset,
    Judged,
    Pair,
    Pool,
    Ratings,
    Source,
    Task,
    settled,
)
from harness.contracts.progress import Progress
from harness.data.draw import draw
from harness.data.leaks import find_leaks
from harness.data.left_out import Said, left_out
from harness.data.sources import open_source
from harness.fit.demands import refuse_unable, refuse_unmet, takes
from harness.models.find import resolve
from harness.models.load import pick_device, pick_precision
from harness.models.wheels import ModelFiles
from harness.records.provenance import DECISIVE, version
from harness.run.rows import as_asked, left_out_held, notes
from harness.util.hashes import content_hash

if TYPE_CHECKING:
    from harness.plugins.registry import Registry


BASE_ALIGNER = "base"


REFERENCE = "reference"
"""The baseline that is the task's own reference outputs."""


@dataclass(frozen=True)
class Labels:
    """What the budget buys from a pool, and what stays of the pool for shortcut classifiers."""

    few_shot: FewShot = field(default_factory=FewShot)
    training_pairs: tuple[Pair, ...] = ()
    dropped: tuple[str, ...] = ()
    """Ids of pool items that stand in the evaluation."""
    warnings: tuple[str, ...] = ()
    budget: Budget | None = None
    """What was bought, where `max` was asked for; None where it stays as it was asked for."""
    left_out: Said = field(default_factory=Said)
    """What the training rows do not give."""
    left_out_held: Said = field(default_factory=Said)
    """What the held-out rows do not give, where they are rows of their own."""


@dataclass(frozen=True)
class Machine:
    """What a fit runs on."""

    device: str
    precision: str
    threads: int


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
    labels: Labels
    machine: Machine
    task_revision: str
    pool_revision: str
    judge_version: str | None = None
    fit_judge: tuple[str, str] | None = None
    """Name and version of the judge that the aligner asks while it fits."""

    @property
    def few_shot(self) -> FewShot:
        """The drawn labels and prompts."""
        return self.labels.few_shot

    @property
    def fit_id(self) -> str:
        """Hash of everything that can change the adapter; what needs no label depends on no draw and no budget."""
        config = self.config
        parts: list[object] = [
            self.files.weights_hash,
            config.lora.model_dump(),
            config.lengths.model_dump(),
            [self.machine.device, self.machine.precision, self.machine.threads],
            [self.aligner_class.name, self.aligner_class.version, self.aligner_config.model_dump(mode="json")],
            [config.backend, config.checkpoint_steps],
            {name: version(name) for name in DECISIVE},
        ]
        if takes(self.aligner_class):
            few = self.few_shot
            parts += [
                [self.pool.name, self.pool_revision, [p.id for p in few.pairs], [p.id for p in few.prompts]],
                [rating_ids(few.groups), rating_ids(few.auxiliary)],
                [config.budget.model_dump(), config.draw_seed, config.seed],
                ["shuffled labels"] if config.shuffle_labels else [],
                ["positional spans"] if few.spans == "positional" else [],
                list(self.fit_judge or ()),
            ]
        return content_hash(*parts)[:16]

    @property
    def run_id(self) -> str:
        """Hash of the fit and of everything that can change its scores."""
        config = self.config
        shown = [p.id for p in self.few_shot.pairs[: config.num_fewshot]]
        return content_hash(
            self.fit_id,
            [config.task, self.task_revision, config.limit, config.num_fewshot, shown],
            [self.pool.name, self.pool_revision, self.source.describe(), list(self.labels.dropped)],
            [config.budget.track, config.judge, self.judge_version, config.baseline],
            [rating_ids(self.few_shot.groups), rating_ids(self.few_shot.auxiliary)],
        )[:16]

    @property
    def answers_id(self) -> str:
        """Hash of everything that can change a model's answers: `run_id` without who judges them, and against what."""
        config = self.config
        shown = [p.id for p in self.few_shot.pairs[: config.num_fewshot]]
        return content_hash(
            self.fit_id, config.task, self.task_revision, config.limit, shown, self.source.describe(), config.seed
        )[:16]

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
            }
        )


def rating_ids(ratings: Ratings) -> dict[str, list[str]]:
    """Which questions of which group: identity of a draw of opinions."""
    return {group: [rating.question for rating in given] for group, given in ratings.items()}


def make_plan(config: RunConfig, registry: Registry, progress: Progress) -> Plan:
    """Resolve everything that a cell names. Raises HarnessError for what cannot be had."""
    aligner_class = registry.aligner(config.aligner)
    aligner_config = _validated(aligner_class, config.aligner_config)
    task = registry.task(config.task)()
    pool = registry.pool(config.train_on or task.default_pool)()
    task = task.for_pool(pool) if isinstance(task, FollowsPool) else task
    registry.backend(config.backend)
    config = _with_judge(config, task, registry)
    judge_version = None if config.judge is None else registry.judge(config.judge).version
    device = pick_device(config.device)
    own = [task.dataset] if isinstance(task, HasDataset) else []
    source = open_source(config.data, pool.dataset, *own)
    progress.note(f"data: {source.announce()}")
    files = resolve(
        config.model,
        registry_models=registry.models,
        revision=config.model_revision,
        trust_remote_code=config.trust_remote_code,
        say=progress.note,
    )
    pool = as_asked(pool, source, config, files)
    task = task.for_pool(pool) if isinstance(task, FollowsPool) else task
    refuse_unable(task, aligner_class)
    labels = _labels(config, task, pool, source, bool(takes(aligner_class)))
    config = config.model_copy(update={"budget": labels.budget or settled(config.budget, 1)})
    refuse_unmet(aligner_class, labels.few_shot, f"pool {pool.name}")
    for line in (*notes(pool, source), labels.left_out.line, labels.left_out_held.line, *labels.warnings):
        if line:
            progress.note(line)
    return Plan(
        config=config,
        task=task,
        pool=pool,
        source=source,
        files=files,
        aligner_class=aligner_class,
        aligner_config=aligner_config,
        labels=labels,
        machine=Machine(device, pick_precision(config.precision, device, files), thread_count()),
        task_revision=task.revision(source),
        pool_revision=pool.revision(source) if labels.training_pairs or labels.few_shot.groups else "none",
        judge_version=judge_version,
        fit_judge=_fit_judge(aligner_class(aligner_config), registry),
    )


def _fit_judge(aligner: Aligner, registry: Registry) -> tuple[str, str] | None:
    name = aligner.asked_judge if isinstance(aligner, AsksJudge) else None
    return None if name is None else (name, registry.judge(name).version)


def _with_judge(config: RunConfig, task: Task, registry: Registry) -> RunConfig:
    """Judge and baseline, where the user named none. Raises HarnessError where nothing is judged but was asked for."""
    if isinstance(task, Judged):
        judge = config.judge or task.default_judge
        judging: object = registry.judge(judge)
        closeness = isinstance(judging, ComparesWithReference) and judging.compares_with_reference
        baseline = config.baseline or (BASE_ALIGNER if closeness else REFERENCE)
        return config.model_copy(update={"judge": judge, "baseline": baseline})
    asked = {"judge": config.judge, "baseline": config.baseline}
    for option, value in asked.items():
        if value is not None:
            raise HarnessError(
                f"task {config.task!r} judges no answers, but --{option} {value} was given; leave it out"
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


def _labels(config: RunConfig, task: Task, pool: Pool, source: Source, needed: bool) -> Labels:
    """Drawn where something is trained or shown, or where groups are asked: the draw says which.

    A source with evaluation rows only still serves the base model.
    """
    try:
        pairs = tuple(pool.pairs(source))
    except HarnessError as error:
        if needed or config.num_fewshot:
            raise
        return Labels(warnings=(f"no training rows: {error}",))
    dropped = find_leaks(pool.questions(source), task.questions(source, config.limit))
    leaked = set(dropped)
    kept = tuple(p for p in pairs if p.id not in leaked)
    budget = settled(config.budget, len(kept) or _most_ratings(pool, source))
    said = left_out(pool, source, leaks=sum(pair.id in leaked for pair in pairs))
    held = left_out_held(pool, task, source)
    warnings = tuple(line for line in (said.warning, held.warning) if line)
    if not (needed or config.num_fewshot or (not pairs and pool.groups(source))):
        return Labels(
            training_pairs=kept, dropped=dropped, warnings=warnings, budget=budget, left_out=said, left_out_held=held
        )
    drawn = draw(pool, source, budget, config.draw_seed, excluded=dropped, split=config.groups)
    few_shot = _shuffled(drawn.few_shot, pool, config.draw_seed) if config.shuffle_labels else drawn.few_shot
    few_shot = replace(few_shot, spans=pool.spans if isinstance(pool, DeclaresSpans) else "marker")
    return Labels(few_shot, kept, dropped, (*warnings, *drawn.warnings), budget, said, held)


def _most_ratings(pool: Pool, source: Source) -> int:
    """Labels that the group with the most answers can give: half of them, as the draw leaves the others to predict."""
    return max((len(ratings) // 2 for ratings in pool.groups(source).values()), default=0)


def _shuffled(few_shot: FewShot, pool: Pool, seed: int) -> FewShot:
    """Half of the pairs, picked by hash, with their answers swapped: what can be learnt from no label at all."""
    if not few_shot.pairs:
        raise HarnessError(f"pool {pool.name!r} has no pairs whose labels could be shuffled; drop --shuffle-labels")
    order = sorted(few_shot.pairs, key=lambda pair: content_hash(seed, "shuffle", pair.id))
    swapped = {pair.id for pair in order[: len(order) // 2]}
    pairs = (replace(p, chosen=p.rejected, rejected=p.chosen) if p.id in swapped else p for p in few_shot.pairs)
    return replace(few_shot, pairs=tuple(pairs))
