"""Supervised fine-tuning on the chosen answers, with TRL's SFTTrainer: the arm that every method must beat."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, FewShot, Need
from harness.fit.recipes import Epochs, Warmup, require_pairs, supervised_trainer
from harness.hookspecs import hookimpl


class SftConfig(BaseModel):
    """Hyper-parameters of supervised fine-tuning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(
        2e-4, gt=0, description="peak, cosine to 0 (pilot search for LoRA)", json_schema_extra={"probe": 2e-3}
    )
    epochs: Epochs = 3.0
    warmup: Warmup = 0.1


class Sft:
    """Raises the likelihood of the chosen answers; never looks at the rejected ones."""

    name: ClassVar[str] = "sft"
    paper: ClassVar[str] = "2203.02155"
    version: ClassVar[str] = "2"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    Config: ClassVar[type[BaseModel]] = SftConfig

    def __init__(self, config: SftConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on `chosen`."""
        require_pairs(self.name, few_shot.pairs)
        pairs, held_out = bench.split(few_shot.pairs)
        c = self.config
        trainer = supervised_trainer(bench, pairs, learning_rate=c.learning_rate, epochs=c.epochs, warmup=c.warmup)
        bench.train(trainer, held_out=held_out)
        return bench.aligned()


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Sft]
