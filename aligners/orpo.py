"""Monolithic preference optimization without a reference (Hong et al. 2024, arXiv 2403.07691), with TRL's ORPOTrainer.

Loss, Eq. 6: `NLL(w) - lambda log sigmoid(log odds(w|x) - log odds(l|x))`, with `odds(y|x) = P/(1 - P)` (Eq. 4) of the
length-normalised probability `P = exp(log pi(y|x)/|y|)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, FewShot, HeldOutFigure, Need, Pair, Schedule
from harness.hookspecs import hookimpl
from harness.methods.fields import Epochs, Warmup, probe
from harness.methods.schedules import PAIR_EPOCHS, PAIR_WARMUP, SFT_RATE, fit_on_pairs


class OrpoConfig(BaseModel):
    """Hyper-parameters of ORPO."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    lambda_: float = Field(
        0.1,
        ge=0,
        alias="lambda",
        description="weight of the odds-ratio loss (paper); 0 is supervised fine-tuning; TRL calls it beta",
        json_schema_extra=probe(2.0),
    )
    prompt_loss: bool = Field(
        False,
        description="the likelihood term covers the prompt too, as in TRL; the paper's: the answer alone",
        json_schema_extra=probe(True),
    )
    learning_rate: float = Field(
        SFT_RATE,
        gt=0,
        description="peak, cosine to 0 (ours: search for LoRA); reported of the paper 5e-6 to 8e-6, all weights",
        json_schema_extra=probe(2e-4),
    )
    epochs: Epochs = PAIR_EPOCHS
    warmup: Warmup = PAIR_WARMUP


class Orpo:
    """Fine-tunes on chosen answers while it makes their odds greater than those of rejected ones."""

    name: ClassVar[str] = "orpo"
    paper: ClassVar[str] = "2403.07691"
    version: ClassVar[str] = "4"
    chosen_by: ClassVar[HeldOutFigure] = "likelihood"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    Config: ClassVar[type[BaseModel]] = OrpoConfig

    def __init__(self, config: OrpoConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on the pairs."""
        c = self.config

        def trainer(pairs: Sequence[Pair], schedule: Schedule) -> Any:
            return bench.trainers.orpo(pairs, schedule, weight=c.lambda_, prompt_loss=c.prompt_loss)

        return fit_on_pairs(self.name, c, bench, few_shot, trainer)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Orpo]
