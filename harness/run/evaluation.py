"""Scoring a cell: the base model with the fit's result is asked what the task asks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contracts import (
    Aligned,
    Engine,
    EvalContext,
    HarnessError,
    HasParts,
    Loads,
    SampleRow,
    Scores,
    capabilities,
)
from harness.contracts.progress import Progress
from harness.fit.demands import able
from harness.meter import Meter
from harness.models.templates import clock
from harness.records.schema import Inference
from harness.run.identity import base_basis
from harness.run.job import RESULT, SHARED, FitReport
from harness.run.outputs import StandIn
from harness.run.plan import Plan
from harness.run.recording import CellOutcome
from harness.run.scores import check_scores
from harness.run.session import Session
from harness.util.checked import Damaged, read_checked_json, write_checked_json
from harness.util.hashes import content_hash

if TYPE_CHECKING:
    from harness.judging.open import Judges
    from harness.lm.kept import KeptCalls


@dataclass(frozen=True)
class Against:
    """Other runs' rows, by id, that a cell's answers are held against; None where there are none."""

    base: Mapping[str, SampleRow] | None
    baseline: Mapping[str, SampleRow] | None
    runs: Mapping[str, Mapping[str, str]]
    """Which runs those are: id, and hash of their samples, under `base` and `baseline`."""


def evaluate(plan: Plan, session: Session, against: Against, fitted: FitReport) -> CellOutcome:
    """Score what was fitted, with the engine of the cell's backend. Raises HarnessError for a task without items."""
    import torch

    from harness.lm.language_model import ModelAligned
    from harness.lm.resumable import resumable

    if plan.stand_in is not None:
        return _from_file(plan, plan.stand_in, session, against, fitted)
    torch.set_num_threads(plan.machine.threads)
    torch.manual_seed(plan.config.seed)
    engine, seconds_load = session.engine(plan)
    parameters = engine.parameters
    folder = session.store.eval_dir(plan.run_id)
    starts = _begun(folder / "starts.json")

    def waiting() -> None:
        session.progress.note(f"another process gathers the same answers as run {plan.run_id}; waiting for it")

    alone = session.store.lock(f"answers-{plan.answers_id}", waiting)
    meter, result = Meter(), session.store.fit_dir(plan.fit_id) / RESULT
    changed = bool(fitted.parameter_change)
    with alone:
        began = time.monotonic()
        with adapted(engine, result, changed=changed), engine.metered(meter), _as_planned(plan):
            seconds_load += time.monotonic() - began
            answers = _answers_of(plan, session) / "responses.jsonl"
            aligned = result_of(plan, engine, result, meter, None if changed else _kept(plan, session))
            offered = capabilities(aligned)
            if isinstance(aligned, ModelAligned):  # which has every method, whatever its engine can do
                offered &= able(session.registry.backend(plan.config.backend))
            asked = resumable(aligned, answers, meter, offered=offered, progress=_shown(plan, session.progress))
            started = time.monotonic()
            scores = plan.task.evaluate(asked, _context(plan, session, against))
            seconds = time.monotonic() - started + asked.seconds_before
            engines = engine.parts() if isinstance(engine, HasParts) else {}
    _check(scores, plan)
    spend = meter.spend
    return CellOutcome(
        fit=fitted,
        scores=scores,
        inference=Inference(
            generated_tokens=spend.generated_tokens, forward_tokens=spend.forward_tokens, flops=spend.flops
        ),
        seconds_load=seconds_load,
        seconds_evaluate=seconds,
        parameters=parameters,
        engines=engines,
        restarts=starts,
    )


def _from_file(plan: Plan, stand_in: StandIn, session: Session, against: Against, fitted: FitReport) -> CellOutcome:
    """Score answers that are there already: no model but a judge's is opened, and nothing of their cost is known."""
    started = time.monotonic()
    with _as_planned(plan) if plan.config.judge is not None else contextlib.nullcontext():
        scores = plan.task.evaluate(stand_in, _context(plan, session, against))
    _check(scores, plan)
    return CellOutcome(fit=fitted, scores=scores, seconds_evaluate=time.monotonic() - started)


@contextlib.contextmanager
def _as_planned(plan: Plan) -> Iterator[None]:
    """Inside, models compute with the threads and the paths of the plan."""
    import torch

    from harness.lm.paths import paths

    torch.set_num_threads(plan.machine.threads)
    with paths(plan.machine.fast_paths):
        yield


