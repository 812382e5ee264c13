"""Run a cell: fit in a child process, evaluate, record. Writes through the store only.

RunConfig -> Plan -> (fit in a child process) -> Aligned -> Task.evaluate -> Record
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.config import RunConfig
from harness.contracts import HarnessError, SampleRow, SaysWhatIsMissing
from harness.contracts.progress import Progress, Silent
from harness.data.clipping import Clipping, measure
from harness.records.schema import Failure, Record
from harness.records.store import SAMPLES, Store
from harness.records.texts import is_hashed, without_texts
from harness.records.unchanged import same_answers, unmoved
from harness.run.evaluation import Against, evaluate
from harness.run.fitting import FitKilled, fit
from harness.run.job import JOB, FitReport
from harness.run.plan import BASE_ALIGNER, REFERENCE, Plan, make_plan
from harness.run.recording import CellOutcome, build_record
from harness.run.session import Keeping, Session
from harness.run.showing import show_answers
from harness.run.trust import finished, refuse_edited
from harness.run.worker import in_words

if TYPE_CHECKING:
    from harness.plugins.registry import Registry

TAIL = 4000
"""Characters of a traceback that a record keeps."""


def run(
    config: RunConfig, *, registry: Registry, observer: Progress | None = None, keeping: Keeping | None = None
) -> Record:
    """Run one cell (and the base cell it is compared with) unless its record exists already.

    Raises HarnessError for input at fault; a cell that fails while it runs gives a record with status `failed`.
    """
    kept = keeping or Keeping()
    session = Session(registry, Store(config.store), observer or Silent(), kept)
    if kept.force:
        _set_aside(config, session)
    record = run_cell(config, session)
    if kept.show and record.status != "failed":
        show_answers(record, config, session, kept.show)
    return record


def _set_aside(config: RunConfig, session: Session) -> None:
    plan = make_plan(config, session.registry, Silent(), models=session.models)
    with session.store.lock(plan.fit_id, lambda: None), session.store.lock(plan.run_id, lambda: None):
        aside = session.store.set_aside(plan.run_id, plan.fit_id, plan.answers_id)
    if aside is not None:
        session.progress.note(f"run {named(plan)} is computed again; what was there is kept in {aside}")


def run_cell(
    config: RunConfig,
    session: Session,
    threads: int | None = None,
    *,
    accept: Callable[[Plan], None] | None = None,
) -> Record:
    """`run` inside a session; `threads` is the number that the cell which asks for this one computes with.

    `accept` sees what would be computed and raises HarnessError where that is not what was asked for.
    """
    plan = make_plan(config, session.registry, session.progress, threads=threads, models=session.models)
    refuse_edited(plan, session.registry)
    if accept is not None:
        accept(plan)
    against = _against(plan, session)
    known = finished(plan, session.store, against.runs, session.progress)
    if known is not None:
        session.progress.note(f"run {named(plan)} exists already")
        return known

    def waiting() -> None:
        session.progress.note(f"another process works on run {named(plan)}; waiting for it")

    with session.store.lock(plan.run_id, waiting):
        known = finished(plan, session.store, against.runs, Silent())
        return known or _observed(plan, session, against)


def named(plan: Plan) -> str:
    """A cell's id, and what people call it."""
    config = plan.config
    return f"{plan.run_id} ({config.aligner} on {config.task}, seed {config.seed})"


def _observed(plan: Plan, session: Session, against: Against) -> Record:
    """Execute the cell, and tell the observers when it starts and how it ends.

    Raises HarnessError where a judge says that it cannot judge, before anything is fitted or generated.
    """
    for name in (plan.config.judge, plan.fit_judge):
        judge: object = session.registry.judge(name)() if name is not None else None
        if isinstance(judge, SaysWhatIsMissing):
            judge.ready()
    summary = {
        "config": plan.config.model_dump(mode="json"),
        "fit_id": plan.fit_id,
        "task_revision": plan.task_revision,
    }
    session.tell("started", plan.run_id, summary)
    session.store.begin(plan.start_id, plan.machine.threads)
    record = _execute(plan, session, against)
    if record.status != "failed":
        session.store.end(plan.start_id)
    session.tell("finished", plan.run_id, record.model_dump(mode="json"))
    return record


def _against(plan: Plan, session: Session) -> Against:
    """The rows that this cell's are held against; the base model is evaluated now if it was not yet."""
    base = None if plan.config.aligner == BASE_ALIGNER else _base_record(plan.base_config, plan, session)
    baseline = _baseline_record(plan, session)
    named = {"base": base, "baseline": baseline}
    runs = {
        role: {"run": record.id, "samples": record.manifest.files[SAMPLES]}
        for role, record in named.items()
        if record is not None
    }
    if baseline is not None:
        _refuse_hashed(baseline, session)
    return Against(_rows_of(base, session), _rows_of(baseline, session), runs)


