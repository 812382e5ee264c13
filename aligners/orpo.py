"""Monolithic preference optimization without a reference (Hong et al. 2024, arXiv 2403.07691), with TRL's ORPOTrainer.

Loss, Eq. 6: `NLL(w) - lambda log sigmoid(log odds(w|x) - log odds(l|x))`, with `odds(y|x) = P/(1 - P)` (Eq. 4) of the
length-normalised probability `P = exp(log pi(y|x)/|y|)`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, FewShot, Need, Pair
from harness.fit.recipes import Epochs, Warmup, cosine, require_pairs
from harness.hookspecs import hookimpl


class OrpoConfig(BaseModel):
    """Hyper-parameters of ORPO."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    lambda_: float = Field(
        0.1,
        ge=0,
        alias="lambda",
        description="weight of the odds-ratio loss [S]; 0 is supervised fine-tuning; TRL calls it beta",
        json_schema_extra={"probe": 2.0},
    )
    prompt_loss: bool = Field(
        False,
        description="the likelihood term covers the prompt too, as in TRL [R]; the paper's: the answer alone [S]",
        json_schema_extra={"probe": True},
    )
    learning_rate: float = Field(
        2e-4,
        gt=0,
        description="peak, cosine to 0 (pilot search for LoRA) [R]; paper 5e-6 to 8e-6, all weights [N]",
        json_schema_extra={"probe": 1e-3},
    )
    epochs: Epochs = 3.0
    warmup: Warmup = 0.1


class Orpo:
    """Fine-tunes on chosen answers while it makes their odds greater than those of rejected ones."""

    name: ClassVar[str] = "orpo"
    paper: ClassVar[str] = "2403.07691"
    version: ClassVar[str] = "2"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    Config: ClassVar[type[BaseModel]] = OrpoConfig

    def __init__(self, config: OrpoConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on the pairs."""
        require_pairs(self.name, few_shot.pairs)
        pairs, held_out = bench.split(few_shot.pairs)
        bench.train(self._trainer(bench, pairs), held_out=held_out)
        return bench.aligned()

    def _trainer(self, bench: Bench, pairs: tuple[Pair, ...]) -> Any:
        from harness.fit.trl_experimental import orpo_trainer

        config = self.config
        schedule = cosine(
            bench, len(pairs), learning_rate=config.learning_rate, epochs=config.epochs, warmup=config.warmup
        )
        return orpo_trainer(bench, pairs, prompt_loss=config.prompt_loss, beta=config.lambda_, **schedule)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Orpo]