def _begun(file: Path) -> int:
    """How often this evaluation was begun before; 0 where the file says nothing true."""
    try:
        starts = int(read_checked_json(file) or 0)
    except Damaged:
        starts = 0
    write_checked_json(file, starts + 1)
    return starts


def _answers_of(plan: Plan, session: Session) -> Path:
    """Where the model's answers are kept while it is evaluated; those to a judged task stay, for another judge."""
    store = session.store
    return store.eval_dir(plan.run_id) if plan.judge_version is None else store.answers_dir(plan.answers_id)


def _shown(plan: Plan, progress: Progress) -> Callable[[str, int, int], None]:
    """Shows the model's work as one stage per kind of question; a task need not report its own."""
    current: list[str] = []

    def show(kind: str, done: int, total: int) -> None:
        if current != [kind]:
            current[:] = [kind]
            progress.stage(f"evaluate {plan.config.aligner} on {plan.config.task}: {kind}", total)
        progress.advance(done, total)

    return show


def _context(plan: Plan, session: Session, against: Against) -> EvalContext:
    config = plan.config
    return EvalContext(
        source=plan.source,
        limit=config.limit,
        num_fewshot=config.num_fewshot,
        seed=config.seed,
        demonstrations=plan.few_shot.pairs,
        track=config.budget.track,
        pool=plan.pool,
        judge=None if config.judge is None else _judges(plan, session).get(config.judge),
        baseline=against.baseline,
        base=against.base,
        groups=plan.few_shot.groups,
        auxiliary=plan.few_shot.auxiliary,
        new_tokens=plan.lengths.new_tokens,
        generate=config.generate,
        training_pairs=plan.labels.training_pairs,
    )


def _judges(plan: Plan, session: Session) -> Judges:
    from harness.judging.open import Judges

    return Judges(
        session.registry,
        session.store.judge_caches,
        plan.config.model,
        plan.machine.device,
        _shown(plan, session.progress),
        files=plan.judge_models,
        basis=lambda name: judge_basis(plan, name),
    )


OF_AN_EVALUATION = ("device", "kind", "threads", "fast_paths", "python", "environment")
"""Of a machine's settings, what decides a judge's figures; its model has a precision of its own."""


def judge_basis(plan: Plan, name: str) -> str:
    """Hash of everything that decides what a judge's model, called `name`, says of a text in this cell's evaluation."""
    fit, answers = plan.decisive["fit"], plan.decisive["answers"]
    files = plan.judge_models[name]
    model = [dict(files.contents), files.trust_remote_code, clock(files.folder)]
    machine = {name: fit["machine"][name] for name in OF_AN_EVALUATION}
    code = [fit["code"]["harness"], fit["libraries"], answers["code"], answers["libraries"]]
    return content_hash(model, machine, code, plan.decisive["judgement"]["judge"])


@contextlib.contextmanager
def adapted(engine: Engine, result: Path, *, changed: bool) -> Iterator[None]:
    """The fit's adapter on the model, taken off afterwards.

    An adapter that changes nothing (base, icl) is not loaded: the plain model is the same and faster.
    """
    if not changed:
        yield
        return
    engine.load(result)
    try:
        yield
    finally:
        engine.drop()


def _kept(plan: Plan, session: Session) -> KeptCalls:
    """What evaluations of the plain model share: with all that decides its figures, and which engine gives them."""
    from harness.lm.kept import KeptCalls

    answers = plan.decisive["answers"]
    basis = content_hash(base_basis(plan.decisive["fit"]), [answers[name] for name in ("backend", "code", "libraries")])
    return KeptCalls(session.store.root / SHARED, basis)


def result_of(plan: Plan, engine: Engine, result: Path, meter: Meter, kept: KeptCalls | None = None) -> Aligned:
    """What the fit left, around the engine."""
    from harness.lm.language_model import ModelAligned, demonstrations

    lengths, aligner = plan.lengths, plan.aligner_class
    inner = ModelAligned(engine, lengths.prompt, lengths.completion, demonstrations(result), meter=meter, kept=kept)
    return aligner.load(inner, result) if issubclass(aligner, Loads) else inner


def _check(scores: Scores, plan: Plan) -> None:
    if not scores.rows:
        raise HarnessError(f"task {plan.task.name} has no items in {plan.source.describe()}")
    check_scores(plan.task, scores)
