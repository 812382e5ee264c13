"""Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290): TRL's DPOTrainer, prompts computed once.

Loss, Eq. 7: `-log sigmoid(beta * [log pi(w)/pi_ref(w) - log pi(l)/pi_ref(l)])`; the reference is the base model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.contracts import Aligned, Aligner, Bench, FewShot, Need, Pair, Schedule
from harness.hookspecs import hookimpl
from harness.methods.fields import Epochs, Preset, Warmup, probe, with_preset
from harness.methods.schedules import CONTRAST_RATE, PAIR_EPOCHS, PAIR_WARMUP, fit_on_pairs


class DpoConfig(BaseModel):
    """Hyper-parameters of DPO."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "ours"
    beta: float = Field(
        0.1, gt=0, description="strength of the pull to the reference (paper)", json_schema_extra=probe(1.0)
    )
    learning_rate: float = Field(
        CONTRAST_RATE,
        gt=0,
        description="peak, cosine to 0 (pilot search for LoRA; paper 1e-6)",
        json_schema_extra=probe(1e-3),
    )
    epochs: Epochs = PAIR_EPOCHS
    warmup: Warmup = PAIR_WARMUP

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: Any) -> Any:
        return with_preset(data, {"learning_rate": 1e-6})


class Dpo:
    """Separates chosen from rejected answers relative to the base model."""

    name: ClassVar[str] = "dpo"
    paper: ClassVar[str] = "2305.18290"
    version: ClassVar[str] = "6"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    divides_batches: ClassVar[bool] = True
    Config: ClassVar[type[BaseModel]] = DpoConfig

    def __init__(self, config: DpoConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on the pairs."""

        def trainer(pairs: Sequence[Pair], schedule: Schedule) -> Any:
            return bench.trainers.dpo(pairs, schedule, beta=self.config.beta)

        return fit_on_pairs(self.name, self.config, bench, few_shot, trainer)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Dpo]
