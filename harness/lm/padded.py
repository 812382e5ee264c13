"""The plain layout: each completion with its prompt in a padded row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.lm.figures import Results, figures_of
from harness.lm.rows import Group, TokenStats


def padded_logprobs(
    model: Any, groups: Sequence[Group], *, entropy: bool, temperature: float = 1.0, max_tokens: int
) -> list[list[TokenStats]]:
    """The same figures from one plain right-padded row per completion, through the model's own forward."""
    owners = [(g, c) for g, group in enumerate(groups) for c, ids in enumerate(group.completions) if len(ids)]
    owners.sort(key=lambda o: len(groups[o[0]].prompt) + len(groups[o[0]].completions[o[1]]))
    out = Results(groups)
    for batch in _padded_batches(groups, owners, max_tokens):
        logits = _padded_logits(model, [[*groups[g].prompt, *groups[g].completions[c]] for g, c in batch])
        for row, (g, c) in zip(logits, batch, strict=True):
            ids = torch.tensor(groups[g].completions[c], device=row.device)
            first = len(groups[g].prompt) - 1
            out.add([(g, c)], TokenStats(*figures_of(row[first : first + len(ids)], ids, entropy, temperature)))
    return out.listed(model, entropy)


def _padded_batches(
    groups: Sequence[Group], owners: Sequence[tuple[int, int]], max_tokens: int
) -> Iterator[list[tuple[int, int]]]:
    batch: list[tuple[int, int]] = []
    for g, c in owners:
        length = len(groups[g].prompt) + len(groups[g].completions[c])
        if batch and (len(batch) + 1) * length > max_tokens:
            yield batch
            batch = []
        batch.append((g, c))
    if batch:
        yield batch


def padded_log_softmax(model: Any, groups: Sequence[Group], chunk: int) -> Iterator[Tensor]:
    """Log-probabilities over the vocabulary at completion positions, in blocks of at most `chunk` rows, in order."""
    for group in groups:
        for completion in filter(len, group.completions):
            logits = _padded_logits(model, [[*group.prompt, *completion]])[0]
            for block in torch.split(logits[len(group.prompt) - 1 : -1], chunk):
                yield block.log_softmax(-1)


def _padded_logits(model: Any, rows: Sequence[Sequence[int]]) -> Tensor:
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=model.device)
    real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=model.device)
    logits: Tensor = model(input_ids=ids, attention_mask=real, use_cache=False).logits
    return logits if logits.dtype == torch.float64 else logits.float()
