"""The budget and its meter: what a method spends, counted where nothing can pass beside it.

FLOPs follow one formula for all methods (a multiply-add is 2 FLOPs):

    forward  = 2 * N_body * positions + 2 * N_head * projected positions + attention
    attention = 4 * layers * d_attention * positions * keys
    backward = 2 * N_mm (positions as above) + 2 * N_trainable * positions + 2 * attention

N_body counts every matrix of the decoder, adapters included; N_head the output projection, only where it is applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.contracts import BudgetExceeded


@dataclass(frozen=True, slots=True)
class FlopModel:
    """Sizes of a model that fix what a token costs."""

    body: int
    """Weights of the decoder's matrices."""
    head: int
    """Weights of the output projection."""
    layers: int
    attention_width: int
    """Query heads times head dimension."""
    trainable: int = 0

    def forward(self, positions: int, keys: float, projected: int) -> float:
        """FLOPs of one forward: `positions` tokens, each seeing up to `keys`, `projected` of them through the head."""
        return 2.0 * self.body * positions + 2.0 * self.head * projected + self._attention(positions, keys)

    def backward(self, positions: int, keys: float, projected: int) -> float:
        """FLOPs of the matching backward: gradients of activations, and of the trainable weights."""
        activations = 2.0 * self.body * positions + 2.0 * self.head * projected
        return activations + 2.0 * self.trainable * positions + 2.0 * self._attention(positions, keys)

    def _attention(self, positions: int, keys: float) -> float:
        return 4.0 * self.layers * self.attention_width * positions * keys


@dataclass(slots=True)
class Spend:
    """Counters of one phase (a fit, an evaluation). Tokens exclude padding; FLOPs include it, for it is computed."""

    labels: int = 0
    auxiliary_labels: int = 0
    prompts: int = 0
    generated_tokens: int = 0
    forward_tokens: int = 0
    trained_tokens: int = 0
    flops: float = 0.0
    optimizer_steps: int = 0


@dataclass(slots=True)
class Meter:
    """Adds up what is spent and stops at the cap.

    `cap_flops` None means that compute is recorded only (track `labels`). The meter is given the model's sizes by
    `attach`; before that, language-model work cannot be counted and raises RuntimeError.
    """

    cap_flops: float | None = None
    spend: Spend = field(default_factory=Spend)
    model: FlopModel | None = None
    _labelled: set[str] = field(default_factory=set)
    _prompted: set[str] = field(default_factory=set)

    def attach(self, model: FlopModel) -> None:
        """Say what a token costs from here on (called again when the number of trainable weights changes)."""
        self.model = model

    def label(self, item: str) -> None:
        """Count a label once per distinct item."""
        if item not in self._labelled:
            self._labelled.add(item)
            self.spend.labels += 1

    def prompt(self, item: str) -> None:
        """Count an unlabelled prompt once per distinct item."""
        if item not in self._prompted:
            self._prompted.add(item)
            self.spend.prompts += 1

    def forward(self, *, tokens: int, positions: int, keys: float, projected: int = 0, train: bool = False) -> None:
        """Count one decoder forward; with `train`, its backward too. Raises BudgetExceeded at the cap."""
        model = self._model()
        self.spend.forward_tokens += tokens
        flops = model.forward(positions, keys, projected)
        if train:
            self.spend.trained_tokens += tokens
            flops += model.backward(positions, keys, projected)
        self.flops(flops)

    def projection(self, positions: int, *, train: bool = False) -> None:
        """Count the head applied at `positions` places."""
        model = self._model()
        self.flops((4.0 if train else 2.0) * model.head * positions)

    def generated(self, tokens: int) -> None:
        """Count sampled tokens (their forwards are counted by `forward`)."""
        self.spend.generated_tokens += tokens

    def step(self) -> None:
        """Count an optimizer step."""
        self.spend.optimizer_steps += 1

    def flops(self, amount: float) -> None:
        """Add FLOPs. Raises BudgetExceeded once the cap is passed; what was spent stays counted."""
        self.spend.flops += amount
        if self.excess is not None:
            raise BudgetExceeded(self.excess)

    @property
    def excess(self) -> str | None:
        """By how much the cap was passed, in words; None below it and without one."""
        if self.cap_flops is None or self.spend.flops <= self.cap_flops:
            return None
        return f"{self.spend.flops:.3e} FLOPs spent of {self.cap_flops:.3e} allowed"

    def state(self) -> dict[str, Any]:
        """Everything counted so far, as JSON values, for a checkpoint."""
        return {"spend": asdict(self.spend), "labelled": sorted(self._labelled), "prompted": sorted(self._prompted)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state`; `spend` stays the same object, which other meters may share."""
        for name, amount in state["spend"].items():
            setattr(self.spend, name, amount)
        self._labelled, self._prompted = set(state["labelled"]), set(state["prompted"])

    def _model(self) -> FlopModel:
        if self.model is None:
            raise RuntimeError("the meter was not attached to a model")
        return self.model
