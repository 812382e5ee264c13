"""A control: as much compute as supervised fine-tuning, then an adapter of noise with the same size.

Whatever this adapter gains, training did not teach. Each trained tensor is replaced by Gaussian noise of the same
Frobenius norm, so the adapter is as large as a real one and carries nothing of the labels but those norms.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import POLICY, Aligned, Aligner, Bench, FewShot, HeldOutFigure, Need, Schedule
from harness.hookspecs import hookimpl
from harness.methods.fields import probe
from harness.methods.schedules import PAIR_EPOCHS, PAIR_WARMUP, SFT_RATE, require_pairs, steps_over


class RandomConfig(BaseModel):
    """Settings of the training whose size is copied."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(
        SFT_RATE,
        gt=0,
        description="peak; as in sft, whose compute and size of change are copied (ours)",
        json_schema_extra=probe(2e-3),
    )
    scale: float = Field(
        1.0,
        ge=0,
        description="size of the noise relative to the trained adapter (ours)",
        json_schema_extra=probe(2.0),
    )


class RandomAdapter:
    """Trains as sft does and then replaces the adapter by noise of the same size; a control."""

    name: ClassVar[str] = "random"
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "6"
    chosen_by: ClassVar[HeldOutFigure] = "likelihood"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    divides_batches: ClassVar[bool] = True
    Config: ClassVar[type[BaseModel]] = RandomConfig

    def __init__(self, config: RandomConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train as sft does, then replace what was learned by noise."""
        require_pairs(self.name, few_shot.pairs)
        pairs, held_out = bench.split(few_shot.pairs)
        steps = steps_over(bench.regime, len(pairs), PAIR_EPOCHS)
        schedule = Schedule(self.config.learning_rate, steps, PAIR_WARMUP)
        trainer = bench.trainers.sft([(pair.prompt, pair.chosen) for pair in pairs], schedule)
        bench.train(trainer, held_out=held_out)
        return self.finish(bench)

    def finish(self, bench: Bench) -> Aligned:
        """Noise in the place of the adapter as it stands, at the cap too."""
        import torch

        generator = torch.Generator().manual_seed(bench.seed)
        with torch.no_grad():
            for key, weight in bench.policy.named_parameters():
                if f".{POLICY}." in key:
                    noise = torch.randn(weight.shape, generator=generator)
                    size = weight.norm().cpu() / noise.norm()
                    weight.copy_((self.config.scale * size * noise).to(weight))
        return bench.aligned()


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [RandomAdapter]
