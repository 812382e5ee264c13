"""What a phase of training leaves on disk and on a model."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

OWN_CHECKPOINT = "checkpoint.pt"
"""File of `LocalBench.store`."""


MOMENTS = ("phase-*/done.json", "phase-*/checkpoint-*/bench.json", OWN_CHECKPOINT, "score.json")
"""What an interrupted fit can go on from: phases, checkpoints in them, an aligner's own, folds of a search."""


@dataclass(frozen=True)
class Pristine:
    """What trainers are known to change on a model and leave behind."""

    forwards: frozenset[str]
    dropouts: dict[str, float]
    pads: tuple[int | None, int | None]
    adapters: frozenset[str]

    @staticmethod
    def of(model: Any) -> Pristine:
        """The state of `model` before a trainer is given it."""
        return Pristine(
            forwards=frozenset(name for name, module in model.named_modules() if "forward" in vars(module)),
            dropouts={n: m.p for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout)},
            pads=(model.config.pad_token_id, model.generation_config.pad_token_id),
            adapters=frozenset(model.peft_config),
        )

    def restore(self, model: Any, keep: frozenset[str]) -> None:
        """Undo what a trainer patched; adapters named in `keep` stay."""
        for name, module in model.named_modules():
            if "forward" in vars(module) and name not in self.forwards:
                del module.forward
            if isinstance(module, torch.nn.Dropout) and name in self.dropouts:
                module.p = self.dropouts[name]
        model.config.pad_token_id, model.generation_config.pad_token_id = self.pads
        for adapter in set(model.peft_config) - self.adapters - keep:
            model.delete_adapter(adapter)
        model.zero_grad(set_to_none=True)
        model.eval()


def silence(trainer: Any) -> None:
    """Take off the callback that prints every log line to standard output: the journal has them."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def moments(folder: Path) -> list[float]:
    """When everything below `folder` was written that an interrupted fit can go on from, in seconds of the clock."""
    return [path.stat().st_mtime for pattern in MOMENTS for path in folder.rglob(pattern)]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; halves left by a crash are removed."""
    whole: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        if (path / "bench.json").exists():
            whole.append((int(path.name.rsplit("-", 1)[1]), path))
        else:
            shutil.rmtree(path)
    return max(whole)[1] if whole else None
