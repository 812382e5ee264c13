"""Building records: from a plan, what a fit left, and scores, to the one file that leaderboards read."""

from __future__ import annotations

import datetime
import math
import os
import platform
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.contracts import (
    HasFallingMetrics,
    HasNoReferences,
    HasParityMetric,
    HasRelativeMetrics,
    NeedsControl,
    Scores,
    Task,
)
from harness.data.clipping import Clipping
from harness.models.load import device_kind
from harness.records.provenance import origin, packages
from harness.records.schema import (
    AlignerInfo,
    BudgetInfo,
    DataInfo,
    Failure,
    FoldInfo,
    Inference,
    Lost,
    Manifest,
    ModelInfo,
    OutputsInfo,
    Record,
    Score,
    Seconds,
    SeedInfo,
    Spent,
    Status,
    TaskInfo,
)
from harness.run.folds import chosen_fold
from harness.run.identity import family
from harness.run.job import FIT_BACKEND, FitReport
from harness.run.plan import BASE_ALIGNER, REFERENCE, Plan, rating_ids
from harness.stats import mean_interval
from harness.util.memory import peak_memory


@dataclass(frozen=True)
class CellOutcome:
    """What a cell came to: the fit's report, the evaluation, or a failure."""

    fit: FitReport = field(default_factory=FitReport)
    scores: Scores = field(default_factory=lambda: Scores(()))
    inference: Inference = field(default_factory=Inference)
    seconds_load: float = 0.0
    seconds_evaluate: float = 0.0
    parameters: int = 0
    """Weights of the base model."""
    engines: Mapping[str, str] = field(default_factory=dict)
    """What computed each part of the answers, where the backend has several parts."""
    warnings: tuple[str, ...] = ()
    """What makes it doubtful that these are the fitted model's answers."""
    restarts: int = 0
    """How often the evaluation was begun before."""
    compared: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The runs whose answers were compared with: id, and hash of their samples."""
    without_effect: bool = False
    """Whether a fitted adapter left every item's answer as base gives it."""
    failure: Failure | None = None
    clipping: Clipping | None = None
    """What the study's lengths cut of the labelled pairs; None where none were drawn."""


def build_record(plan: Plan, outcome: CellOutcome, provenance: Mapping[str, str]) -> Record:
    """The record of a cell, finished or failed."""
    failure = outcome.failure
    status, reason = _status(outcome)
    aligner = _aligner_info(plan, outcome.fit, without_effect=outcome.without_effect)
    task = _task_info(plan, outcome.scores)
    return Record(
        id=plan.run_id,
        status=status,
        reason=reason,
        failure=failure,
        aligner=aligner,
        task=task,
        model=_model_info(plan, outcome),
        data=_data_info(plan, outcome.clipping),
        budget=BudgetInfo(**plan.config.budget.model_dump(), profile=plan.config.profile),
        spent=_spent(plan, outcome),
        scores=summarise(outcome.scores, task.halves(aligner.name)),
        manifest=_manifest(plan, outcome, provenance),
        seed=SeedInfo(draw=plan.config.draw_seed, training=plan.config.seed),
        outputs=_outputs_info(plan),
    )


def _status(outcome: CellOutcome) -> tuple[Status, str | None]:
    """How the cell ended, and why where it is not `ok`: labels without a difference teach nothing."""
    if outcome.failure:
        return "failed", outcome.failure.reason
    cut = outcome.clipping
    if outcome.fit.status == "ok" and cut and len(cut.equal) == cut.pairs:
        return "degenerate", f"both answers of all {cut.pairs} labelled pairs are equal once cut to the study's length"
    return outcome.fit.status, outcome.fit.reason


def summarise(scores: Scores, halves: Collection[str] = ()) -> dict[str, Score]:
    """Mean and interval of every metric of the rows, over independent units; metrics of the whole set as they are.

    `halves` are metrics of which the model has one half by definition.
    """
    summary: dict[str, Score] = {}
    for name in sorted({name for row in scores.rows for name in row.values}):
        rows = [row for row in scores.rows if name in row.values]
        values, units = [row.values[name] for row in rows], [row.unit for row in rows]
        found = mean_interval(values, units, half_by_definition=name in halves)
        summary[name] = Score(mean=found.mean, ci95=found.ci95, n=found.n)
    return summary | {name: Score(mean=w.value, ci95=w.ci95, n=w.n, whole=True) for name, w in scores.whole.items()}


def _aligner_info(plan: Plan, fit: FitReport, *, without_effect: bool) -> AlignerInfo:
    values = plan.aligner_config.model_dump(mode="json", by_alias=True)
    defaults = type(plan.aligner_config)().model_dump(mode="json", by_alias=True)
    return AlignerInfo(
        name=plan.aligner_class.name,
        version=plan.aligner_class.version,
        paper=plan.aligner_class.paper,
        fit_id=plan.fit_id,
        config=values if fit.config is None else fit.config,
        changed={k: v for k, v in values.items() if defaults.get(k) != v},
        trials=fit.trials,
        liveness={k: v for k, v in fit.liveness.items() if math.isfinite(v)},
        adapter_hash=fit.adapter_hash,
        parameter_change=fit.parameter_change,
        without_effect=without_effect,
    )


def _baseline(plan: Plan) -> str | None:
    """What answers were in fact judged against: a task without references is judged against what it names instead."""
    named = plan.config.baseline
    return plan.task.reference_baseline if named == REFERENCE and isinstance(plan.task, HasNoReferences) else named


