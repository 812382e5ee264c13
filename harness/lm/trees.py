"""The shared layout: a prompt once, and its completions behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.lm import blockwise as attention
from harness.lm.fast_lora import fused_adapters
from harness.lm.figures import Results, token_stats
from harness.lm.forgetful import again_by
from harness.lm.peft_internals import decoder_of, sliding_window
from harness.lm.rows import Group, Prefix, Row, TokenStats, is_blockwise, pack, shared_tokens


def attention_masks(model: Any, allowed: Tensor, distance: Tensor) -> Any:
    """What the decoder takes as `attention_mask`, from who may see whom (B, 1, Q, K) and how far back that is.

    A tensor where all layers are alike, a dict by layer type where full and sliding layers are mixed.
    """
    window, config = sliding_window(model), decoder_of(model).config
    full = _mask_values(config, allowed, model)
    if window is None:
        return full
    sliding = _mask_values(config, allowed & (distance < window), model)
    layers = set(getattr(config, "layer_types", None) or {"sliding_attention"})
    return sliding if layers == {"sliding_attention"} else {"full_attention": full, "sliding_attention": sliding}


def tree_logprobs(
    model: Any,
    groups: Sequence[Group],
    *,
    entropy: bool,
    temperature: float = 1.0,
    max_tokens: int,
    prefix: Prefix | None,
) -> list[list[TokenStats]]:
    """Figures of every completion, each prompt computed once; `prefix` is a cache that all prompts begin with."""
    out = Results(groups)
    start = 0 if prefix is None else len(prefix.ids)
    for row in pack(
        groups, max_tokens, start, split=not torch.is_grad_enabled(), shared=shared_tokens(model, max_tokens)
    ):
        hidden = row_hidden(model, row, prefix)
        stats = token_stats(model, hidden, row.predictors, row.targets, entropy=entropy, temperature=temperature)
        out.add(row.owners, stats)
    return out.listed(model, entropy)


def row_hidden(model: Any, row: Row, prefix: Prefix | None) -> Tensor:
    """Last hidden states (T, D) of a row, on top of a shared prefix where there is one."""
    if prefix is None:
        return forward_row(model, row, cache=None, start=0)
    try:
        return forward_row(model, row, cache=prefix.cache, start=len(prefix.ids))
    finally:
        prefix.cache.crop(len(prefix.ids) - prefix.cache.get_seq_length())


def forward_row(model: Any, row: Row, *, cache: Any, start: int) -> Tensor:
    """Hidden states of the tokens of one row, shape (T, width)."""
    quick, device, decoder = is_blockwise(model), model.device, decoder_of(model)
    plan = _plan(row, start, device) if quick else None

    @contextmanager
    def way(part: Any) -> Iterator[None]:
        with nullcontext() if plan is None else attention.blockwise(decoder, plan), fused_adapters(part):
            yield

    with way(decoder), again_by(way):
        out = decoder(
            input_ids=torch.tensor([row.ids], device=device),
            position_ids=torch.tensor([row.positions], device=device),
            attention_mask=None if quick else attention_masks(model, *_visible(row, start, device)),
            past_key_values=cache,
            use_cache=cache is not None,
        )
    hidden: Tensor = out.last_hidden_state[0]
    return hidden


def _plan(row: Row, start: int, device: torch.device) -> attention.BlockPlan:
    """How attention reads a row: a run of tokens is a prompt, or one completion of it."""
    keys = list(zip(row.tree, row.branch, strict=True))
    borders = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    runs = [(first, last, row.branch[first] == -1) for first, last in pairwise([*borders, len(keys)])]
    return attention.BlockPlan(attention.parts_of(runs, start), lambda: _visible(row, start, device)[0])


def _visible(row: Row, start: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(1, 1, T, start + T): who sees whom, and how many positions back."""
    tree, branch, own = (torch.tensor(x, device=device) for x in (row.tree, row.branch, row.positions))
    distance = own[:, None] - own[None, :]
    ancestor = (branch[None, :] == -1) | (branch[:, None] == branch[None, :])
    allowed = (tree[:, None] == tree[None, :]) & ancestor & (distance >= 0)
    if start:
        cached = torch.arange(start, device=device)
        distance = torch.cat([own[:, None] - cached[None, :], distance], dim=1)
        allowed = F.pad(allowed, (start, 0), value=True)
    return allowed[None, None], distance[None, None]


def _mask_values(config: Any, allowed: Tensor, model: Any) -> Tensor:
    """Booleans for sdpa; for eager attention, which adds its mask, 0 and the lowest number."""
    if getattr(config, "_attn_implementation", "eager") != "eager":
        return allowed
    zero = torch.zeros((), dtype=model.dtype, device=allowed.device)
    return torch.where(allowed, zero, torch.finfo(model.dtype).min)
