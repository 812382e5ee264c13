"""Simple preference optimization with a reference-free reward (Meng et al. 2024, arXiv 2405.14734), with TRL.

Loss, Eq. 6: `-log sigmoid(beta/|w| log pi(w|x) - beta/|l| log pi(l|x) - gamma)`, lengths in tokens, end of turn
included. TRL has it as a loss of its CPOTrainer; each prompt is computed once for both answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, FewShot, Need, Pair, Schedule
from harness.hookspecs import hookimpl
from harness.methods.fields import Epochs, Warmup, probe
from harness.methods.schedules import CONTRAST_RATE, PAIR_EPOCHS, PAIR_WARMUP, fit_on_pairs


class SimpoConfig(BaseModel):
    """Hyper-parameters of SimPO."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: float = Field(
        2.0,
        gt=0,
        description="scale of the mean log-probability of a token (paper: 2.0 to 2.5, later 10)",
        json_schema_extra=probe(8.0),
    )
    gamma: float = Field(
        1.0,
        ge=0,
        description="margin that the reward of chosen must have over rejected (paper: 0.5 beta)",
        json_schema_extra=probe(4.0),
    )
    learning_rate: float = Field(
        CONTRAST_RATE,
        gt=0,
        description="peak, cosine to 0 (ours: pilot search for LoRA); paper 3e-7 to 1e-6, all weights",
        json_schema_extra=probe(1e-3),
    )
    epochs: Epochs = PAIR_EPOCHS
    warmup: Warmup = PAIR_WARMUP


class Simpo:
    """Makes chosen answers more likely per token than rejected ones, by a margin and without a reference."""

    name: ClassVar[str] = "simpo"
    paper: ClassVar[str] = "2405.14734"
    version: ClassVar[str] = "3"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    divides_batches: ClassVar[bool] = True
    Config: ClassVar[type[BaseModel]] = SimpoConfig

    def __init__(self, config: SimpoConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on the pairs."""
        c = self.config

        def trainer(pairs: Sequence[Pair], schedule: Schedule) -> Any:
            return bench.trainers.simpo(pairs, schedule, beta=c.beta, gamma=c.gamma)

        return fit_on_pairs(self.name, c, bench, few_shot, trainer)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Simpo]
