"""A trainer of single steps, for methods whose loop no library has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer

from harness.contracts import RowT, StepLoss


def step_trainer(
    model: Any, arguments: Any, batches: Callable[[bool], Sequence[Sequence[RowT]]], loss: StepLoss[RowT]
) -> Any:
    """One optimizer step for each batch; see `contracts.Trainers.steps`.

    A loss of None leaves the gradients unset: AdamW then skips every weight, and neither decay nor momentum moves the
    policy.
    """

    class StepTrainer(Trainer):  # type: ignore[misc]
        def train(self, resume_from_checkpoint: Any = None, *given: Any, **named: Any) -> Any:
            self.resuming = resume_from_checkpoint is not None
            return super().train(resume_from_checkpoint, *given, **named)

        def get_train_dataloader(self) -> DataLoader[Any]:
            numbered: Any = list(enumerate(batches(self.resuming)))
            return DataLoader(numbered, batch_size=1, shuffle=False, collate_fn=_only)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Tensor:
            model.eval()  # a step is scored and differentiated in one forward, which dropout would make two of
            value = loss(inputs["step"], inputs["rows"])
            self.skipped = value is None
            return _still(model) if value is None else value

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
            value: Tensor = super().training_step(model, inputs, num_items_in_batch)
            if self.skipped:
                model.zero_grad(set_to_none=True)
            return value

    unread: Any = [{}] * arguments.max_steps
    return StepTrainer(model=model, args=arguments, train_dataset=unread)


def _only(batch: Sequence[tuple[int, Any]]) -> dict[str, Any]:
    """A data loader's batch holds one numbered batch of ours."""
    ((step, rows),) = batch
    return {"step": step, "rows": rows}


def _still(model: Any) -> Tensor:
    """A loss of 0 that reaches every trainable weight."""
    return torch.stack([p.sum() for p in model.parameters() if p.requires_grad]).sum() * 0.0
