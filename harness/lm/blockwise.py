"""Attention of several token trees in one row, with or without a prefix that they share, on a CPU.

A tree is a prompt and its branches. Every token sees the prefix whole, the prompt of its tree, and its own run of
tokens up to itself. One masked attention over all of it spends its time on pairs of tokens that may not see each other
and on keys repeated for every query head. Here a row is cut into parts without a mask: every run by itself, causally;
every tree's branches over its prompt, and all tokens over the prefix, the query heads that share a key head as one.
Parts of the same token are joined by their log-sum-exps. The result is the same sum in another order, and so is the
gradient: a part's share of it follows from the joined output and log-sum-exp (the softmax over all keys is its own
scores' exponentials over the joint sum), so that parts are differentiated one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from harness.lm.peft_internals import attention_named

BLOCKWISE = "harness_blockwise"
_FLASH = "_scaled_dot_product_flash_attention_for_cpu"
"""Torch's operator behind `scaled_dot_product_attention` on a CPU: the only form that returns log-sum-exps."""
_FLASH_BACKWARD = f"{_FLASH}_backward"


@dataclass(frozen=True, slots=True)
class Part:
    """Queries `start` to `end` of a row over keys `first` to `last`, prefix included: all of them, or causally."""

    start: int
    end: int
    first: int
    last: int
    causal: bool


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """How a row is cut: the causal parts hold every query once. `mask` gives the same as booleans, (1, 1, T, P + T)."""

    parts: Sequence[Part]
    mask: Callable[[], Tensor]

    @property
    def scores(self) -> int:
        """Pairs of a query and a key that are computed, of each head."""
        return sum((part.end - part.start) * (part.last - part.first) for part in self.parts)


_PLAN: ContextVar[BlockPlan | None] = ContextVar("plan", default=None)


def fits(decoder: Any) -> bool:
    """Whether a decoder's attention can be replaced here: sdpa, on a CPU, no layer computed twice for its gradient."""
    plain = getattr(decoder.config, "_attn_implementation", None) == "sdpa" and decoder.device.type == "cpu"
    repeats = decoder.training and torch.is_grad_enabled() and getattr(decoder, "gradient_checkpointing", False)
    return plain and not repeats and all(hasattr(torch.ops.aten, name) for name in (_FLASH, _FLASH_BACKWARD))


def parts_of(runs: Sequence[tuple[int, int, bool]], prefix: int) -> list[Part]:
    """Parts of a row from its runs (start, end, whether a prompt begins here), which follow one another."""
    parts = [Part(start, end, prefix + start, prefix + end, causal=True) for start, end, _ in runs]
    roots = [i for i, (_, _, root) in enumerate(runs) if root]
    for place, following in zip(roots, [*roots[1:], len(runs)], strict=True):
        start, end = runs[place][:2]
        if following > place + 1:
            parts.append(Part(end, runs[following - 1][1], prefix + start, prefix + end, causal=False))
    if prefix:
        parts.append(Part(0, runs[-1][1], 0, prefix, causal=False))
    return parts


def planned() -> BlockPlan | None:
    """The plan of the row that is being read, if it is read part by part."""
    return _PLAN.get()


@contextmanager
def blockwise(decoder: Any, plan: BlockPlan) -> Iterator[None]:
    """Inside, a decoder that `fits` reads one row as `plan` says, on top of what its cache holds."""
    token = _PLAN.set(plan)
    try:
        with attention_named(decoder, BLOCKWISE):
            yield
    finally:
        _PLAN.reset(token)


def blockwise_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """What transformers calls: queries (1, H, T, D), keys and values (1, H / G, P + T, D) to outputs (1, T, H, D)."""
    plan = _PLAN.get()
    assert plan is not None, "only `blockwise` asks for this attention"
    special = any(kwargs.get(name) is not None for name in ("position_bias", "s_aux")) or kwargs.get("dropout")
    if special or value.shape[-1] != query.shape[-1]:
        plain: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, plan.mask(), **kwargs)
        return plain
    scale = kwargs.get("scaling")
    how = _How(plan.parts, query.shape[-1] ** -0.5 if scale is None else scale)
    out: Tensor = _Blockwise.apply(query, key, value, how)  # type: ignore[no-untyped-call]
    return out.transpose(1, 2), None


@dataclass(frozen=True, slots=True)
class _How:
    """The parts of a row, and what scores are multiplied by."""

    parts: Sequence[Part]
    scale: float


