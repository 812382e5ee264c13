"""Run a cell: fit in a child process, evaluate, record. Writes through the store only.

RunConfig -> Plan -> (fit in a child process) -> Aligned -> Task.evaluate -> Record
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import RunConfig
from harness.contracts import (
    Aligned,
    EvalContext,
    HarnessError,
    Loads,
    SampleRow,
    SaysWhatIsMissing,
    Scores,
)
from harness.contracts.progress import Progress, Silent
from harness.data.clipping import Clipping, measure
from harness.meter import Meter
from harness.records.samples import read_samples
from harness.records.schema import Failure, Inference, Record
from harness.records.store import Store
from harness.run.plan import BASE_ALIGNER, REFERENCE, Plan, make_plan
from harness.run.recording import UNFITTED, Outcome, build_record
from harness.run.scores import check_scores
from harness.run.worker import few_shot_to_json
from harness.util.files import read_json, write_json

if TYPE_CHECKING:
    from harness.judging.open import Judges
    from harness.plugins.registry import Registry

TAIL = 4000
"""Characters of a traceback that a record keeps."""


@dataclass
class Session:
    """What several cells of one process share: the registry, the store, and the loaded model."""

    registry: Registry
    store: Store
    progress: Progress = field(default_factory=Silent)
    _loaded: tuple[str, Any, Any, float] | None = None

    def model(self, plan: Plan) -> tuple[Any, Any, float]:
        """(model, tokenizer, seconds to load); loaded once."""
        from harness.models.load import load

        machine = plan.machine
        key = f"{plan.files.folder}|{machine.device}|{machine.precision}"
        if self._loaded is None or self._loaded[0] != key:
            self.progress.stage("load the model")
            started = time.monotonic()
            model, tokenizer = load(plan.files, device=machine.device, precision=machine.precision)
            self._loaded = (key, model, tokenizer, time.monotonic() - started)
        return self._loaded[1], self._loaded[2], self._loaded[3]

    def tell(self, event: str, run_id: str, facts: Mapping[str, Any]) -> None:
        """Call every observer; one that raises is reported and ignored."""
        for name, observer in self.registry.observers.items():
            try:
                getattr(observer, event)(run_id, facts)
            except Exception as error:  # a tracker must not take a run down
                self.progress.note(f"observer {name} failed when a run {event}: {type(error).__name__}: {error}")

    def release(self) -> None:
        """Give the model's memory to the child that fits; loading it again takes less than the fit."""
        self._loaded = None
        gc.collect()


@dataclass(frozen=True)
class Against:
    """Other runs' rows, by id, that a cell's answers are held against; None where there are none."""

    base: Mapping[str, SampleRow] | None
    baseline: Mapping[str, SampleRow] | None


def run(config: RunConfig, *, registry: Registry, observer: Progress | None = None) -> Record:
    """Run one cell (and the base cell it is compared with) unless its record exists already.

    Raises HarnessError for input at fault; a cell that fails while it runs gives a record with status `failed`.
    """
    return run_cell(config, Session(registry, Store(config.store), observer or Silent()))


def run_cell(config: RunConfig, session: Session) -> Record:
    """`run` inside a session."""
    plan = make_plan(config, session.registry, session.progress)
    base = _base_rows(plan, session)
    known = _finished(plan, session)
    if known is not None:
        session.progress.note(f"run {known.id} exists already")
        return known
    against = Against(base, _baseline_rows(plan, session))

    def waiting() -> None:
        session.progress.note(f"another process works on run {plan.run_id}; waiting for it")

    with session.store.lock(plan.run_id, waiting):
        return _finished(plan, session) or _observed(plan, session, against)


def _observed(plan: Plan, session: Session, against: Against) -> Record:
    """Execute the cell, and tell the observers when it starts and how it ends.

    Raises HarnessError where a judge says that it cannot judge, before anything is fitted or generated.
    """
    for name in (plan.config.judge, *(plan.fit_judge or ())[:1]):
        judge: object = session.registry.judge(name)() if name is not None else None
        if isinstance(judge, SaysWhatIsMissing):
            judge.ready()
    summary = {
        "config": plan.config.model_dump(mode="json"),
        "fit_id": plan.fit_id,
        "task_revision": plan.task_revision,
    }
    session.tell("started", plan.run_id, summary)
    record = _execute(plan, session, against)
    session.tell("finished", plan.run_id, record.model_dump(mode="json"))
    return record


def _finished(plan: Plan, session: Session) -> Record | None:
    record = session.store.record(plan.run_id)
    return None if record is None or record.status == "failed" else record


def _base_rows(plan: Plan, session: Session) -> dict[str, SampleRow] | None:
    """The base model's rows on the same items; evaluated now if they are not there yet."""
    if plan.config.aligner == BASE_ALIGNER:
        return None
    return _rows_of(_base_record(plan.base_config, session), session)


def _base_record(config: RunConfig, session: Session) -> Record:
    record = run_cell(config, session)
    if record.status == "failed":
        raise HarnessError(f"the base model's run {record.id} failed: {record.reason}")
    return record


