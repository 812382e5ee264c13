"""The child process that fits one aligner: `python -m harness.run.worker FOLDER DESCRIPTOR`.

It is given a `FitJob` and nothing of the task. It leaves `result/` and a `FitReport`, or says in `Stopped` why not.
What it tells goes to DESCRIPTOR as JSON lines. When the parent goes away, standard input ends, and the worker's whole
process group with it: what counts is on disk.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import HarnessError
from harness.fit.together import RANK, Together, begin
from harness.meter import Meter
from harness.records.schema import Lost
from harness.records.seals import write_sealed
from harness.run.identity import fit_code
from harness.run.job import (
    AGAIN,
    JOB,
    JUDGES,
    LOG,
    REPORT,
    RESULT,
    SHARED,
    STARTS,
    STOPPED,
    WORK,
    FitJob,
    FitReport,
    Stopped,
    read_model,
    read_starts,
    write_model,
)
from harness.util.checked import Damaged
from harness.util.files import all_to_disk
from harness.util.hashes import folder_hashes
from harness.util.memory import peak_memory

if TYPE_CHECKING:
    from harness.contracts import Aligner
    from harness.fit.bench import LocalBench
    from harness.plugins.registry import Registry

MESSAGE = 300
"""Characters of an exception's message that a record's reason keeps."""
INTERRUPTED = 130
SAVING = 60.0
"""Seconds in which an interrupted fit may find a moment to save; the parent waits less long."""
TAIL = 4000
"""Characters of a traceback that a record keeps."""


class PipeProgress:
    """A Progress that the parent reads."""

    stop_asked = False
    """Set by the signal that Ctrl-C in the parent sends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._alone = threading.Lock()
        self._closed = threading.Lock()
        self._closed.acquire()
        self._save: Callable[[], None] | None = None

    def may_save(self, save: Callable[[], None]) -> None:
        """Let `save_within` call `save` from here on."""
        closed, self._save = self._save is None, save
        if closed:
            self._closed.release()

    def must_not_save(self) -> None:
        """No longer; waits for ever where that has begun, for the process ends behind it."""
        if self._save is not None:
            self._closed.acquire()
            self._save = None

    def save_within(self, seconds: float) -> bool:
        """Save what the last step left, as soon as that may be; False where it may not in this time, or cannot be."""
        if not self._closed.acquire(timeout=seconds):
            return False
        try:
            assert self._save is not None
            self._save()
        except Exception:  # the step's own end is left, which the main thread waits for
            traceback.print_exc()
            self._closed.release()
            return False
        return True

    def stage(self, name: str, total: int | None = None) -> None:
        """Tell the parent of a stage."""
        self._send(["stage", name, total])

    def advance(self, done: int, total: int | None = None, **figures: float | int | str | bool) -> None:
        """Tell the parent of a step."""
        self._send(["advance", done, total])

    def note(self, line: str) -> None:
        """Pass a line on."""
        self._send(["note", line])

    def log(self, entry: dict[str, Any]) -> None:
        """Pass an entry of the log on, for observers."""
        self._send(["log", entry])

    def _send(self, event: list[Any]) -> None:
        rest = (json.dumps(event) + "\n").encode()
        with self._alone:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


