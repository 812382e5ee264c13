"""The phases of a fit: each run of a trainer is numbered and has a folder of its own.

An interrupted fit is started again from the top. A phase that was finished is loaded instead of run, one that was under
way goes on from its last whole checkpoint. What was counted is stored with every checkpoint, so that a resumed fit ends
with the same figures as an undisturbed one.
"""

from __future__ import annotations

import gc
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.contracts.progress import MayStop, Progress, SavesMidStep
from harness.fit.adapters import Adapters, State
from harness.fit.beginnings import Beginnings
from harness.fit.ledger import Ledger
from harness.fit.mid_step import saver
from harness.fit.together import ALONE, Together
from harness.lm.pieces import Pieces, in_pieces
from harness.meter import Spend
from harness.util.checked import Damaged, demanded_json, write_checked_json
from harness.util.hashes import folder_hashes

OWN_CHECKPOINT = "checkpoint.pt"
"""File of `LocalBench.store`."""
MARK = "bench.json"
"""File of a checkpoint that is written last: the bench's figures, and the digests of all other files."""

MOMENTS = ("phase-*/done.pt", f"phase-*/checkpoint-*/{MARK}", OWN_CHECKPOINT, "score.json")
"""What an interrupted fit can go on from: phases, checkpoints in them, an aligner's own, folds of a search."""


SINCE_START = frozenset({"num_tokens", "train_loss"})
"""Figures that trainers count since their process began: not logged, since after an interruption they start over. The
meter has the tokens, and every step its loss."""


DIVIDED = ("forward_tokens", "trained_tokens", "flops")
"""What several processes of a fit spend each on its own rows of a training step."""

HELD_OUT_LOOKS = 4
"""How often a fit looks at its held-out pairs, over all its phases."""


Look = Callable[[int], None]
"""What is done after an optimizer step, counted over the phases, at which held-out pairs are looked at."""


def look_steps(fit_steps: int) -> frozenset[int]:
    """The optimizer steps of a fit, counted from 1 over all phases, after which held-out pairs are looked at.

    The last is one of them. A fit of fewer steps than looks has as many looks as steps.
    """
    return frozenset(math.ceil(fit_steps * look / HELD_OUT_LOOKS) for look in range(1, HELD_OUT_LOOKS + 1))


