"""Exact log-probabilities of completions: prompts computed once, the head only where a completion token is predicted.

A prompt and its n completions form a tree. The tree is laid out in one row: the prompt, then the completions one after
the other, each with the position ids it would have alone. A token sees its own completion and its prompt, by a 4-D
attention mask. Several trees share a row block-diagonally. The last token of a completion predicts nothing that is
asked for, so it is not computed at all.

    row:        p0 p1 p2 | a0 a1 | b0         completions a = (a0 a1 a2), b = (b0 b1)
    position:    0  1  2 |  3  4 |  3
    predicts:          a0,b0 | a1 a2 | b1

Whether a model honours such masks is found out once per model by comparison with a plain forward; one that does not is
run on plain padded rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.contracts import HarnessError
from harness.lm.padded import padded_log_softmax, padded_logprobs
from harness.lm.peft_internals import head_logits
from harness.lm.pieces import piecewise
from harness.lm.probes import tree_attention
from harness.lm.rows import Group, Prefix, Row, TokenStats, check_groups, pack, row_tokens, shared_tokens, span_of
from harness.lm.trees import forward_row, row_hidden, tree_logprobs


def group_logprobs(
    model: Any,
    groups: Sequence[Group],
    *,
    entropy: bool = False,
    temperature: float = 1.0,
    max_tokens: int | None = None,
    prefix: Prefix | None = None,
) -> list[list[TokenStats]]:
    """Log-probability of every completion token given its prompt, for each group and completion in the given order.

    Exact, and differentiable where gradients are enabled. Logits are divided by `temperature`. `max_tokens` bounds the
    tokens of a row (`row_tokens` where none are given); rows are cut at group borders (on a CPU earlier: several groups
    share a short row only), and a longer group still is one row, unless gradients are off: then its completions are
    spread over rows. With `prefix` (no gradients) every prompt must start with its ids and be longer. Raises
    HarnessError for an empty prompt.
    """
    check_groups(groups, prefix)
    longest = max_tokens or row_tokens(model)
    trees = tree_attention(model, max(map(span_of, groups), default=0))
    if prefix is not None and not trees:
        raise HarnessError(
            "this model ignores 4-D attention masks, so its prompts cannot share a prefix; leave prefix out"
        )

    def compute(part: Sequence[Group]) -> list[list[TokenStats]]:
        if trees:
            return tree_logprobs(
                model, part, entropy=entropy, temperature=temperature, max_tokens=longest, prefix=prefix
            )
        return padded_logprobs(model, part, entropy=entropy, temperature=temperature, max_tokens=longest)

    return piecewise(groups, compute)


def completion_log_softmax(
    model: Any, groups: Sequence[Group], *, chunk: int, max_tokens: int | None = None
) -> Iterator[Tensor]:
    """Log-probabilities over the vocabulary behind every completion token, in order, in blocks (<= chunk, V).

    Meant for use without gradient: `evaluating`.
    """
    check_groups(groups, None)
    if not tree_attention(model, max(map(span_of, groups), default=0)):
        yield from padded_log_softmax(model, groups, chunk)
        return
    longest = max_tokens or row_tokens(model)
    for row in pack(groups, longest, 0, split=True, shared=shared_tokens(model, longest)):
        hidden = row_hidden(model, row, None)
        for where in torch.split(torch.tensor(row.predictors, device=hidden.device), chunk):
            yield head_logits(model, hidden.index_select(0, where)).log_softmax(-1)


def prefix_cache(model: Any, ids: Sequence[int]) -> Prefix:
    """Compute a shared prefix's keys and values once, without gradient. The model must pass `tree_attention`."""
    from transformers import DynamicCache

    row = Row(list(ids), list(range(len(ids))), [0] * len(ids), [-1] * len(ids))
    cache = DynamicCache()
    with torch.no_grad():
        forward_row(model, row, cache=cache, start=0)
    return Prefix(tuple(ids), cache)
