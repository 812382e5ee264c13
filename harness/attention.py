"""Attention of several token sequences in one row, with or without a prefix that they share, on a CPU.

A row's tokens see the whole prefix and, of the row, their own sequence only. One masked attention over all of it spends
its time on a mask that is true nearly everywhere, on pairs of tokens that may not see each other, and on keys repeated
for every query head. Here the prefix is read without a mask, the query heads that share a key head as one; each
sequence is then read by itself; and the two are joined by their log-sum-exps. The result is the same sum in another
order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BLOCKWISE = "harness_blockwise"
_FLASH = "_scaled_dot_product_flash_attention_for_cpu"
"""Torch's operator behind `scaled_dot_product_attention` on a CPU: the only form that returns log-sum-exps."""


@dataclass(frozen=True, slots=True)
class Block:
    """A sequence of the row, from `start` to `end`; `mask` (T, T), added to scores, is None where it is causal."""

    start: int
    end: int
    mask: Tensor | None


_BLOCKS: ContextVar[Sequence[Block]] = ContextVar("blocks", default=())


def fits(decoder: Any) -> bool:
    """Whether a decoder's attention can be replaced here: sdpa, on a CPU, without gradient."""
    plain = getattr(decoder.config, "_attn_implementation", None) == "sdpa" and not torch.is_grad_enabled()
    return plain and decoder.device.type == "cpu" and hasattr(torch.ops.aten, _FLASH)


@contextmanager
def blockwise(decoder: Any, blocks: Sequence[Block]) -> Iterator[None]:
    """Inside, a decoder that `fits` reads one row of `blocks`, on top of what its cache holds."""
    config, token = decoder.config, _BLOCKS.set(blocks)
    before = config._attn_implementation
    config._attn_implementation = BLOCKWISE
    try:
        yield
    finally:
        config._attn_implementation = before
        _BLOCKS.reset(token)


def blockwise_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """What transformers calls: queries (1, H, T, D), keys and values (1, H / G, P + T, D) to outputs (1, T, H, D)."""
    special = any(kwargs.get(name) is not None for name in ("position_bias", "s_aux")) or kwargs.get("dropout")
    if special or value.shape[-1] != query.shape[-1]:
        plain: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return plain
    groups, scale = query.shape[1] // key.shape[1], kwargs.get("scaling")
    prefix = key.shape[2] - query.shape[2]
    out = query.new_empty(query.transpose(1, 2).shape)
    shared = _prefix(query, key[:, :, :prefix], value[:, :, :prefix], groups, scale) if prefix else None
    for block in _BLOCKS.get():
        here, own = slice(block.start, block.end), slice(prefix + block.start, prefix + block.end)
        keys, values = (states[:, :, own].repeat_interleave(groups, 1) for states in (key, value))
        alone, weight = _flash(query[:, :, here], keys, values, scale, block)
        if shared is not None:
            share = torch.sigmoid(shared[1][:, :, here] - weight)[..., None].to(alone.dtype)
            alone = torch.lerp(alone, shared[0][:, :, here], share)
        out[:, here] = alone.transpose(1, 2)
    return out, None


def _prefix(query: Tensor, key: Tensor, value: Tensor, groups: int, scale: float | None) -> tuple[Tensor, Tensor]:
    """Outputs (1, H, T, D) and log-sum-exps (1, H, T) of all tokens over the prefix, which they see whole."""
    _, heads, tokens, width = query.shape
    folded = query.reshape(1, heads // groups, groups * tokens, width)
    mixed, weight = _flash(folded, key, value, scale)
    return mixed.reshape(1, heads, tokens, width), weight.reshape(1, heads, tokens)


def _flash(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, block: Block | None = None
) -> tuple[Tensor, Tensor]:
    """(outputs, log-sum-exps of the scores); causal, masked, or, without a block, over all keys."""
    causal = block is not None and block.mask is None
    mask = None if block is None else block.mask
    found = getattr(torch.ops.aten, _FLASH)(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
    return found[0], found[1]


AttentionInterface.register(BLOCKWISE, blockwise_attention)
AttentionMaskInterface.register(BLOCKWISE, sdpa_mask)
