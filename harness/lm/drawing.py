"""How a token is drawn: temperature, most probable tokens, nucleus, and one number from [0, 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.contracts import HarnessError

NUCLEI = (64, 1024)
"""Most probable tokens in which a row's nucleus is sought, before its whole vocabulary is sorted."""
BLOCK = 256
"""Tokens whose shares are added up as one, to find where a draw falls."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample; nothing is inherited from the model's own generation settings but its end-of-sequence ids."""

    n: int
    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    stop: tuple[str, ...]
    seed: int

    def __post_init__(self) -> None:
        checks = {
            "n": (self.n >= 1, "1 or more"),
            "temperature": (self.temperature >= 0, "0 (greedy) or more"),
            "top_p": (0 < self.top_p <= 1, "above 0, up to 1"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
            "max_new_tokens": (self.max_new_tokens >= 0, "0 or more"),
        }
        for name, (fits, expected) in checks.items():
            if not fits:
                raise HarnessError(f"{name}={getattr(self, name)} was given where {expected} was expected")


def choose(logits: Tensor, uniform: Tensor, how: Sampling) -> Tensor:
    """Token ids (R,) from logits (R, V) and draws (R,) by the inverse of the cumulative distribution.

    Temperature first, then `top_k`, then `top_p`. Raises HarnessError when the model's logits are not finite.
    """
    if how.temperature == 0:
        return logits.argmax(-1)
    if how.temperature != 1:
        logits = logits / how.temperature
    return _drawn(_filtered(logits, how).softmax(-1), uniform.double()[:, None])


def _drawn(shares: Tensor, uniform: Tensor) -> Tensor:
    """The ids (R,) at which cumulative shares (R, V) pass `uniform` (R, 1) of their total: first the block, then where.

    Adding up a whole vocabulary one after the other takes longer than all else that drawing does.
    """
    number = shares.shape[-1] // BLOCK
    whole = number * BLOCK
    blocks = shares[:, :whole].reshape(len(shares), number, BLOCK).sum(-1)
    blocks = torch.cat([blocks, shares[:, whole:].sum(-1, keepdim=True)], dim=-1)
    reached = blocks.cumsum(-1, dtype=torch.float64)
    total = reached[:, -1:]
    if not bool(torch.isfinite(total).all()):
        raise HarnessError("the model's logits are not finite, so nothing can be sampled from it")
    sought = uniform * total
    block = torch.searchsorted(reached, sought, right=True)
    first = block * BLOCK
    places = first + torch.arange(BLOCK, device=shares.device)
    inside = shares.gather(-1, places.clamp(max=shares.shape[-1] - 1)).masked_fill(places >= shares.shape[-1], 0)
    inner = inside.cumsum(-1, dtype=torch.float64)
    within = (sought - reached.gather(-1, block) + blocks.gather(-1, block)).clamp(min=0)
    # The block's own sum is rounded: a draw at its very end is the last token that has a share at all.
    last = torch.searchsorted(inner, inner[:, -1:].contiguous())
    return (first + torch.minimum(torch.searchsorted(inner, within, right=True), last))[:, 0]


def _filtered(logits: Tensor, how: Sampling) -> Tensor:
    if 0 < how.top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(how.top_k).values[:, -1:], -torch.inf)
    if how.top_p < 1:
        logits = logits.masked_fill(logits < _nucleus_floor(logits, how.top_p), -torch.inf)
    return logits


def _nucleus_floor(logits: Tensor, top_p: float) -> Tensor:
    """(R, 1): the least logit of the smallest set of tokens whose probability reaches `top_p`."""
    mass = logits.logsumexp(-1, keepdim=True)
    floor = torch.empty_like(mass)
    open_rows = torch.arange(len(logits), device=logits.device)
    for size in (*(size for size in NUCLEI if size < logits.shape[-1]), logits.shape[-1]):
        top = logits[open_rows].topk(size).values
        reached = (top - mass[open_rows]).exp().cumsum(-1)
        last = (reached < top_p).sum(-1, keepdim=True).clamp(max=size - 1)
        floor[open_rows] = top.gather(-1, last)
        open_rows = open_rows[reached[:, -1] < top_p]
        if not len(open_rows):
            break
    return floor
