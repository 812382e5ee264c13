"""Group relative policy optimization (Shao et al. 2024, arXiv 2402.03300), with TRL's GRPOTrainer.

For each prompt q of a step:

    1. sample a group o_1 .. o_k from the policy, in evaluation mode
    2. r_i: what the pool's verifier says of o_i
    3. A_i = (r_i - mean(r)) / std(r), the same for all tokens of o_i
    4. step on  -(1/k) sum_i 1/|o_i| sum_t A_i pi(o_it | ..)/pi_old(o_it | ..)  + beta KL(pi || pi_ref)       (Eq. 3)

There is one update per sample batch, so pi_old is pi: the ratio is 1, clipping never acts, and the gradient is that of
A_i log pi. The verifier is asked about the prompts of the labelled pairs: the budget's labels are those items, and
which answer of a pair was preferred is not read (but to select among candidates, where the regime holds pairs out).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.contracts import (
    Aligned,
    Aligner,
    Bench,
    FewShot,
    HarnessError,
    Need,
    Pair,
    Prompt,
    Reward,
    Schedule,
    Verifier,
)
from harness.hookspecs import hookimpl
from harness.methods.fields import Preset, Warmup, probe, with_preset
from harness.methods.schedules import PAIR_WARMUP, in_epochs, require_pairs

SAME = 1e-6
"""Rewards of a group that differ by less are equal: the group moves nothing."""


PAPER = {"k": 64, "beta": 0.04, "learning_rate": 1e-6}
"""What `preset=paper` sets."""


class GrpoConfig(BaseModel):
    """Hyper-parameters of GRPO. Prompts a step and the longest sample belong to the study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "ours"
    k: int = Field(8, ge=2, description="samples per prompt; 8 is TRL's (ours), paper 64", json_schema_extra=probe(4))
    temperature: float = Field(
        1.0, gt=0, description="of the samples and of the policy that is trained (ours)", json_schema_extra=probe(0.6)
    )
    beta: float = Field(
        0.0,
        ge=0,
        description="weight of the KL divergence to the base model; 0 is TRL's and later work's (ours), paper 0.04",
        json_schema_extra=probe(1.0),
    )
    loss: Literal["grpo", "dapo", "dr_grpo"] = Field(
        "grpo",
        description="mean per answer, then over answers (paper, Eq. 3); dapo: over tokens; dr_grpo: over a fixed size",
        json_schema_extra=probe("dr_grpo"),
    )
    scale: Literal["group", "batch", "none"] = Field(
        "group",
        description="advantages over the standard deviation of the group (paper), of the step, or as they are",
        json_schema_extra=probe("none"),
    )
    learning_rate: float = Field(
        1e-3,
        gt=0,
        description="peak, cosine to 0 (ours: pilot search for LoRA); paper 1e-6, all weights",
        json_schema_extra=probe(1e-4),
    )
    steps: int | None = Field(
        None,
        ge=1,
        description="optimizer steps; by default, and at least, the regime's least number (ours)",
        json_schema_extra=probe(12),
    )
    warmup: Warmup = PAIR_WARMUP

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: Any) -> Any:
        return with_preset(data, PAPER)


class Grpo:
    """Reinforces those of its own samples that the pool's verifier rates above the mean of their group."""

    name: ClassVar[str] = "grpo"
    paper: ClassVar[str] = "2402.03300"
    version: ClassVar[str] = "4"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs", "verifier"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    Config: ClassVar[type[BaseModel]] = GrpoConfig

    def __init__(self, config: GrpoConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Sample answers to the pairs' prompts and reinforce the better ones."""
        require_pairs(self.name, few_shot.pairs)
        if few_shot.verifier is None:
            raise HarnessError("aligner grpo needs a pool that can check answers and was given none; try aligner dpo")
        pairs, held_out = bench.split(few_shot.pairs)
        bench.train(self._trainer(bench, pairs, few_shot.verifier), held_out=held_out)
        report(bench)
        return bench.aligned()

    def _trainer(self, bench: Bench, pairs: Sequence[Pair], verifier: Verifier) -> Any:
        config, prompts = self.config, {pair.id: pair.prompt for pair in pairs}
        steps = max(config.steps or 0, bench.regime.min_steps)
        order = in_epochs(list(prompts), steps * bench.regime.sample_prompts, "grpo order", bench.seed)
        return bench.trainers.grpo(
            [Prompt(identity, prompts[identity]) for identity in order],
            rewarding(bench, verifier, config.k, steps),
            Schedule(config.learning_rate, steps, config.warmup),
            k=config.k,
            temperature=config.temperature,
            beta=config.beta,
            loss=config.loss,
            scale=config.scale,
        )


def rewarding(bench: Bench, verifier: Verifier, k: int, steps: int) -> Reward:
    """The verifier's reward of every answer of a step; its figures are added to the sums of the fit."""

    def reward(step: int, ids: Sequence[str], answers: Sequence[str]) -> list[float]:
        rewards = [float(verifier(identity, text)) for identity, text in zip(ids, answers, strict=True)]
        bench.tally(**step_figures(rewards, k, step, steps))
        return rewards

    return reward


def step_figures(rewards: Sequence[float], k: int, step: int, steps: int) -> dict[str, float]:
    """What one step adds to the sums: groups, groups of equal rewards, and the reward of the first and last quarter."""
    groups = [rewards[start : start + k] for start in range(0, len(rewards), k)]
    figures = {"groups": float(len(groups)), "flat": float(sum(max(g) - min(g) < SAME for g in groups))}
    quarter = max(1, steps // 4)
    for name, counts in (("first", step < quarter), ("last", step >= steps - quarter)):
        if counts:
            figures |= {f"reward_{name}": fmean(rewards), f"steps_{name}": 1.0}
    return figures


def report(bench: Bench) -> None:
    """Liveness of the fit; degenerate when no group ever had two different rewards: nothing was there to learn from."""
    sums = bench.tally()
    if not sums.get("groups"):
        return
    zero = sums["flat"] / sums["groups"]
    rewards = {
        name: sums[f"reward_{name}"] / sums[f"steps_{name}"] for name in ("first", "last") if f"steps_{name}" in sums
    }
    reason = "the rewards of every group were equal, so no step moved anything" if zero == 1 else None
    bench.liveness(
        degenerate=reason, zero_variance=zero, **{f"reward_{name}": value for name, value in rewards.items()}
    )


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Grpo]
