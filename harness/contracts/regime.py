"""What all aligners of a table share: budget, lengths, and the machine's device and precision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Budget(BaseModel):
    """The few-shot regime: what every aligner of a table gets. Records hold it as it was asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["8", "32", "128", "512", "2k"] = "32"
    labels: int = Field(default=32, ge=1, description="labelled pairs")
    prompts: int = Field(default=128, ge=0, description="unlabelled prompts, disjoint from the pairs")
    batch: int = Field(default=4, ge=1, description="pairs per optimizer step")
    min_steps: int = Field(default=32, ge=1, description="optimizer steps, at least, over all phases of a method")
    selection: Literal["last", "holdout25", "kfold"] = "last"
    tune: int = Field(default=0, ge=0, description="trials of hyper-parameters, compared by k-fold over the labels")
    track: Literal["labels", "labels+compute", "parity"] = "labels"
    cap_flops: float | None = Field(default=None, gt=0, description="FLOP cap of the track labels+compute")

    @property
    def cap(self) -> float | None:
        """FLOPs that a fit may spend; None where compute is recorded only."""
        return self.cap_flops if self.track == "labels+compute" else None


class Lengths(BaseModel):
    """Token limits that all aligners share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: int = Field(default=512, ge=8, description="longest prompt; clipped on the left")
    completion: int = Field(
        default=256, ge=4, description="longest labelled answer; clipped on the right, then left open"
    )
    new_tokens: int = Field(default=256, ge=1, description="longest sample")
    sample_prompts: int = Field(default=4, ge=1, description="prompts per on-policy sampling step")


@dataclass(frozen=True, slots=True)
class Regime:
    """The shared settings that an aligner may read and may not change."""

    budget: Budget
    lengths: Lengths
    device: str
    precision: str

    def with_budget(self, **changes: Any) -> Regime:
        """The same regime under a budget with these fields changed."""
        return replace(self, budget=self.budget.model_copy(update=changes))

    @property
    def batch(self) -> int:
        """Pairs per optimizer step."""
        return self.budget.batch

    @property
    def min_steps(self) -> int:
        """Optimizer steps that a method takes at the least, over all its phases."""
        return self.budget.min_steps

    @property
    def selection(self) -> str:
        """`last`, `holdout25`, or `kfold`: the hyper-parameters were chosen by trials, and the last step counts."""
        return self.budget.selection

    @property
    def prompt_tokens(self) -> int:
        """Longest prompt."""
        return self.lengths.prompt

    @property
    def completion_tokens(self) -> int:
        """Longest labelled answer."""
        return self.lengths.completion

    @property
    def new_tokens(self) -> int:
        """Longest sample, in tokens."""
        return self.lengths.new_tokens

    @property
    def sample_prompts(self) -> int:
        """Prompts per on-policy sampling step."""
        return self.lengths.sample_prompts