def _rows_of(record: Record, session: Session) -> dict[str, SampleRow]:
    rows = read_samples(session.store.run_dir(record.id) / "samples.parquet")
    return {row.id: row for row in rows}


def _baseline_rows(plan: Plan, session: Session) -> dict[str, SampleRow] | None:
    """Rows of the run that answers are judged against; None where the task's own references are meant.

    Raises HarnessError for a run that is not there or scored other items.
    """
    named = plan.config.baseline
    if named in (None, REFERENCE):
        return None
    if named == BASE_ALIGNER:  # its answers do not depend on what they were judged against
        return _rows_of(_base_record(plan.base_config.model_copy(update={"baseline": REFERENCE}), session), session)
    folder = session.store.find(str(named))
    record = session.store.record(folder.name)
    if record is None or record.status == "failed" or record.task.name != plan.config.task:
        what = "failed" if record is not None and record.status == "failed" else "is of another task"
        raise HarnessError(f"baseline {named!r} {what}; a finished run of task {plan.config.task!r} was expected")
    if record.task.revision != plan.task_revision:
        raise HarnessError(f"baseline {named!r} answered another revision of {plan.config.task!r}; run it again")
    return _rows_of(record, session)


def _execute(plan: Plan, session: Session, against: Against) -> Record:
    try:
        outcome = _outcome(plan, session, against)
    except (HarnessError, KeyboardInterrupt):
        raise
    except Exception as error:
        tail = "".join(traceback.format_exception(error))[-TAIL:]
        outcome = Outcome(failure=Failure(reason=f"{type(error).__name__}: {error}", traceback=tail))
    record = build_record(plan, outcome, session.registry.provenance)
    fit = None if outcome.failure else session.store.fit_dir(plan.fit_id)
    session.store.publish(record, outcome.scores.rows, fit)
    return record


def _outcome(plan: Plan, session: Session, against: Against) -> Outcome:
    clipping = _clipping(plan, session)
    fitted = _fit(plan, session)
    if isinstance(fitted, Failure):
        return Outcome(failure=fitted, clipping=clipping)
    return replace(_evaluate(plan, session, against, fitted), clipping=clipping)


def _clipping(plan: Plan, session: Session) -> Clipping | None:
    """What the study's lengths cut of the labelled pairs, counted and told before anything is trained."""
    from harness.models.load import load_tokenizer

    lengths = plan.config.lengths
    if not plan.few_shot.pairs:
        return None
    limits = {"prompt": lengths.prompt, "completion": lengths.completion}
    found = measure(load_tokenizer(plan.files), plan.few_shot.pairs, **limits)
    for line in found.lines(**limits, what="labelled pairs"):
        session.progress.note(line)
    return found


# ---------------------------------------------------------------- fit


def _fit(plan: Plan, session: Session) -> dict[str, Any] | Failure:
    """The fit's summary: found, or made by a child process that knows nothing of the task."""
    if plan.config.aligner == BASE_ALIGNER:
        return dict(UNFITTED)
    folder = session.store.fit_dir(plan.fit_id)

    def waiting() -> None:
        session.progress.note(f"another process fits {plan.fit_id}; waiting for it")

    with session.store.lock(plan.fit_id, waiting) as handle:
        done = read_json(folder / "fit.json")
        if done is not None:
            return dict(done)
        session.release()
        write_json(folder / "job.json", _job(plan, session.registry, session.store))
        threading.Thread(target=_import_ahead, daemon=True).start()
        code = _spawn(folder, handle, lambda line: _forward(line, plan.run_id, session))
    if code == 0:
        return dict(read_json(folder / "fit.json") or {})
    refused = read_json(folder / "refused.json")
    if code == 2 and refused is not None:
        raise HarnessError(refused["reason"])
    return _crash(plan, folder, code)


def _import_ahead() -> None:
    """Import what the evaluation needs while the worker, on another core, imports the same: seconds on either side.

    Whatever fails here fails again, and is reported, where it is used.
    """
    for module in ("torch", "peft", "harness.lm.language_model", "harness.lm.decoding"):
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def _crash(plan: Plan, folder: Path, code: int) -> Failure:
    tail = (folder / "stderr.log").read_text(errors="replace")[-TAIL:]
    lines = [line for line in tail.splitlines() if line.strip()]
    how = f"killed by signal {-code}" if code < 0 else (lines[-1] if lines else f"exit status {code}")
    return Failure(reason=f"fit of {plan.config.aligner}: {how}", traceback=tail)