def _task_info(plan: Plan, scores: Scores) -> TaskInfo:
    main = _main_metric(plan.task, plan.config.budget.track)
    return TaskInfo(
        name=plan.config.task,
        revision=plan.task_revision,
        main_metric=main,
        limit=plan.config.limit,
        num_fewshot=plan.config.num_fewshot,
        generate=plan.config.generate,
        n_items=sum(main in row.values for row in scores.rows),
        judge=plan.config.judge,
        judge_version=plan.judge_version,
        baseline=_baseline(plan),
        null_by=plan.task.null_by if isinstance(plan.task, NeedsControl) else None,
        notes=dict(scores.notes),
        lower_is_better=tuple(sorted(plan.task.lower_is_better)) if isinstance(plan.task, HasFallingMetrics) else (),
        relative_to_base=_relative(plan.task),
    )


def _relative(task: Task) -> tuple[str, ...]:
    return tuple(sorted(task.relative_to_base)) if isinstance(task, HasRelativeMetrics) else ()


def _main_metric(task: Task, track: str) -> str:
    """The figure that a table is about: on track `parity` that of other tools, where the task has its own."""
    return task.parity_metric if track == "parity" and isinstance(task, HasParityMetric) else task.main_metric


def _model_info(plan: Plan, outcome: CellOutcome) -> ModelInfo:
    return ModelInfo(
        name=plan.files.name,
        weights_hash=plan.files.weights_hash,
        parameters=outcome.parameters,
        precision=plan.machine.precision,
        device=plan.machine.device,
        backend=plan.config.backend,
        fit_backend=None if plan.config.aligner == BASE_ALIGNER or plan.stand_in is not None else FIT_BACKEND,
        engines=dict(outcome.engines),
        warnings=outcome.warnings,
        lora=plan.config.lora.model_dump(),
        lengths=plan.lengths.model_dump(),
        trust_remote_code=plan.files.trust_remote_code,
    )


def _data_info(plan: Plan, clipping: Clipping | None) -> DataInfo:
    return DataInfo(
        source=plan.source.describe(),
        pool=plan.pool.name,
        pool_revision=plan.pool_revision,
        pair_ids=tuple(p.id for p in plan.few_shot.pairs),
        prompt_ids=tuple(p.id for p in plan.few_shot.prompts),
        rating_ids=rating_ids(plan.few_shot.groups),
        auxiliary_groups=tuple(plan.few_shot.auxiliary),
        fold=_fold(plan),
        shuffled_labels=plan.config.shuffle_labels,
        dropped_leaks=plan.labels.dropped,
        rows=plan.labels.left_out.rows,
        dropped=plan.labels.left_out.reasons,
        dropped_held_out=plan.labels.left_out_held.reasons,
        clipped={**(clipping.shares if clipping else {}), **plan.cut},
        warnings=plan.labels.warnings,
    )


def _outputs_info(plan: Plan) -> OutputsInfo | None:
    if plan.stand_in is None or plan.config.outputs is None:
        return None
    outputs = plan.stand_in.outputs
    return OutputsInfo(generator=outputs.generator, file=plan.config.outputs.name, sha256=outputs.sha256)


def _fold(plan: Plan) -> FoldInfo | None:
    fold = chosen_fold(plan.config)
    return None if fold is None else FoldInfo(index=fold[0], of=fold[1])


def _spent(plan: Plan, outcome: CellOutcome) -> Spent:
    report = outcome.fit
    counted = asdict(report.spend)
    load, fit, evaluate = report.seconds_load + outcome.seconds_load, report.seconds_fit, outcome.seconds_evaluate
    shown = min(plan.config.num_fewshot, len(plan.few_shot.pairs))
    memory = max(report.peak_memory_bytes, peak_memory(plan.machine.device))
    return Spent(
        **{**counted, "labels": max(report.spend.labels, shown)},
        peak_memory_bytes=memory,
        seconds=Seconds(load=load, fit=fit, evaluate=evaluate, total=load + fit + evaluate),
        inference=outcome.inference,
        lost=Lost(restarts=report.lost.restarts + outcome.restarts, seconds=report.lost.seconds),
    )


def _manifest(plan: Plan, outcome: CellOutcome, provenance: Mapping[str, str]) -> Manifest:
    here = origin()
    used = {
        f"aligner:{plan.aligner_class.name}",
        f"task:{family(plan.config.task)}",
        f"pool:{plan.pool.name}",
        f"model:{plan.files.name}",
        f"backend:{plan.config.backend}",
        *(f"judge:{family(name)}" for name in (plan.config.judge, plan.fit_judge) if name),
    }
    planned = {**plan.pool_rows, **plan.task_rows}
    return Manifest(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=tuple(sys.orig_argv),
        packages=packages(),
        plugins={name: where for name, where in provenance.items() if name in used},
        platform=platform.platform(),
        python=platform.python_version(),
        device=_device_name(plan.machine.device),
        threads=plan.machine.threads,
        git_commit=here.commit,
        git_dirty=here.dirty,
        code_files=here.files,
        code_url=here.url,
        settings=_settings(plan),
        decisive={name: dict(section) for name, section in plan.decisive.items()},
        compared={name: dict(run) for name, run in outcome.compared.items()},
        also_read={name: read.as_json() for name, read in plan.source.read.items() if name not in planned},
    )


def _settings(plan: Plan) -> dict[str, Any]:
    """The cell as a config file asks for it: undivided data say so, since a small file is else divided in folds."""
    values = plan.config.model_dump(mode="json", exclude={"store"})
    return {**values, "folds": values["folds"] or 1}


def _device_name(device: str) -> str:
    if device == "cuda":
        return device_kind(device)
    return f"cpu ({platform.machine()}, {os.cpu_count()} cores)"
