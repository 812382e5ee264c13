"""A checkpoint in the middle of an optimizer step: on a CPU a step takes longer than somebody waits after Ctrl-C.

Until the optimizer is called, weights and its state are those that the step before left. Another thread may write them
then, with what was counted and the random state as they were at that step's end; the step that was under way is lost.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.contracts.progress import SavesMidStep

RANDOM = "rng_state.pth"
"""What a trainer calls the file of its random state in a checkpoint."""


def saver(trainer: Any, mark: Callable[[Path, dict[str, Any]], None], counted: Callable[[], dict[str, Any]]) -> Any:
    """A callback that tells, between two calls of the optimizer, how to save; None where nobody would ask for it.

    `mark` makes a checkpoint whole, with the figures that `counted` gave before the step began.
    """
    from transformers import TrainerCallback

    def trained() -> set[str]:
        return {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}

    class MidStep(TrainerCallback):  # type: ignore[misc]
        """Opens and closes the time in which a checkpoint may be written."""

        def __init__(self, progress: SavesMidStep) -> None:
            self.progress = progress
            self.random: Path | None = None
            self.whole: set[str] = set()

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.random, self.whole = Path(args.output_dir) / "random", trained()

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            figures = counted()
            self.progress.may_save(lambda: self._save(Path(args.output_dir), state.global_step, figures))

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.progress.must_not_save()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            trainer._save_rng_state(str(self.random))

        def _save(self, folder: Path, step: int, figures: dict[str, Any]) -> None:
            """Raises RuntimeError where the model is not as it is trained: its weights are folded while it samples."""
            target = folder / f"checkpoint-{step}"
            if step == 0 or self.random is None or not (self.random / RANDOM).exists() or target.exists():
                return
            if trained() != self.whole:
                raise RuntimeError("the model is being sampled from")
            trainer._save_checkpoint(trainer.model, None)
            shutil.copyfile(self.random / RANDOM, target / RANDOM)
            mark(target, figures)

    return MidStep
