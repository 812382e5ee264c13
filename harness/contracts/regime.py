"""What all aligners of a table share: budget, lengths, and the machine's device and precision."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Budget(BaseModel):
    """The few-shot regime that every aligner of a table gets. Records hold it as the user asked for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = Field(
        default="32", pattern=r"^([1-9][0-9]{0,8}|2k|max)$", description="a number of labels, or max: all there are"
    )
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


ALL = 2**31 - 1
"""Placeholder in a budget of `max`, for the fields that follow from the number of labels once it is known."""
_POINTS = ((8, 128), (32, 128), (128, 384), (512, 1536), (2000, 5984))
"""(Number of labels, number of pairs that all optimizer steps together see)."""
_BATCHES = ((2000, 32), (512, 16), (128, 8))
"""(Least number of labels, batch in pairs); with fewer labels than the last entry, the batch is four pairs."""


def budget_for(labels: int) -> Budget:
    """The budget of any number of labels. The presets follow the same rule.

    There are four unlabelled prompts for each label. Batch and selection are those of the next smaller preset. The
    number of pairs that training sees (steps times batch) is interpolated between the presets, linearly in the
    logarithm of the labels: below 8 labels it is constant, above 2,000 the last line goes on, and every pair is seen
    at least once.
    """
    batch = next((size for least, size in _BATCHES if labels >= least), 4)
    name = "2k" if labels == 2000 else str(labels)
    return Budget(
        preset=name,
        labels=labels,
        prompts=4 * labels,
        batch=batch,
        min_steps=math.ceil(round(_pairs_seen(labels), 6) / batch),
        selection="holdout25" if labels >= 128 else "last",
    )


def _pairs_seen(labels: int) -> float:
    pairs = list(itertools.pairwise(_POINTS))
    (low, seen_low), (high, seen_high) = next((pair for pair in pairs if labels <= pair[1][0]), pairs[-1])
    place = max(0.0, math.log(labels / low) / math.log(high / low))
    return max(seen_low + place * (seen_high - seen_low), float(labels))


def every_label() -> Budget:
    """The budget `max`, as it is before the number of labels is known."""
    return Budget(preset="max", labels=ALL, prompts=ALL, batch=ALL, min_steps=ALL, selection="holdout25")


def settled(budget: Budget, labels: int) -> Budget:
    """The budget with `max` replaced by the rule for `labels` labels. Fields that the user set keep their value."""
    if budget.preset != "max":
        return budget
    asked, open_ = budget.model_dump(), every_label().model_dump()
    kept = {name: value for name, value in asked.items() if value != open_[name]}
    return budget_for(max(labels, 1)).model_copy(update=kept)


class AskedLengths(BaseModel):
    """Token limits as a user asks for them; what is None follows from the pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: int | None = Field(default=None, ge=8, description="longest prompt, clipped on the left; null: the pool's")
    completion: int | None = Field(
        default=None, ge=4, description="longest labelled answer, clipped on the right and left open; null: the pool's"
    )
    new_tokens: int | None = Field(
        default=None, ge=1, description="longest sample; null: half as much again as the longest answer"
    )
    sample_prompts: int = Field(default=4, ge=1, description="prompts per on-policy sampling step")


class Lengths(AskedLengths):
    """Token limits that all aligners share."""

    # A resolved length is never open: the fields are narrower than those that are asked for.
    prompt: int = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=512, ge=8, description="longest prompt; clipped on the left"
    )
    completion: int = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=256, ge=4, description="longest labelled answer; clipped on the right, then left open"
    )
    new_tokens: int = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=256, ge=1, description="longest sample"
    )


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
