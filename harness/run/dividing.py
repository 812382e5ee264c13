"""Which fits several processes can make together (`harness.fit.together`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.config import RunConfig
from harness.contracts import Aligner, HarnessError, NotHere

if TYPE_CHECKING:
    from harness.plugins.registry import Registry


def gpu_count() -> int:
    """How many GPUs this process may use."""
    import torch

    return torch.cuda.device_count()


def refuse_undivided(config: RunConfig, aligner: type[Aligner], registry: Registry, *, gpus: int | None) -> None:
    """Raises HarnessError for a fit that several processes cannot make; `gpus` are those there, None where any number.

    Whether every batch divides is found where the rows are known.
    """
    if config.processes == 1:
        return
    asked = f"processes is {config.processes}"
    if not divides(aligner):
        able = ", ".join(name for name in sorted(registry.aligners) if divides(registry.aligner(name)))
        raise HarnessError(f"{asked}, and aligner {aligner.name} fits in one process; these divide: {able}")
    if config.budget.cap is not None or config.budget.tune:
        option = "--tune" if config.budget.tune else "--cap-flops"
        raise HarnessError(f"{asked}, and {option} needs a fit in one process; leave one of the two out")
    if gpus is not None and gpus < config.processes:
        raise NotHere(f"{asked}, one for each GPU, and this machine has {gpus}; take {gpus} or fewer")


def divides(aligner: type[Aligner]) -> bool:
    """Whether several processes can make one fit of the method: what `contracts.DividesBatches` states."""
    return bool(getattr(aligner, "divides_batches", False))
