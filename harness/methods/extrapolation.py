"""A policy extrapolated away from a reference: softmax((1+lam) h - lam h_ref), h being logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.contracts import POLICY, Bench, Ids

if TYPE_CHECKING:
    from torch import Tensor


def decoupled_ratio(policy: Tensor, reference: Tensor, ids: Tensor, lam: float) -> Tensor:
    """Per-token log pi~ - log pi_ref in nats, pi~ the extrapolated policy (arXiv 2406.04412, Eqs. 11, 12).

    `policy` and `reference` (T, V) are logits or log-probabilities, `ids` (T,) the answer's tokens. Returns (T,).
    """
    extrapolated = ((1 + lam) * policy - lam * reference).log_softmax(-1)
    return (extrapolated - reference.log_softmax(-1)).gather(-1, ids[:, None])[:, 0]


def extrapolated_pairs(
    bench: Bench, prompts: Sequence[Ids], pairs: Sequence[tuple[Ids, Ids]], *, lam: float, reference: str
) -> tuple[Tensor, Tensor]:
    """Sums over the tokens of each answer of log pi_ref and of log pi~/pi_ref, both (B, 2), without gradient.

    From the full vocabulary of the live policy and of the adapter `reference`, a block of tokens at a time.
    """
    import torch

    sizes = [len(answer) for pair in pairs for answer in pair]
    parts = zip(*_blocks(bench, prompts, pairs, lam, reference), strict=True)
    fixed, ratios = (torch.stack([t.sum() for t in torch.split(torch.cat(part), sizes)]).view(-1, 2) for part in parts)
    return fixed, ratios


def _blocks(
    bench: Bench, prompts: Sequence[Ids], pairs: Sequence[tuple[Ids, Ids]], lam: float, reference: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Per-token log pi_ref and log pi~/pi_ref, block by block."""
    import torch

    ids = torch.tensor([token for pair in pairs for answer in pair for token in answer])
    own, other = (bench.distributions(prompts, pairs, of=of) for of in (POLICY, reference))
    start = 0
    for policy, fixed in zip(own, other, strict=True):
        tokens = ids[start : start + len(policy)].to(policy.device)
        start += len(policy)
        yield fixed.gather(-1, tokens[:, None])[:, 0], decoupled_ratio(policy, fixed, tokens, lam)
