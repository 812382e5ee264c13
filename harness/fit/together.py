"""Several processes that make one fit: each computes its rows of every training batch, and gradients are averaged.

All of them run the whole fit, in the same order and from the same seed, so that they hold the same weights all along.
Only the rows of a training batch are divided: process r of n takes rows r, r + n, ... of it, and after its backward
pass the mean of all gradients takes the place of its own. So the optimizer takes the step that it would take in a
single process, up to the rounding of a sum. The first process alone writes checkpoints, log and result.

The policy is not wrapped (`DistributedDataParallel`), because losses here ask the policy for log-probabilities and do
not all pass through the wrapper's forward. Where its frozen weights are divided, too (`harness.fit.sharding`), a
training step asks for its rows in one forward each time: every process takes part in gathering a layer's weights, so
that all have to run as many forwards, however long their rows are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from harness.contracts import HarnessError
from harness.fit.sharding import Sharding, shard_weights

T = TypeVar("T")

RANK, PROCESSES = "RANK", "WORLD_SIZE"
"""What a launcher tells each process."""


@dataclass(frozen=True)
class Together:
    """One of the processes of a fit; alone, where there is one."""

    rank: int = 0
    processes: int = 1
    sharding: Sharding | None = None
    """How they divide the model's frozen weights; None where each holds all of them."""

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.processes > 1:
            import torch.distributed

            torch.distributed.barrier()

    def first_alone(self, write: Callable[[], object]) -> None:
        """Let the first process write, and all go on behind it."""
        self.wait()  # behind what others may still read or write
        if self.first:
            write()
        self.wait()

    def after_first(self, read: Callable[[], T]) -> T:
        """What each process reads, the others behind the first, which may tidy up while it reads."""
        if self.first:
            found = read()
            self.wait()
            return found
        self.wait()
        return read()

    def total(self, amounts: Sequence[float]) -> list[float]:
        """The sums of the processes' amounts."""
        if self.processes == 1:
            return list(amounts)
        import torch

        found = torch.tensor(amounts, dtype=torch.float64)
        if torch.distributed.get_backend() == "nccl":
            found = found.cuda()  # which has no sums of what lies in the processor's memory
        torch.distributed.all_reduce(found)
        return [float(value) for value in found.tolist()]

    def divide_weights(self, policy: Any, device: str) -> None:
        """Keep this process's part of the model's frozen weights only, where they are divided."""
        if self.sharding is not None:
            from harness.lm.peft_internals import sliding_window
            from harness.lm.probes import tree_attention

            shard_weights(policy, self.sharding, device, self.processes)
            for span in (0, (sliding_window(policy) or 0) + 1):
                tree_attention(policy, span)  # measured now, by all processes: their rows need not be of one length

    def divide(self, trainer: Any) -> None:
        """Give this process its rows of the trainer's batches, and after each backward pass the mean of all gradients.

        Raises HarnessError where some batch does not divide by the processes: their means would not give its mean.
        """
        if self.processes == 1:
            return
        from harness.lm.rows import one_forward

        rows, batch = len(trainer.train_dataset), trainer.args.per_device_train_batch_size
        for size in (min(batch, rows), rows % batch):
            if size % self.processes:
                raise HarnessError(
                    f"a training batch of {size} rows does not divide into {self.processes} processes; take a number "
                    f"of processes that divides the batch ({batch}) and what is left of {rows} rows"
                )
        accelerator = trainer.accelerator
        accelerator.prepare_model = partial(accelerator.prepare_model, evaluation_mode=True)  # not wrapped
        accelerator.prepare_data_loader = partial(self._loader, accelerator)
        step = trainer.training_step

        def training_step(model: Any, *arguments: Any, **named: Any) -> Any:
            with nullcontext() if self.sharding is None else one_forward():
                loss = step(model, *arguments, **named)
            self._average(model)
            return loss

        trainer.training_step = training_step

    def _loader(self, accelerator: Any, loader: Any, *_: Any, **__: Any) -> Any:
        """The batches that a single process would see, of which only this process's rows are laid out."""
        from accelerate.data_loader import prepare_data_loader

        collate = loader.collate_fn
        loader.collate_fn = lambda rows: collate(rows[self.rank :: self.processes])
        settings = accelerator.dataloader_config
        return prepare_data_loader(
            loader,
            accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=accelerator.device_placement,
            rng_types=None,  # every process has drawn the same
            use_seedable_sampler=settings.use_seedable_sampler,
            data_seed=settings.data_seed,
        )

    def _average(self, model: Any) -> None:
        """One exchange of all gradients, in the parameters' order, which is the same in every process."""
        import torch

        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.processes
        means = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))


ALONE = Together()


def begin(processes: int, device: str, sharding: Sharding | None = None) -> Together:
    """This process among those of its fit; they are found by what the launcher has told them."""
    if processes == 1:
        return ALONE
    from accelerate import PartialState

    PartialState(cpu=device == "cpu")
    return Together(int(os.environ[RANK]), int(os.environ[PROCESSES]), sharding)
