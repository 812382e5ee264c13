"""From hidden states to per-token log-probabilities and entropies, the head applied at scored positions only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from harness.lm.peft_internals import base_lm, head_logits
from harness.lm.rows import CHUNK_ELEMENTS, LOWEST, Group, TokenStats


class Results:
    """Collects per-completion figures and returns them in the order of the groups."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._found: dict[tuple[int, int], TokenStats] = {}

    def add(self, owners: Sequence[tuple[int, int]], stats: TokenStats) -> None:
        """File the figures of concatenated completions under their owners (group, completion)."""
        sizes = [len(self._groups[g].completions[c]) for g, c in owners]
        logprobs, greedy = torch.split(stats.logprobs, sizes), torch.split(stats.greedy, sizes)
        entropies = [None] * len(sizes) if stats.entropies is None else torch.split(stats.entropies, sizes)
        for owner, one, spread, best in zip(owners, logprobs, entropies, greedy, strict=True):
            self._found[owner] = TokenStats(one, spread, best)

    def listed(self, model: Any, entropy: bool) -> list[list[TokenStats]]:
        """All figures in the order of the groups; an empty completion has empty figures."""
        none = torch.zeros(0, device=model.device, dtype=torch.promote_types(model.dtype, torch.float32))
        empty = TokenStats(none, none if entropy else None, none.bool())
        return [
            [self._found.get((g, c), empty) for c in range(len(group.completions))]
            for g, group in enumerate(self._groups)
        ]


def token_stats(
    model: Any,
    hidden: Tensor,
    predictors: Sequence[int],
    targets: Sequence[int],
    *,
    entropy: bool,
    temperature: float = 1.0,
) -> TokenStats:
    """Figures of all targets of a row, the head applied in chunks; with gradient, many chunks are recomputed."""
    where = torch.tensor(predictors, device=hidden.device)
    wanted = torch.tensor(targets, device=hidden.device)
    chunk = max(1, CHUNK_ELEMENTS // base_lm(model).config.get_text_config().vocab_size)
    recompute = torch.is_grad_enabled() and len(targets) > 4 * chunk

    def figures(rows: Tensor, ids: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        return figures_of(head_logits(model, rows), ids, entropy, temperature)

    # Not hidden[where]: a prompt's last token predicts several answers, and its gradient would add them up in whatever
    # order threads come, so that a fit would not always repeat to the bit.
    predicting = hidden.index_select(0, where)
    parts = []
    for rows, ids in zip(torch.split(predicting, chunk), torch.split(wanted, chunk), strict=True):
        parts.append(checkpoint(figures, rows, ids, use_reentrant=False) if recompute else figures(rows, ids))
    logprobs, entropies, greedy = zip(*parts, strict=True)
    return TokenStats(torch.cat(logprobs), torch.cat(entropies) if entropy else None, torch.cat(greedy))


def figures_of(
    logits: Tensor, ids: Tensor, entropy: bool, temperature: float = 1.0
) -> tuple[Tensor, Tensor | None, Tensor]:
    """(log p, entropy, is the most probable) of `ids` (N,) under `logits` (N, V) over the temperature."""
    greedy = logits.detach().argmax(-1) == ids
    if temperature != 1:
        logits = logits / temperature
    logprobs, spread = _Logprobs.apply(logits, ids, entropy)  # type: ignore[no-untyped-call]
    return logprobs, spread, greedy


class _Logprobs(torch.autograd.Function):
    """log softmax of logits (N, V) at `ids` (N,), and entropies, which no method differentiates.

    Torch's own gradient writes two more tensors of the vocabulary's size: one of zeros but for the ids, and a sum.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor, entropy: bool) -> tuple[Tensor, Tensor | None]:
        logp = logits.log_softmax(-1)
        ctx.save_for_backward(logp, ids)
        spread = None
        if entropy:
            finite = logp.clamp_min(LOWEST)
            spread = -(finite.exp() * finite).sum(-1)
            ctx.mark_non_differentiable(spread)
        return logp.gather(-1, ids[:, None])[:, 0], spread

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logp, ids = ctx.saved_tensors
        share = logp.exp().mul_(-gradient[:, None])
        share[torch.arange(len(ids), device=ids.device), ids] += gradient
        return share, None, None
