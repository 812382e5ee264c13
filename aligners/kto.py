"""Kahneman-Tversky optimization (Ethayarajh et al. 2024, arXiv 2402.01306), with TRL's KTOTrainer.

With r(x, y) = log pi(y|x) - log pi_ref(y|x), the reference being the base model, Eq. 7:

    z_0 = max(0, mean over the batch of r(x, y'))       y' another prompt's answer; no gradient
    v   = lambda_D sigmoid(beta (r(x, y) - z_0))        y desirable
          lambda_U sigmoid(beta (z_0 - r(x, y)))        y undesirable
    L   = mean of lambda_y - v

A pair gives one desirable row (chosen) and one undesirable row (rejected): the labels are the pairs' own, no more.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, FewShot, LoneAnswer, Need, Pair, Schedule
from harness.hookspecs import hookimpl
from harness.methods.fields import Epochs, Warmup, probe
from harness.methods.schedules import CONTRAST_RATE, PAIR_EPOCHS, PAIR_WARMUP, require_pairs, steps_over


class KtoConfig(BaseModel):
    """Hyper-parameters of KTO."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: float = Field(
        0.1, gt=0, description="strength of the pull to the reference (paper)", json_schema_extra=probe(1.0)
    )
    desirable_weight: float = Field(
        1.0,
        gt=0,
        description="lambda_D: 1 where both kinds are equally many, as here (paper, Eq. 8)",
        json_schema_extra=probe(3.0),
    )
    undesirable_weight: float = Field(
        1.0,
        gt=0,
        description="lambda_U: 1 where both kinds are equally many, as here (paper, Eq. 8)",
        json_schema_extra=probe(3.0),
    )
    learning_rate: float = Field(
        CONTRAST_RATE,
        gt=0,
        description="peak, cosine to 0 (ours: pilot search for LoRA); reported of the paper 5e-7 to 5e-6, all weights",
        json_schema_extra=probe(1e-3),
    )
    epochs: Epochs = PAIR_EPOCHS
    warmup: Warmup = PAIR_WARMUP


class Kto:
    """Raises the reward of desirable answers above the policy's usual reward and lowers that of undesirable answers."""

    name: ClassVar[str] = "kto"
    paper: ClassVar[str] = "2402.01306"
    version: ClassVar[str] = "5"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    divides_batches: ClassVar[bool] = True
    Config: ClassVar[type[BaseModel]] = KtoConfig

    def __init__(self, config: KtoConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on both answers of every pair, each by itself."""
        require_pairs(self.name, few_shot.pairs)
        pairs, held_out = bench.split(few_shot.pairs)
        config = self.config
        answers = [
            row for block in fixed_blocks(pairs, bench.regime.batch, bench.seed) for row in step_rows(block, pairs)
        ]
        trainer = bench.trainers.kto(
            answers,
            Schedule(config.learning_rate, steps_over(bench.regime, len(pairs), config.epochs), config.warmup),
            beta=config.beta,
            desirable_weight=config.desirable_weight,
            undesirable_weight=config.undesirable_weight,
            pairs=pairs,
        )
        bench.train(trainer, held_out=held_out)
        alone = len({pair.prompt for pair in pairs}) == 1  # then no other prompt's answer is there to be mismatched
        bench.liveness(fixed_order=1.0, kl_matched_share=float(alone))
        return bench.aligned()


def fixed_blocks(pairs: Sequence[Pair], batch: int, seed: int) -> list[list[Pair]]:
    """The pairs in a seeded order, cut into blocks of `batch`: what each step of every epoch takes."""
    order = list(pairs)
    random.Random(seed).shuffle(order)
    return [order[start : start + batch] for start in range(0, len(order), batch)]


def step_rows(block: Sequence[Pair], pairs: Sequence[Pair]) -> list[LoneAnswer]:
    """Answers of one step: first the block's desirable ones, then its undesirable ones, each with a mismatched one.

    The mismatched answer y' is the one of the row before, so y' and y are the same answers, and no prompt meets an
    answer of its own while neighbours differ in prompt. A block of one prompt borrows from another pair, if there is
    any.
    """
    sides = [(pair, pair.chosen, True) for pair in block] + [(pair, pair.rejected, False) for pair in block]
    rows = []
    for place, (pair, answer, desirable) in enumerate(sides):
        other, mismatched, _ = sides[place - 1]
        if other.prompt == pair.prompt:
            other = next((p for p in pairs if p.prompt != pair.prompt), other)
            mismatched = other.chosen if desirable else other.rejected
        rows.append(LoneAnswer(pair.prompt, answer, desirable, mismatched))
    return rows


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Kto]