def _job(plan: Plan, registry: Registry, store: Store) -> dict[str, Any]:
    """All that the worker is told."""
    config, budget, lengths, machine = plan.config, plan.config.budget, plan.config.lengths, plan.machine
    return {
        "aligner": plan.aligner_class.name,
        "aligner_config": plan.aligner_config.model_dump(mode="json", by_alias=True),
        "few_shot": few_shot_to_json(plan.few_shot),
        "files": {**asdict(plan.files), "folder": str(plan.files.folder)},
        "device": machine.device,
        "precision": machine.precision,
        "threads": machine.threads,
        "lora": config.lora.model_dump(),
        "regime": {
            "batch": budget.batch,
            "min_steps": budget.min_steps,
            "selection": budget.selection,
            "prompt_tokens": lengths.prompt,
            "completion_tokens": lengths.completion,
            "new_tokens": lengths.new_tokens,
            "sample_prompts": lengths.sample_prompts,
            "device": machine.device,
            "precision": machine.precision,
        },
        "store": str(store.root.resolve()),
        "model": config.model,
        "cap_flops": budget.cap_flops if budget.track == "labels+compute" else None,
        "seed": config.seed,
        "tune": budget.tune,
        "checkpoint_steps": config.checkpoint_steps,
        "pool": plan.pool.name,
        "data": plan.source.kind if config.data == "auto" else config.data,
        "plugins": registry.plugins,
        "allow": sorted(registry.allow) if registry.allow is not None else None,
    }


def _spawn(folder: Path, lock: int, hear: Callable[[bytes], None]) -> int:
    """Run the worker; it holds the lock too, so that nobody fits the same cell while a dying worker lives on."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with (folder / "stderr.log").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.run.worker", str(folder.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            pass_fds=(lock,),
        )
        try:
            for line in process.stdout or ():
                hear(line)
            return process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _forward(line: bytes, run_id: str, session: Session) -> None:
    """One line of the worker: progress for whoever watches, or an event of the log for the observers."""
    progress = session.progress

    def log(event: dict[str, Any]) -> None:
        session.tell("logged", run_id, event)

    calls: dict[str, Callable[..., None]] = {
        "stage": progress.stage,
        "advance": progress.advance,
        "note": progress.note,
        "log": log,
    }
    with contextlib.suppress(ValueError):
        kind, *arguments = json.loads(line)
        calls[kind](*arguments)


# ---------------------------------------------------------------- evaluate


def _evaluate(plan: Plan, session: Session, against: Against, fitted: Mapping[str, Any]) -> Outcome:
    import torch

    from harness.lm.metering import flop_model, metered
    from harness.lm.resumable import resumable

    torch.set_num_threads(plan.machine.threads)
    torch.manual_seed(plan.config.seed)
    model, tokenizer, seconds_load = session.model(plan)
    parameters = sum(weight.numel() for weight in model.parameters())
    folder = session.store.eval_dir(plan.run_id)
    starts = read_json(folder / "starts.json") or 0
    write_json(folder / "starts.json", starts + 1)

    def waiting() -> None:
        session.progress.note(f"another process gathers the same answers as run {plan.run_id}; waiting for it")

    alone = session.store.lock(f"answers-{plan.answers_id}", waiting)
    meter = Meter()
    with alone, _adapted(plan, session, model, meter, bool(fitted.get("parameter_change"))) as (active, aligned):
        meter.attach(flop_model(active))
        answers = _answers_of(plan, session) / "responses.jsonl"
        asked = resumable(aligned(tokenizer), answers, meter, progress=_shown(plan, session.progress))
        started = time.monotonic()
        with metered(active, meter):
            scores = plan.task.evaluate(asked, _context(plan, session, against))
        seconds = time.monotonic() - started + asked.seconds_before
    _check(scores, plan)
    spend = meter.spend
    return Outcome(
        fit=fitted,
        scores=scores,
        inference=Inference(
            generated_tokens=spend.generated_tokens, forward_tokens=spend.forward_tokens, flops=spend.flops
        ),
        seconds_load=seconds_load,
        seconds_evaluate=seconds,
        parameters=parameters,
        restarts=starts,
    )


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
        training_pairs=plan.labels.training_pairs,
    )


def _judges(plan: Plan, session: Session) -> Judges:
    from harness.judging.open import Judges

    shown = _shown(plan, session.progress)
    return Judges(session.registry, session.store, plan.config.model, plan.machine.device, shown)


@contextlib.contextmanager
def _adapted(plan: Plan, session: Session, model: Any, meter: Meter, changed: bool) -> Iterator[tuple[Any, Any]]:
    """(the model with the fit's adapter, a function from tokenizer to Aligned); the adapter is taken off afterwards.

    An adapter that changes nothing (base, icl) is not loaded: the plain model is the same and faster.
    """
    from peft import PeftModel

    from harness.lm.backends.hf import HfBackend
    from harness.lm.language_model import ModelAligned, demonstrations

    result = session.store.fit_dir(plan.fit_id) / "result"
    lengths = plan.config.lengths
    active = PeftModel.from_pretrained(model, str(result)) if changed else model
    active.eval()

    def make(tokenizer: Any) -> Aligned:
        backend = HfBackend(active, tokenizer)
        inner = ModelAligned(backend, lengths.prompt, lengths.completion, demonstrations(result), meter=meter)
        aligner = plan.aligner_class
        return aligner.load(inner, result) if issubclass(aligner, Loads) else inner

    try:
        yield active, make
    finally:
        if active is not model:
            active.unload()
            vars(model).pop("peft_config", None)


def _check(scores: Scores, plan: Plan) -> None:
    if not scores.rows:
        raise HarnessError(f"task {plan.task.name} has no items in {plan.source.describe()}")
    check_scores(plan.task, scores)