class _Blockwise(torch.autograd.Function):
    """(1, H, T, D) outputs of the parts of a row, joined."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, how: _How) -> Tensor:
        out = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3]).transpose(1, 2)
        weight = torch.empty(query.shape[:3], dtype=torch.promote_types(query.dtype, torch.float32))
        for part in how.parts:
            mixed, own = _read(query, key, value, part, how.scale)
            here = slice(part.start, part.end)
            if part.causal:
                out[:, :, here], weight[:, :, here] = mixed, own
            else:
                share = torch.sigmoid(own - weight[:, :, here])[..., None].to(out.dtype)
                out[:, :, here].lerp_(mixed, share)
                weight[:, :, here] = torch.logaddexp(weight[:, :, here], own)
        ctx.save_for_backward(query, key, value, out, weight)
        ctx.how = how
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, key, value, out, weight = ctx.saved_tensors
        found = torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for part in ctx.how.parts:
            here, keys = slice(part.start, part.end), slice(part.first, part.last)
            joined = _Joined(*(t[:, :, here] for t in (gradient, query, out, weight)))
            differentiate = _causal_backward if part.causal else _whole_backward
            shares = differentiate(joined, key[:, :, keys], value[:, :, keys], ctx.how.scale)
            for total, share, place in zip(found, shares, (here, keys, keys), strict=True):
                total[:, :, place] += share
        return *found, None


@dataclass(frozen=True, slots=True)
class _Joined:
    """Of a part's queries: the gradient of their outputs, themselves, and outputs and log-sum-exps over all parts."""

    gradient: Tensor
    query: Tensor
    out: Tensor
    weight: Tensor


Gradients = tuple[Tensor, Tensor, Tensor]
"""A part's share of the gradients of its queries, keys and values."""


def _read(query: Tensor, key: Tensor, value: Tensor, part: Part, scale: float) -> tuple[Tensor, Tensor]:
    """Outputs (1, H, t, D) and log-sum-exps (1, H, t) of one part."""
    keys = slice(part.first, part.last)
    asked, heads = query[:, :, part.start : part.end], key.shape[1]
    if part.causal:
        groups = query.shape[1] // heads
        return flash(
            asked, _spread(key[:, :, keys], groups), _spread(value[:, :, keys], groups), scale=scale, causal=True
        )
    mixed, weight = flash(_folded(asked, heads), key[:, :, keys], value[:, :, keys], scale=scale)
    return mixed.reshape(asked.shape), weight.reshape(asked.shape[:3])


def flash(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, causal: bool = False, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Outputs (B, H, t, D) and log-sum-exps (B, H, t) of the scores, to which `mask` (B, 1, t, T) is added."""
    out, weight = getattr(torch.ops.aten, _FLASH)(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
    return out, weight


def _causal_backward(joined: _Joined, key: Tensor, value: Tensor, scale: float) -> Gradients:
    heads = key.shape[1]
    groups = joined.query.shape[1] // heads
    many = _spread(key, groups), _spread(value, groups)
    given = getattr(torch.ops.aten, _FLASH_BACKWARD)(
        joined.gradient, joined.query, *many, joined.out, joined.weight, 0.0, True, scale=scale
    )
    keys, values = (share.unflatten(1, (heads, groups)).sum(2) for share in given[1:])
    return given[0], keys, values


def _whole_backward(joined: _Joined, key: Tensor, value: Tensor, scale: float) -> Gradients:
    heads = key.shape[1]
    gradient, query, out, weight = (
        _folded(t, heads) for t in (joined.gradient, joined.query, joined.out, joined.weight)
    )
    asked, keys, values = getattr(torch.ops.aten, _FLASH_BACKWARD)(
        gradient, query, key, value, out, weight, 0.0, False, scale=scale
    )
    return asked.reshape(joined.query.shape), keys, values


def _spread(states: Tensor, groups: int) -> Tensor:
    """Every key head once for each query head that reads it."""
    return states if groups == 1 else states.repeat_interleave(groups, 1)


def _folded(states: Tensor, heads: int) -> Tensor:
    """(1, H, t, ...) to (1, heads, H / heads * t, ...): query heads that share a key head, one after the other."""
    return states.reshape(1, heads, -1, *states.shape[3:])


def no_mask(*_: Any, **__: Any) -> None:
    """Who sees whom is known otherwise."""


AttentionInterface.register(BLOCKWISE, blockwise_attention)
AttentionMaskInterface.register(BLOCKWISE, no_mask)