class Phases:
    """Runs trainers one after the other, for one fit."""

    def __init__(
        self, workdir: Path, ledger: Ledger, adapters: Adapters, beginnings: Beginnings, together: Together = ALONE
    ) -> None:
        self._workdir, self.ledger, self.adapters = workdir, ledger, adapters
        self._beginnings, self.together = beginnings, together
        self.number = 0
        self._pieces = Pieces()

    @property
    def folder(self) -> Path:
        """Of the phase that comes next, or is under way."""
        return self._workdir / f"phase-{self.number}"

    def run(self, trainer: Any, *, look: Look | None, fit_steps: int | None, decided_by: Sequence[object] = ()) -> None:
        """Train, or load what an interrupted process or another fit had trained; see `contracts.Bench.train`.

        `decided_by` is what decides a fit's first phase beside the trainer and the looks. Raises KeyboardInterrupt,
        behind a checkpoint, where whoever watches asked for an end.
        """
        progress = self.ledger.journal.progress
        if _stopping(progress):
            raise KeyboardInterrupt
        folder, begun_after = self.folder, self.ledger.steps_before
        done = folder / "done.pt"
        if done.exists():
            self.number += 1
            self._load(done)
            self.adapters.clean()
            return
        checkpoint = self.together.after_first(lambda: last_checkpoint(folder))
        if checkpoint is None and self._following():
            raise Damaged(f"{folder.name} is gone, and a later phase is there")
        place = None if checkpoint else self._place(trainer, look, fit_steps, decided_by)
        if place is not None and self._beginnings.take(place):
            self.number += 1
            self.adapters.clean()
            progress.note("another fit of this store began as this one does; its first phase is taken over")
            self._save(done)
            return
        silence(trainer)
        self.together.divide(trainer)
        start = self.adapters.state(), self.ledger.state()
        number, self.number = self.number, self.number + 1
        try:
            while not self._trained(trainer, _callback(self, number, checkpoint, look, fit_steps), checkpoint):
                checkpoint = self._smaller(trainer, folder, start)
        finally:
            self.adapters.clean()
        if _stopping(progress) and trainer.state.global_step < trainer.state.max_steps:
            raise KeyboardInterrupt
        self._say_how_small(trainer)
        self.ledger.steps_before = begun_after + trainer.state.max_steps
        if look is not None and (fit_steps is None or self.ledger.steps_before >= fit_steps):
            self.adapters.restore_best()
        self.together.first_alone(lambda: self._save(done))
        if place is not None and not self._shrunk(trainer):
            self._beginnings.keep(place, start[1])

    def _place(
        self, trainer: Any, look: Look | None, fit_steps: int | None, decided_by: Sequence[object]
    ) -> Path | None:
        """Where a fit's first phase is kept for other fits; None for another phase, and for one that is not shared."""
        if self.number or self.together.processes > 1:
            return None
        steps = trainer.args.max_steps
        looks = sorted(step for step in look_steps(fit_steps or steps) if step <= steps) if look else []
        ends = bool(look) and (fit_steps is None or steps >= fit_steps)
        return self._beginnings.place(trainer, [*decided_by, looks, ends])

    def _following(self) -> bool:
        """Whether a later phase than the next has begun."""
        numbers = (path.name.rpartition("-")[2] for path in self._workdir.glob("phase-*"))
        return any(number.isdigit() and int(number) > self.number for number in numbers)

    def _trained(self, trainer: Any, callback: Any, checkpoint: Path | None) -> bool:
        """Train to the end; False where memory ran out and fewer rows or answers at a time are left to try."""
        progress = self.ledger.journal.progress
        callbacks = [callback]
        saves = progress if isinstance(progress, SavesMidStep) and self.together.sharding is None else None
        if saves is not None:  # weights that are divided cannot be read while a step computes with them
            callbacks.append(saver(trainer, self._mark, self.ledger.state)(saves))
        for one in callbacks:
            trainer.add_callback(one)
        try:
            with in_pieces(self._pieces):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except torch.OutOfMemoryError:
            if self.together.processes > 1:  # the others have room, and wait for this one's gradients
                raise
            if not halves(trainer) and not self._pieces.halve():
                raise
            for one in callbacks:
                trainer.remove_callback(one)
            return False
        finally:
            if saves is not None:
                saves.must_not_save()
        return True

    def count_others(self, before: Spend) -> None:
        """Count what the other processes spent on the step that began at `before`: they computed its other rows."""
        if self.together.processes == 1:
            return
        now = self.ledger.meter.spend
        own = [getattr(now, name) - getattr(before, name) for name in DIVIDED]
        others = [all_ - mine for mine, all_ in zip(own, self.together.total(own), strict=True)]
        self.ledger.meter.add(**dict(zip(DIVIDED, others, strict=True)))

    def _mark(self, folder: Path, state: dict[str, Any]) -> None:
        """Make a trainer's checkpoint whole: the bench's adapters and figures, and the digests of all files."""
        self.adapters.save_private(folder / "bench.pt")
        write_checked_json(folder / MARK, {"state": state, "files": folder_hashes(folder)})

    def _smaller(self, trainer: Any, folder: Path, start: tuple[State, dict[str, Any]]) -> Path | None:
        """Halve the micro-batch, where pieces were not; go back to the last checkpoint or to the phase's start."""
        at_once = f"{self._pieces.at_once} answers"
        if halves(trainer):
            arguments = trainer.args
            arguments.per_device_train_batch_size //= 2
            arguments.gradient_accumulation_steps *= 2
            trainer._train_batch_size = arguments.train_batch_size  # what its data loader is made with
            at_once = f"{arguments.per_device_train_batch_size} rows"
        trainer.optimizer = trainer.lr_scheduler = None
        trainer.model.zero_grad(set_to_none=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        checkpoint = last_checkpoint(folder)
        if checkpoint is None:
            self.adapters.load(start[0])
            self.ledger.restore(start[1])
        self.ledger.journal.progress.note(f"out of memory: batches are computed {at_once} at a time from here on")
        return checkpoint

    def _say_how_small(self, trainer: Any) -> None:
        """Into the record, where memory ran out."""
        if trainer.args.gradient_accumulation_steps > 1:
            self.ledger.liveness(None, {"micro_batch": trainer.args.per_device_train_batch_size})
        if self._pieces.at_once is not None:
            self.ledger.liveness(None, {"answers_at_once": self._pieces.at_once})

    def _shrunk(self, trainer: Any) -> bool:
        """Whether memory ran out, so that a batch was computed in parts."""
        return trainer.args.gradient_accumulation_steps > 1 or self._pieces.at_once is not None

    def _save(self, path: Path) -> None:
        write_checked_json(path.with_suffix(".json"), self.ledger.state())
        self.adapters.save_private(path)
        for old in path.parent.glob("checkpoint-*"):
            shutil.rmtree(old)

    def _load(self, path: Path) -> None:
        """Put back a finished phase. What the next phase logged stays where that phase can be put back, too."""
        self.adapters.load_private(path)
        following = self.folder
        onward = (following / "done.pt").exists() or last_checkpoint(following) is not None
        self.ledger.restore(demanded_json(path.with_suffix(".json")), cut=not onward)


def _stopping(progress: Progress) -> bool:
    return isinstance(progress, MayStop) and progress.stop_asked


class OfTheBench:
    """Marks the callback of a trainer that the bench runs: the conformance kit tells such a trainer by it."""


def _callback(phases: Phases, number: int, checkpoint: Path | None, look: Look | None, fit_steps: int | None) -> Any:
    """Made inside a function because the base class comes from transformers."""
    from transformers import TrainerCallback

    ledger, progress = phases.ledger, phases.ledger.journal.progress

    class Callback(OfTheBench, TrainerCallback):  # type: ignore[misc]
        """Counts steps, shows progress, stores the bench's state with each checkpoint, looks at held-out pairs."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress.stage(f"fit, phase {number + 1}", state.max_steps)
            if checkpoint is not None:
                phases.adapters.load_private(checkpoint / "bench.pt")
                ledger.restore(demanded_json(checkpoint / MARK)["state"])
                progress.note(f"resumed at step {_step(checkpoint)} of {state.max_steps}")

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.before = ledger.meter.spend

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            ledger.meter.step()
            phases.count_others(self.before)
            progress.advance(state.global_step, state.max_steps)
            of, before = (state.max_steps, 0) if fit_steps is None else (fit_steps, ledger.steps_before)
            if look is not None and before + state.global_step in look_steps(of):
                look(before + state.global_step)
            if _stopping(progress):
                control.should_save = control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            figures = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float) and k not in SINCE_START}
            ledger.journal.write("train", step=state.global_step, **figures)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            phases.together.first_alone(lambda: phases._mark(folder, ledger.state()))

    return Callback()


def halves(trainer: Any) -> bool:
    """Whether half a batch, twice, gives a trainer's step: its loss is a mean over rows, and the rows divide by two."""
    rows = trainer.args.per_device_train_batch_size
    return bool(getattr(trainer, "mean_over_rows", False)) and rows > 1 and rows % 2 == 0


def silence(trainer: Any) -> None:
    """Take off the callback that prints every log line to standard output, which the journal has, and model cards.

    TRL writes a card beside every checkpoint, for which it imports whatever tracker is installed.
    """
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.create_model_card = lambda *_, **__: None


def moments(folder: Path) -> list[float]:
    """When everything below `folder` was written that an interrupted fit can go on from, in seconds of the clock."""
    return [path.stat().st_mtime for pattern in MOMENTS for path in folder.rglob(pattern)]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; halves left by a crash are removed. Raises `Damaged` where it was changed since."""
    whole: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        if (path / MARK).exists():
            whole.append((_step(path), path))
        else:
            shutil.rmtree(path)
    newest = max(whole)[1] if whole else None
    if newest is not None:
        _check(newest)
    return newest


def _check(checkpoint: Path) -> None:
    noted = demanded_json(checkpoint / MARK)["files"]
    found = {name: digest for name, digest in folder_hashes(checkpoint).items() if name != MARK}
    changed = sorted(name for name in {*noted, *found} if noted.get(name) != found.get(name))
    if changed:
        raise Damaged(f"{checkpoint.name}/{changed[0]} is not what was written")
