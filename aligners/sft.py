"""Supervised fine-tuning on the chosen answers, with TRL's SFTTrainer: the arm that every method must beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, FewShot, HeldOutFigure, Need, Pair, Schedule
from harness.hookspecs import hookimpl
from harness.methods.fields import Epochs, Warmup, probe
from harness.methods.schedules import PAIR_EPOCHS, PAIR_WARMUP, SFT_RATE, fit_on_pairs


class SftConfig(BaseModel):
    """Hyper-parameters of supervised fine-tuning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(
        SFT_RATE, gt=0, description="peak, cosine to 0 (ours, for LoRA)", json_schema_extra=probe(2e-3)
    )
    epochs: Epochs = PAIR_EPOCHS
    warmup: Warmup = PAIR_WARMUP


class Sft:
    """Raises the likelihood of the chosen answers; never looks at the rejected ones."""

    name: ClassVar[str] = "sft"
    paper: ClassVar[str] = "2203.02155"
    version: ClassVar[str] = "5"
    chosen_by: ClassVar[HeldOutFigure] = "likelihood"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    divides_batches: ClassVar[bool] = True
    Config: ClassVar[type[BaseModel]] = SftConfig

    def __init__(self, config: SftConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on `chosen`."""

        def trainer(pairs: Sequence[Pair], schedule: Schedule) -> Any:
            return bench.trainers.sft([(pair.prompt, pair.chosen) for pair in pairs], schedule)

        return fit_on_pairs(self.name, self.config, bench, few_shot, trainer)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Sft]