def _refuse_hashed(baseline: Record, session: Session) -> None:
    """Raise HarnessError where answers would be judged against hashes."""
    if any(is_hashed(row.detail.get("output")) for row in session.store.samples(baseline)):
        raise HarnessError(
            f"run {baseline.id}, the baseline, stored hashes in place of its answers (--no-texts); compute it again "
            "with --force and without --no-texts"
        )


def _base_record(config: RunConfig, plan: Plan, session: Session) -> Record:
    record = run_cell(config, session, plan.machine.threads)
    if record.status == "failed":
        raise HarnessError(f"the base model's run {record.id} failed: {record.reason}")
    return record


def _rows_of(record: Record | None, session: Session) -> dict[str, SampleRow] | None:
    return None if record is None else {row.id: row for row in session.store.samples(record)}


def _baseline_record(plan: Plan, session: Session) -> Record | None:
    """The run that answers are judged against; None where the task's own references are meant.

    Raises HarnessError for a run that is not there or scored other items.
    """
    named = plan.config.baseline
    if named in (None, REFERENCE):
        return None
    if named == BASE_ALIGNER:  # its answers do not depend on what they were judged against
        return _base_record(plan.base_config.model_copy(update={"baseline": REFERENCE}), plan, session)
    record = session.store.record(str(named))
    if record is None or record.status == "failed" or record.task.name != plan.config.task:
        what = "is not in the store" if record is None else "is of another task"
        what = "failed" if record is not None and record.status == "failed" else what
        raise HarnessError(f"baseline {named!r} {what}; a finished run of task {plan.config.task!r} was expected")
    if record.task.revision != plan.task_revision:
        raise HarnessError(
            f"baseline {named!r} answered another revision of task {plan.config.task!r}; compute it again"
        )
    return record


def _execute(plan: Plan, session: Session, against: Against) -> Record:
    try:
        outcome = _outcome(plan, session, against)
    except (HarnessError, FitKilled, KeyboardInterrupt):
        raise
    except Exception as error:
        tail = "".join(traceback.format_exception(error))[-TAIL:]
        outcome = CellOutcome(failure=Failure(reason=in_words(error), traceback=tail))
    record = build_record(plan, outcome, session.registry.provenance)
    fit = None if outcome.failure else session.store.fit_dir(plan.fit_id)
    texts = session.keeping.texts
    record = session.store.publish(record, outcome.scores.rows if texts else without_texts(outcome.scores.rows), fit)
    if not texts:
        _forget_texts(plan, session.store)
    return record


def _forget_texts(plan: Plan, store: Store) -> None:
    """Delete what a finished cell left of labels and answers beside its record."""
    (store.fit_dir(plan.fit_id) / JOB).unlink(missing_ok=True)
    shutil.rmtree(store.answers_dir(plan.answers_id), ignore_errors=True)


def _outcome(plan: Plan, session: Session, against: Against) -> CellOutcome:
    clipping = _clipping(plan, session)
    fitted = fit(plan, session)
    if isinstance(fitted, Failure):
        return CellOutcome(failure=fitted, clipping=clipping)
    outcome = evaluate(plan, session, against, fitted)
    unchanged = _without_effect(plan, fitted, outcome, against)
    warnings = unmoved(outcome.scores.rows, against.base, fitted.parameter_change)
    weaker = f"the fitted adapter of {plan.config.aligner} changes no answer: every item has that of base"
    for line in warnings or ((weaker,) if unchanged else ()):
        session.progress.note(line)
    return replace(outcome, clipping=clipping, compared=against.runs, without_effect=unchanged, warnings=warnings)


def _without_effect(plan: Plan, fitted: FitReport, outcome: CellOutcome, against: Against) -> bool:
    if fitted.adapter_hash is None or against.base is None:
        return False
    return same_answers(outcome.scores.rows, against.base, plan.task.main_metric)


def _clipping(plan: Plan, session: Session) -> Clipping | None:
    """What the study's lengths cut of the labelled pairs, counted and told before anything is trained."""
    from harness.models.tokenizer import kept_tokenizer

    lengths = plan.lengths
    if not plan.few_shot.pairs:
        return None
    limits = {"prompt": lengths.prompt, "completion": lengths.completion}
    found = measure(kept_tokenizer(plan.files), plan.few_shot.pairs, **limits)
    for line in found.lines(**limits, what="labelled pairs"):
        session.progress.note(line)
    return found