def run_job(folder: Path, progress: PipeProgress) -> None:
    """Fit and leave the result in `folder`. Raises HarnessError when the input is at fault."""
    import torch

    from harness.lm.paths import paths
    from harness.plugins.registry import load as load_registry

    job = _job(folder)
    torch.set_num_threads(max(1, job.threads // job.processes))
    registry = load_registry(plugins=job.plugins, allow=job.allow)
    aligner_class = registry.aligner(job.aligner)
    _check_code(job, registry, aligner_class)
    aligner = aligner_class(aligner_class.Config.model_validate(job.aligner_config))
    with paths(job.fast_paths):
        _fit(job, folder, aligner, registry, progress)


def _fit(job: FitJob, folder: Path, aligner: Aligner, registry: Registry, progress: PipeProgress) -> None:
    """Fit; the first process writes the result and its report."""
    from harness.fit.fitting import fit
    from harness.fit.tuning import as_json, tune
    from harness.models.adapters import parameter_change
    from harness.models.hashes import adapter_hash

    together = begin(job.processes, job.regime.device, job.sharding)
    lost = _lost(folder) if together.first else Lost()
    bench, seconds_load = _bench(job, folder, registry, progress, together)
    trials = job.regime.budget.tune
    aligner, tried = tune(aligner, bench, job.few_shot, trials) if trials else (aligner, ())
    fitted = fit(aligner, bench, job.few_shot)
    if not together.first:
        return
    result = folder / RESULT
    shutil.rmtree(result, ignore_errors=True)
    fitted.aligned.save(result)
    all_to_disk(result)
    adapter = (result / "adapter_model.safetensors").exists()
    report = FitReport(
        fit_id=job.fit_id,
        files=folder_hashes(result),
        log=bench.journal.digest(),
        status=fitted.status,
        reason=fitted.reason,
        liveness=fitted.liveness,
        config=aligner.config.model_dump(mode="json", by_alias=True),
        trials=tuple(as_json(tried)),
        spend=bench.meter.spend,
        seconds_load=seconds_load,
        seconds_fit=bench.seconds(),
        peak_memory_bytes=max(bench.beginnings.peak_memory, peak_memory(job.regime.device)),
        adapter_hash=adapter_hash(result) if adapter else None,
        parameter_change=parameter_change(bench.policy, "default") if adapter else None,
        lost=lost,
    )
    write_sealed(folder / REPORT, report.model_dump(mode="json"))
    for done in (WORK, JUDGES):
        shutil.rmtree(folder / done, ignore_errors=True)


def _job(folder: Path) -> FitJob:
    job = read_model(folder / JOB, FitJob)
    if job is None:
        raise HarnessError(f"there is no {JOB} in {folder}; a worker is started by the harness")
    return job


def _check_code(job: FitJob, registry: Registry, aligner_class: type[Aligner]) -> None:
    """Refuse to fit with other code than the cell's id was made from: files change while a study runs."""
    found = fit_code(aligner_class, job.backend, registry)
    changed = sorted(name for name, digest in found.items() if digest != job.code[name])
    if changed:
        raise HarnessError(f"the code of the fit ({', '.join(changed)}) changed since this run was started; run again")


def _bench(
    job: FitJob, folder: Path, registry: Registry, progress: PipeProgress, together: Together
) -> tuple[LocalBench, float]:
    """The bench, and the seconds from loading its model to the moment from which on it counts its own."""
    import torch

    from harness.fit.bench import LocalBench
    from harness.fit.journal import Journal, Unwritten
    from harness.judging.open import Judges
    from harness.lm.forgetful import forget
    from harness.models.load import load

    regime = job.regime
    progress.stage("load the model")
    started = time.monotonic()
    place = regime.device if job.sharding is None else "cpu"  # from where each process takes its part
    model, tokenizer = load(job.files, device=place, precision=regime.precision)
    if job.gradient_checkpointing:
        forget(model)
    torch.manual_seed(job.seed)
    bench = LocalBench.create(
        model,
        tokenizer,
        regime=regime,
        meter=Meter(cap_flops=regime.budget.cap),
        seed=job.seed,
        workdir=folder / WORK,
        lora=job.lora,
        log=(Journal if together.first else Unwritten)(folder / LOG, progress, progress.log),
        checkpoint_steps=job.checkpoint_steps,
        judges=Judges(registry, folder / JUDGES, job.model, regime.device, _shown(progress), files=job.judge_models),
        together=together,
    )
    seconds = time.monotonic() - started - bench.seconds()
    # Where weights are divided, all processes must compute, or none: a file may appear between two of their looks.
    if job.sharding is None:
        bench.share(folder.parent.parent / SHARED, job.base)
    return bench, seconds


def _shown(progress: PipeProgress) -> Callable[[str, int, int], None]:
    def show(stage: str, done: int, total: int) -> None:
        progress.advance(done, total)

    return show


def _lost(folder: Path) -> Lost:
    """What earlier starts did after their last checkpoint; where there is none at all, their log is no longer true."""
    from harness.fit.phases import moments

    log, saved = folder / LOG, moments(folder / WORK)
    known = read_starts(folder)
    starts = (known if known.starts else known.begun()).counted(saved, log.stat().st_mtime if log.exists() else 0)
    write_model(folder / STARTS, starts)
    if not saved:
        log.unlink(missing_ok=True)
    return starts.loss


def _stop_with_parent() -> None:
    """Standard input ends when the parent does, however it ended; what this process started ends with it."""

    def watch() -> None:
        while os.read(0, 1):  # not by sys.stdin, whose lock would abort the interpreter where it ends by itself
            pass
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


def _stop_when_asked(progress: PipeProgress) -> None:
    """The parent's interrupt ends the fit behind a checkpoint; a parent that cannot wait for that kills.

    A thread hears of the signal at once, and the main thread only behind the product that it computes.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)

    def save() -> None:
        while os.read(heard, 1)[0] != signal.SIGINT:
            pass
        if progress.save_within(SAVING):
            os._exit(INTERRUPTED)

    def ask(signal_number: int, frame: object) -> None:
        progress.stop_asked = True

    signal.signal(signal.SIGINT, ask)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=save, daemon=True).start()


def _descriptor(told: str) -> int:
    """Where events go: a descriptor's number, or the path of a pipe, on which the first of several processes tells."""
    if told.isdigit():
        os.set_inheritable(int(told), False)
        return int(told)
    return os.open(told if os.environ.get(RANK, "0") == "0" else os.devnull, os.O_WRONLY)


def in_words(error: BaseException) -> str:
    """An exception in one line: its type and its message."""
    message = " ".join(str(error).split())
    message = message if len(message) <= MESSAGE else message[:MESSAGE] + "..."
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def main() -> int:
    """Exit status: 0 fitted, 2 the input was refused, 1 something was raised, AGAIN, INTERRUPTED with a checkpoint."""
    folder = Path(sys.argv[1])
    progress = PipeProgress(_descriptor(sys.argv[2]))
    _stop_with_parent()
    _stop_when_asked(progress)
    try:
        run_job(folder, progress)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Damaged as error:
        progress.note(f"what an interrupted fit left cannot be believed ({error}); it is discarded and done again")
        shutil.rmtree(folder / WORK, ignore_errors=True)
        return AGAIN
    except HarnessError as error:
        write_model(folder / STOPPED, Stopped(kind="refused", reason=str(error)))
        return 2
    except BaseException as error:  # sys.exit in a fit is no success either
        traceback.print_exc()
        tail = "".join(traceback.format_exception(error))[-TAIL:]
        write_model(folder / STOPPED, Stopped(kind="raised", reason=in_words(error), traceback=tail))
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # neither threads nor what libraries do at exit may hold it or change it
