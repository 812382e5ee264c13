"""Aligner `nll_margin`: learn the chosen answer, and keep it ahead of the rejected one by a margin.

    loss = -log pi(w)/|w| + weight * max(0, margin - (log pi(w)/|w| - log pi(l)/|l|))

w is the chosen answer, l the rejected one, |.| their length in tokens; log-probabilities in nats. No reference model.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, FewShot, HarnessError, Need, Pair, Schedule
from harness.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class NllMarginConfig(BaseModel):
    """Hyper-parameters; each probe is a second value that must change the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(2e-4, gt=0, description="peak, cosine to 0", json_schema_extra={"probe": 1e-3})
    epochs: float = Field(3.0, gt=0, description="passes over the pairs, at least", json_schema_extra={"probe": 5.0})
    margin: float = Field(0.5, ge=0, description="wanted lead, nats per token", json_schema_extra={"probe": 0.05})
    weight: float = Field(1.0, ge=0, description="of the hinge; 0 is plain SFT", json_schema_extra={"probe": 0.0})


class NllMargin:
    """Supervised fine-tuning on the chosen answers with a hinge on the length-normalised lead."""

    name: ClassVar[str] = "nll_margin"
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "2"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    Config: ClassVar[type[BaseModel]] = NllMarginConfig

    def __init__(self, config: NllMarginConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on the pairs, except those that the study holds out. Raises HarnessError if there are no pairs."""
        if not few_shot.pairs:
            raise HarnessError("aligner nll_margin needs labelled pairs, at least one was expected")
        pairs, held_out = bench.split(few_shot.pairs)
        regime, config = bench.regime, self.config
        steps = max(regime.min_steps, math.ceil(config.epochs * len(pairs) / regime.batch))
        order = shuffled(pairs, steps * regime.batch, bench.seed)
        batches = [order[step * regime.batch :][: regime.batch] for step in range(steps)]

        def objective(step: int, batch: Sequence[Pair]) -> Tensor:
            return loss(bench, batch, config)

        trainer = bench.trainers.steps(lambda resuming: batches, objective, Schedule(config.learning_rate, steps))
        bench.train(trainer, held_out=held_out)
        return bench.aligned()


def shuffled(pairs: Sequence[Pair], count: int, seed: int) -> list[Pair]:
    """Return `count` pairs: all pairs in a random order, then all pairs in another random order, and so on."""
    source = random.Random(seed)
    passes = math.ceil(count / len(pairs))
    return [pair for _ in range(passes) for pair in source.sample(pairs, len(pairs))][:count]


def loss(bench: Bench, batch: Sequence[Pair], config: NllMarginConfig) -> Tensor:
    """The mean loss of a batch, a scalar in nats with gradient."""
    import torch

    prompts = [bench.render(pair.prompt) for pair in batch]
    answers = [(bench.encode(pair.chosen), bench.encode(pair.rejected)) for pair in batch]
    scored = bench.logprobs(prompts, answers)
    return torch.stack([pair_loss(good.logprobs.mean(), bad.logprobs.mean(), config) for good, bad in scored]).mean()


def pair_loss(chosen: Tensor, rejected: Tensor, config: NllMarginConfig) -> Tensor:
    """The loss of one pair from mean log-probabilities per token, both scalars in nats."""
    return -chosen + config.weight * (config.margin - (chosen - rejected)).clamp(min=0)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """What this module adds to the harness."""
    return [NllMargin]
