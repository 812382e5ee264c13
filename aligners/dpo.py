"""Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290): TRL's DPOTrainer, prompts computed once.

Loss, Eq. 7: `-log sigmoid(beta * [log pi(w)/pi_ref(w) - log pi(l)/pi_ref(l)])`; the reference is the base model.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, FewShot, Need
from harness.hookspecs import hookimpl
from harness.recipes import require_pairs, steps


class DpoConfig(BaseModel):
    """Hyper-parameters of DPO."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: float = Field(
        0.1, gt=0, description="strength of the pull to the reference (paper)", json_schema_extra={"probe": 1.0}
    )
    learning_rate: float = Field(
        5e-5,
        gt=0,
        description="peak, cosine to 0 (pilot search for LoRA; paper 1e-6)",
        json_schema_extra={"probe": 1e-3},
    )
    epochs: float = Field(
        3.0,
        gt=0,
        description="passes over the pairs; the regime's minimum of steps holds (ours)",
        json_schema_extra={"probe": 40.0},
    )
    warmup: float = Field(
        0.1, ge=0, lt=1, description="share of steps with rising rate (ours)", json_schema_extra={"probe": 0.5}
    )


class Dpo:
    """Separates chosen from rejected answers relative to the base model."""

    name: ClassVar[str] = "dpo"
    paper: ClassVar[str] = "2305.18290"
    version: ClassVar[str] = "2"
    needs: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    Config: ClassVar[type[BaseModel]] = DpoConfig

    def __init__(self, config: DpoConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on the pairs."""
        require_pairs(self.name, few_shot.pairs)
        from harness.paired import dpo_trainer

        pairs, held_out = bench.split(few_shot.pairs)
        c = self.config
        trainer = dpo_trainer(
            bench,
            pairs,
            max_steps=steps(bench, len(pairs), c.epochs),
            method={
                "beta": c.beta,
                "learning_rate": c.learning_rate,
                "lr_scheduler_type": "cosine",
                "warmup_steps": c.warmup,
            },
        )
        bench.train(trainer, held_out=held_out)
        return bench.aligned()


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Dpo]
