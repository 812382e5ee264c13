"""LoRA layers with fewer passes over memory, by the same formula: W x + scaling * B (A x).

PEFT computes the two products apart, scales one and adds them, and in the backward pass does as much again. On a CPU
these passes over activations cost about as much as the small products themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from harness.lm.paths import fast
from harness.lm.peft_internals import is_divided

FULL = (torch.float32, torch.float64)


@contextmanager
def fused_adapters(model: Any) -> Iterator[None]:
    """Inside, LoRA layers on a CPU add their update into the base layer's product, with gradients for A and B.

    Layers that do more than the formula (dropout, several adapters, biases, variants) are left as they are.
    """
    swapped: list[nn.Module] = []
    try:
        for layer in model.modules():
            if (forward := _fused(layer)) is not None:
                layer.forward = forward
                swapped.append(layer)
        yield
    finally:
        for layer in swapped:
            del layer.forward


@contextmanager
def folded_adapters(decoder: Any) -> Iterator[None]:
    """Run LoRA layers as plain ones inside the block: W + scaling * B A once, not two more products in every step.

    Where fast paths are off, they stay as they are.

    The layers are put back as they were, and no weight of the model's is written to. Weights below fp32 are left alone:
    rounding would take the small update away.
    """
    swapped: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        for parent in list(decoder.modules()):
            for name, layer in list(parent.named_children()) if fast() else ():
                if (plain := _folded(layer)) is not None:
                    setattr(parent, name, plain)
                    swapped.append((parent, name, layer))
        yield
    finally:
        for parent, name, layer in swapped:
            setattr(parent, name, layer)


def _folded(layer: Any) -> nn.Module | None:
    """A plain layer equal to a LoRA layer with its active adapters; None for another layer, or for divided weights."""
    if not _plain_lora(layer) or is_divided(layer.base_layer.weight):
        return None
    active, base = _active(layer), layer.base_layer
    if not active:
        unwrapped: nn.Module = base
        return unwrapped
    if _unusual(layer, active) or base.weight.dtype not in FULL:
        return None
    plain = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
    plain.weight = nn.Parameter(_updated(layer, base.weight, active), requires_grad=False)
    plain.bias = base.bias
    return plain.eval()


def _updated(layer: Any, weight: Tensor, active: Sequence[str]) -> Tensor:
    for name in active:
        weight = torch.addmm(
            weight, layer.lora_B[name].weight, layer.lora_A[name].weight, alpha=float(layer.scaling[name])
        )
    return weight


# ---------------------------------------------------------------- one layer


def _plain_lora(layer: Any) -> bool:
    linear = isinstance(getattr(layer, "base_layer", None), nn.Linear)
    return linear and hasattr(layer, "lora_A") and not layer.merged


def _active(layer: Any) -> list[str]:
    return [] if layer.disable_adapters else [name for name in layer.active_adapters if name in layer.lora_A]


def _unusual(layer: Any, active: Sequence[str]) -> bool:
    """Whether an active adapter is more than two matrices."""
    return any(name in layer.lora_variant or layer.lora_bias.get(name) for name in active)


def _fused(layer: Any) -> Callable[[Tensor], Tensor] | None:
    """The forward of a LoRA layer as one function, or None where the formula is not all that it computes."""
    active = _active(layer) if _plain_lora(layer) else []
    if len(active) != 1 or _unusual(layer, active):
        return None
    (name,), base = active, layer.base_layer
    dropping = layer.training and not isinstance(layer.lora_dropout[name], nn.Identity)
    if dropping or not _trained_alone(layer, name, base):
        return None
    a, b, scale = layer.lora_A[name].weight, layer.lora_B[name].weight, float(layer.scaling[name])

    def forward(x: Tensor) -> Tensor:
        out: Tensor = _LoraLinear.apply(x, (base, scale), a, b)  # type: ignore[no-untyped-call]
        return out

    return forward


def _trained_alone(layer: Any, name: str, base: nn.Linear) -> bool:
    """Whether base weights are frozen and all matrices lie on a CPU in one precision."""
    matrices = (base.weight, layer.lora_A[name].weight, layer.lora_B[name].weight)
    alike = base.weight.dtype in FULL and len({(m.dtype, m.device.type) for m in matrices}) == 1
    frozen = not base.weight.requires_grad and (base.bias is None or not base.bias.requires_grad)
    return alike and frozen and base.weight.device.type == "cpu"


class _LoraLinear(torch.autograd.Function):
    """x (..., in) to x W^T + bias + scale * (x A^T) B^T, for A (r, in) and B (out, r)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: tuple[nn.Linear, float], a: Tensor, b: Tensor) -> Tensor:
        base, scale = layer
        rows = x.reshape(-1, x.shape[-1])
        inner = rows @ a.T
        out = F.linear(rows, base.weight, base.bias).addmm_(inner, b.T, alpha=scale)
        ctx.save_for_backward(rows, inner, a, b)
        ctx.layer = layer
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (base, scale), (rows, inner, a, b) = ctx.layer, ctx.saved_tensors
        given = gradient.reshape(-1, gradient.shape[-1])
        through = (given @ b).mul_(scale)
        below = None
        if ctx.needs_input_grad[0]:
            below = (given @ base.weight).addmm_(through, a).view(*gradient.shape[:-1], -1)
        return below, None, through.T @ rows, (given.T @ inner).mul_(scale)
