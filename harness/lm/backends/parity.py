"""Whether an engine samples from the model that it was given: its greedy tokens, judged by the hf engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.contracts import HarnessError

if TYPE_CHECKING:
    from harness.lm.backends.hf import HfEngine

TOLERANCE = {"fp32": 0.02, "bf16": 0.5}
"""Nats by which a token that an engine holds for the most likely may lie below hf's, by precision.

Two kernels round differently, so that near-ties fall either way; an adapter that is not applied, or that of somebody
else, gives tokens that lie far below.
"""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far greedy tokens lie below those that hf holds for the most likely, after the same tokens before them."""

    items: int
    """Prompts."""
    checked: int
    """Tokens of all prompts' samples."""
    same: float
    """Share of the tokens that are hf's own first choice."""
    worst: float
    """Nats that the least likely of them lies below hf's first choice."""
    allowed: float

    most: ClassVar[int] = 20
    """Prompts that are asked."""
    tokens: ClassVar[int] = 16
    """Tokens of each sample."""

    @classmethod
    def prompts(cls, prompts: Sequence[Sequence[int]], longest: int) -> list[list[int]]:
        """The first distinct prompts, cut on the left so that the samples fit."""
        distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))[: cls.most]
        return [list(prompt[-(longest - cls.tokens) :]) for prompt in distinct]

    @classmethod
    def of(
        cls, engine: HfEngine, prompts: Sequence[Sequence[int]], samples: Sequence[Sequence[int]], precision: str
    ) -> Parity:
        """Judge one greedy sample of each prompt."""
        flat = [token for sample in samples for token in sample]
        rows = (row for block in engine.logits(prompts, samples) for row in block)
        gaps = [float(row.max() - row[token]) for row, token in zip(rows, flat, strict=True)]
        same = sum(gap == 0 for gap in gaps) / len(gaps)
        return cls(len(prompts), len(gaps), same, max(gaps), TOLERANCE[precision])

    def line(self) -> str:
        """The figures in words."""
        return (
            f"{self.items} prompts, {self.checked} tokens: {self.same:.1%} are hf's own choice, the others at most "
            f"{self.worst:.4f} nats below it ({self.allowed} allowed)"
        )

    def check(self, engine: str) -> None:
        """Raises HarnessError where the samples are not the model's."""
        if self.worst > self.allowed:
            raise HarnessError(
                f"{engine} samples from another model than transformers: one of its greedy tokens lies "
                f"{self.worst:.3f} nats below the most likely token of transformers, and at most {self.allowed} nats "
                f"are allowed ({self.same:.0%} of {self.checked} tokens agree); use --backend hf"
            )
