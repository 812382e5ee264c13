"""Losses and divergences that several methods have, from log-probabilities in nats."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from harness.contracts import TokenLogprobs

if TYPE_CHECKING:
    from torch import Tensor


def margins(totals: Tensor, reference: Tensor, beta: float) -> Tensor:
    """m = beta (d_w - d_l), d = log pi - log pi_ref; both (B, 2): summed nats of winner and loser. Returns (B,)."""
    ratio = totals - reference
    return beta * (ratio[:, 0] - ratio[:, 1])


def summed(scored: Sequence[TokenLogprobs]) -> Tensor:
    """Log-probability of each completion, shape (N,)."""
    import torch

    return torch.stack([one.logprobs.sum() for one in scored])


def entropies(scored: TokenLogprobs) -> list[float]:
    """Of the next-token distribution at every token, in nats: constants."""
    if scored.entropies is None:
        raise RuntimeError("token entropies were asked for and not returned")
    return [float(h) for h in scored.entropies.detach().tolist()]


def kl_loss(own: Sequence[TokenLogprobs], reference: Sequence[TokenLogprobs]) -> Tensor:
    """Estimate of KL(policy || reference) per sample of the policy's: sum over tokens of e^d - d - 1, d = ref - own."""
    import torch

    gaps = [ref.logprobs - one.logprobs for one, ref in zip(own, reference, strict=True)]
    return torch.stack([(gap.exp() - gap - 1).sum() for gap in gaps]).mean()


def log_ratio(own: Sequence[Sequence[TokenLogprobs]], reference: Sequence[Sequence[TokenLogprobs]]) -> float:
    """Mean of log pi - log pi_ref over the policy's own samples: an estimate of the KL divergence that may be negative.

    No gradient.
    """
    pairs = [(a, b) for group, fixed in zip(own, reference, strict=True) for a, b in zip(group, fixed, strict=True)]
    return fmean(float((a.logprobs.detach() - b.logprobs).sum()) for a, b in pairs)
