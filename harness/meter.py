"""The budget and its meter: what a method spends, counted where nothing can pass beside it.

FLOPs follow one formula for all methods (a multiply-add is 2 FLOPs):

    forward  = 2 * N_body * positions + 2 * N_head * projected positions + attention
    attention = 4 * layers * d_attention * positions * keys
    backward = 2 * N_mm (positions as above) + 2 * N_trainable * positions + 2 * attention

N_body counts every matrix of the decoder, adapters included; N_head the output projection, only where it is applied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
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


@dataclass(frozen=True, slots=True)
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


class Meter:
    """Adds up what is spent and stops at the cap. Whoever holds it can read and add, and take nothing back.

    `cap_flops` None means that compute is recorded only (track `labels`). The meter is given the model's sizes by
    `attach`; before that, language-model work cannot be counted and raises RuntimeError. A copy of a metered model
    counts on the same meter, which is therefore never copied.
    """

    def __init__(self, cap_flops: float | None = None, model: FlopModel | None = None) -> None:
        self._cap = cap_flops
        self._model = model
        self._sums = _Sums()

    def __deepcopy__(self, memo: Any) -> Meter:
        return self

    @property
    def cap_flops(self) -> float | None:
        """FLOPs that may be spent."""
        return self._cap

    @property
    def spend(self) -> Spend:
        """What was spent so far: a value that no longer changes."""
        return self._sums.spend

    @property
    def stops(self) -> int:
        """How often work was refused, or was the last that the cap allowed."""
        return self._sums.stops

    def beside(self, model: FlopModel | None = None) -> Meter:
        """A meter of another model that spends from the same budget."""
        other = Meter(self._cap, model)
        other._sums = self._sums
        return other

    def attach(self, model: FlopModel) -> None:
        """Say what a token costs from here on (called again when the number of trainable weights changes)."""
        self._model = model

    def label(self, item: str) -> None:
        """Count a label once per distinct item."""
        if item not in self._sums.labelled:
            self._sums.labelled.add(item)
            self.add(labels=1)

    def prompt(self, item: str) -> None:
        """Count an unlabelled prompt once per distinct item."""
        if item not in self._sums.prompted:
            self._sums.prompted.add(item)
            self.add(prompts=1)

    def auxiliary(self, known: int) -> None:
        """Count other groups' labels: the most that any fit of a search was given, for they are the same ones."""
        self.add(auxiliary_labels=max(0, known - self.spend.auxiliary_labels))

    def forward(self, *, tokens: int, positions: int, keys: float, projected: int = 0, train: bool = False) -> None:
        """Count one decoder forward; with `train`, its backward too. Raises BudgetExceeded at the cap."""
        model = self._sizes()
        flops = model.forward(positions, keys, projected)
        if train:
            flops += model.backward(positions, keys, projected)
        self.add(forward_tokens=tokens, trained_tokens=tokens if train else 0)
        self.flops(flops)

    def projection(self, positions: int, *, train: bool = False) -> None:
        """Count the head applied at `positions` places."""
        self.flops((4.0 if train else 2.0) * self._sizes().head * positions)

    def generated(self, tokens: int) -> None:
        """Count sampled tokens (their forwards are counted by `forward`)."""
        self.add(generated_tokens=tokens)

    def step(self) -> None:
        """Count an optimizer step."""
        self.add(optimizer_steps=1)

    def flops(self, amount: float) -> None:
        """Add FLOPs. Raises BudgetExceeded once the cap is passed; what was spent stays counted."""
        self.add(flops=amount)
        self.admit()

    def admit(self) -> None:
        """Called before work begins: raises BudgetExceeded where the cap was passed already, so that it is not done."""
        if self.excess is not None:
            self._sums.stops += 1
            raise BudgetExceeded(self.excess)

    def add(self, **amounts: float) -> None:
        """Add to counters. Raises ValueError for an amount that is negative or not finite: nothing is taken back."""
        for name, amount in amounts.items():
            if not 0 <= amount < math.inf:
                raise ValueError(f"{amount} {name} cannot be spent; a finite amount of at least 0 was expected")
        spend = self._sums.spend
        so_far = {name: getattr(spend, name) for name in amounts}
        sums = {name: type(known)(known + amounts[name]) for name, known in so_far.items()}  # tokens stay whole numbers
        self._sums.spend = replace(spend, **sums)

    @property
    def excess(self) -> str | None:
        """By how much the cap was passed, in words; None below it and without one."""
        if self._cap is None or self.spend.flops <= self._cap:
            return None
        return f"{self.spend.flops:.3e} FLOPs spent of {self._cap:.3e} allowed"

    def state(self) -> dict[str, Any]:
        """Everything counted so far, as JSON values, for a checkpoint."""
        sums = self._sums
        return {"spend": asdict(sums.spend), "labelled": sorted(sums.labelled), "prompted": sorted(sums.prompted)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of an interrupted process. No counter falls: what this process spent stays spent."""
        counted = {name: max(amount, state["spend"].get(name, 0)) for name, amount in asdict(self.spend).items()}
        self._sums.spend = Spend(**counted)
        self._sums.labelled |= set(state["labelled"])
        self._sums.prompted |= set(state["prompted"])

    def _sizes(self) -> FlopModel:
        if self._model is None:
            raise RuntimeError("the meter was not attached to a model")
        return self._model


@dataclass(slots=True)
class _Sums:
    """What meters of one budget share."""

    spend: Spend = Spend()
    labelled: set[str] = field(default_factory=set)
    prompted: set[str] = field(default_factory=set)
    stops: int = 0
