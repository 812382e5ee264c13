"""Fitting a cell: the fit's report is found, or made by a child process that knows nothing of the task."""

from __future__ import annotations

import contextlib
import importlib
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import FewShot, GoldAnswers, HarnessError, Pool, Regime
from harness.fit.demands import takes
from harness.records.schema import Failure
from harness.run.identity import base_basis
from harness.run.job import (
    AGAIN,
    FIT_BACKEND,
    JOB,
    STARTS,
    STDERR,
    STOPPED,
    UNFITTED,
    FitJob,
    FitReport,
    Stopped,
    read_model,
    read_starts,
    write_model,
)
from harness.run.launch import run_worker
from harness.run.plan import BASE_ALIGNER, Plan
from harness.run.session import Session
from harness.run.trust import report

if TYPE_CHECKING:
    from harness.plugins.registry import Registry

TAIL = 4000
"""Characters of a dead worker's last words that a record keeps."""


class FitKilled(Exception):
    """A signal ended a fit. Nothing that the fit did is at fault, and another start may end well."""


def fit(plan: Plan, session: Session) -> FitReport | Failure:
    """The fit's report, or why there is none.

    Raises HarnessError where the fit refused its input, and FitKilled where a signal ended it and whoever asked for the
    cell starts it again.
    """
    if plan.config.aligner == BASE_ALIGNER or plan.stand_in is not None:
        return UNFITTED
    folder = session.store.fit_dir(plan.fit_id)

    def waiting() -> None:
        session.progress.note(f"another process fits {plan.fit_id}; waiting for it")

    with session.store.lock(plan.fit_id, waiting) as handle:
        done = report(plan, session.store, session.progress)
        if done is not None:
            return done
        session.release()
        write_model(folder / JOB, job_of(plan, session.registry))
        threading.Thread(target=_import_ahead, daemon=True).start()
        code = _started(plan, session, folder, handle)
        if code == AGAIN:
            code = _started(plan, session, folder, handle)
        done = report(plan, session.store, session.progress) if code == 0 else None
        if done is not None:
            return done
        write_model(folder / STARTS, read_starts(folder).ended())
    failure = _failure(plan, folder, code)
    if code < 0 and session.starts_again:
        raise FitKilled(failure.reason)
    return failure


def _started(plan: Plan, session: Session, folder: Path, handle: int) -> int:
    """Run the worker to its end; its exit status."""
    write_model(folder / STARTS, read_starts(folder).begun())
    (folder / STOPPED).unlink(missing_ok=True)
    hear, together = _teller(plan.run_id, session), plan.config.processes
    return run_worker(folder, handle, plan.machine.threads, hear, forked=session.forks, processes=together)


def job_of(plan: Plan, registry: Registry) -> FitJob:
    """All that the worker is told."""
    config, machine = plan.config, plan.machine
    return FitJob(
        fit_id=plan.fit_id,
        aligner=plan.aligner_class.name,
        aligner_config=plan.aligner_config.model_dump(mode="json", by_alias=True),
        few_shot=_portable(plan.few_shot, plan.pool, wanted="verifier" in takes(plan.aligner_class)),
        files=plan.files,
        model=config.model,
        judge_models=dict(plan.judge_models),
        backend=FIT_BACKEND,
        code=plan.decisive["fit"]["code"],
        base=base_basis(plan.decisive["fit"]),
        regime=Regime(config.budget, plan.lengths, machine.device, machine.precision),
        lora=config.lora,
        threads=machine.threads,
        processes=config.processes,
        sharding=plan.sharding,
        fast_paths=machine.fast_paths,
        gradient_checkpointing=config.gradient_checkpointing,
        seed=config.seed,
        checkpoint_steps=config.checkpoint_steps,
        plugins=registry.plugins,
        allow=registry.allow,
    )


def _portable(few_shot: FewShot, pool: Pool, *, wanted: bool) -> FewShot:
    """What was drawn, its verifier cut to these items. Raises HarnessError for a verifier that is no data."""
    verifier = few_shot.verifier if wanted else None
    if verifier is None:
        return replace(few_shot, verifier=None)
    if not isinstance(verifier, GoldAnswers):
        raise HarnessError(
            f"the verifier of pool {pool.name} is a {type(verifier).__name__}; contracts.GoldAnswers was expected, "
            "because a fit receives data and not the pool"
        )
    drawn = {pair.id for pair in few_shot.pairs} | {prompt.id for prompt in few_shot.prompts}
    return replace(few_shot, verifier=verifier.about(drawn))


def _teller(run_id: str, session: Session) -> Callable[[str, list[Any]], None]:
    """Passes the worker's events on: progress to whoever watches, entries of the log to the observers."""
    progress = session.progress

    def log(event: dict[str, Any]) -> None:
        session.tell("logged", run_id, event)

    calls: dict[str, Callable[..., None]] = {
        "stage": progress.stage,
        "advance": progress.advance,
        "note": progress.note,
        "log": log,
    }
    return lambda kind, arguments: calls[kind](*arguments)


def _import_ahead() -> None:
    """Import what the evaluation needs while the worker, on another core, imports the same: seconds on either side.

    Whatever fails here fails again, and is reported, where it is used.
    """
    for module in ("torch", "peft", "harness.lm.language_model", "harness.lm.decoding"):
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def _failure(plan: Plan, folder: Path, code: int) -> Failure:
    killed = code < 0  # then the other processes of a fit of several only say that they lost this one
    stopped = None if killed else read_model(folder / STOPPED, Stopped)
    if stopped is not None and stopped.kind == "refused":
        raise HarnessError(stopped.reason)
    fit = f"fit of {plan.config.aligner}"
    if stopped is not None:
        return Failure(reason=f"{fit}: {stopped.reason}", traceback=stopped.traceback)
    tail = (folder / STDERR).read_text(errors="replace")[-TAIL:]
    return Failure(reason=f"{fit}: {_end_in_words(code, tail)}", traceback=tail)


def _end_in_words(code: int, tail: str) -> str:
    """How a process ended that could not say so itself."""
    if code == 0:
        return "the process ended by itself before the fit was done"
    if code < 0:
        memory = "; the machine may have run out of memory" if -code == signal.SIGKILL else ""
        return f"killed by signal {-code} ({signal.Signals(-code).name}){memory}"
    lines = [line for line in tail.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {code}"
