"""How prompts and completions are laid out in the rows of a forward."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.contracts import HarnessError
from harness.lm import blockwise as attention
from harness.lm.peft_internals import decoder_of, sliding_window

CHUNK_ELEMENTS = 2**24
"""Most logits that exist at once (64 MiB in fp32)."""


LOWEST = -1e4
"""Log-probability that stands for none in an entropy: its share is exactly 0 either way, and it is a number."""


UNSCORED = -100
"""The libraries' label of a token whose log-probability is not asked for."""


ROW_TOKENS, GPU_ROW_TOKENS = 1024, 4096
"""Most tokens of one forward. A GPU spends a small forward on launching it: the fewer rows, the better."""


CPU_ROW = 512
"""Tokens up to which several groups share a row on a CPU, for each thread: longer rows fall out of the cache."""


CPU_MASKED_ROW = 256
"""The same where attention is masked, so that it is computed for all pairs of a row's tokens."""


MASKED_ATTENTION = ("sdpa", "eager")
"""Attention implementations that take a 4-D mask."""


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and its completions, as token ids. The prompt holds at least one token."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class TokenStats:
    """Per-token figures of one completion, each of shape (T,): nats in fp32 (fp64 for an fp64 model).

    `greedy` says where the token is the most probable one; `entropies` are those of the full next-token distribution,
    without gradient.
    """

    logprobs: Tensor
    entropies: Tensor | None
    greedy: Tensor


@dataclass(frozen=True, slots=True)
class Prefix:
    """A token prefix with its keys and values, shared by many prompts. Without gradient."""

    ids: tuple[int, ...]
    cache: Any


@dataclass(slots=True)
class Row:
    """One row of packed trees; all lists are parallel, one entry per token (`targets` one per predicted token)."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    tree: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    predictors: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    owners: list[tuple[int, int]] = field(default_factory=list)
    """(group, completion) in the order of `targets`."""


_ONE: ContextVar[bool] = ContextVar("one forward", default=False)


@contextmanager
def one_forward() -> Iterator[None]:
    """Inside, all that is asked for in one call is one forward, whatever its length."""
    token = _ONE.set(True)
    try:
        yield
    finally:
        _ONE.reset(token)


def row_tokens(model: Any) -> int:
    """Most tokens of one forward where the model lies, unless a caller knows better."""
    if _ONE.get():
        return sys.maxsize
    return ROW_TOKENS if model.device.type == "cpu" else GPU_ROW_TOKENS


def check_groups(groups: Sequence[Group], prefix: Prefix | None) -> None:
    """Raises HarnessError for a group whose prompt is empty or does not begin with the cached prefix."""
    start = () if prefix is None else prefix.ids
    for index, group in enumerate(groups):
        if len(group.prompt) <= len(start) or tuple(group.prompt[: len(start)]) != start:
            wanted = "at least one token" if prefix is None else "the shared prefix and at least one token more"
            raise HarnessError(f"the prompt of group {index} was expected to hold {wanted}")


def span_of(group: Group) -> int:
    """Longest position of a group."""
    return len(group.prompt) + max(map(len, group.completions), default=0)


def _computed(completion: Sequence[int]) -> int:
    """Tokens of a completion that are run: all but the last."""
    return max(len(completion) - 1, 0)


def shared_tokens(model: Any, max_tokens: int) -> int:
    """Tokens up to which several groups share a row."""
    if _ONE.get() or model.device.type != "cpu":
        return max_tokens
    return min(max_tokens, CPU_ROW * torch.get_num_threads() if is_blockwise(model) else CPU_MASKED_ROW)


def is_blockwise(model: Any) -> bool:
    """Whether a row is read part by part, without masks."""
    return sliding_window(model) is None and attention.fits(decoder_of(model))


def pack(groups: Sequence[Group], max_tokens: int, start: int, *, split: bool, shared: int) -> Iterator[Row]:
    """Rows in order: groups share one up to `shared` tokens, and one by itself has at most `max_tokens`."""
    row = Row()
    for index, group in enumerate(groups):
        for members in _portions(group, max_tokens - (len(group.prompt) - start), split=split):
            size = len(group.prompt) - start + sum(_computed(group.completions[m]) for m in members)
            if row.ids and len(row.ids) + size > shared:
                yield row
                row = Row()
            _append_tree(row, index, group, members, start)
    if row.ids:
        yield row


def _portions(group: Group, room: int, *, split: bool) -> Iterator[list[int]]:
    """Indices of the completions (empty ones left out) that go on one copy of the prompt."""
    members: list[int] = []
    used = 0
    for index, completion in enumerate(group.completions):
        if not len(completion):
            continue
        if split and members and used + _computed(completion) > room:
            yield members
            members, used = [], 0
        members.append(index)
        used += _computed(completion)
    if members:
        yield members


def _append_tree(row: Row, index: int, group: Group, members: Sequence[int], start: int) -> None:
    tree = row.tree[-1] + 1 if row.tree else 0
    length = len(group.prompt)
    _append_run(row, group.prompt[start:], start, tree, branch=-1)
    root = len(row.ids) - 1
    for member in members:
        completion = group.completions[member]
        first = len(row.ids)
        _append_run(row, completion[:-1], length, tree, branch=member)
        row.predictors += [root, *range(first, len(row.ids))]
        row.targets += completion
        row.owners.append((index, member))


def _append_run(row: Row, ids: Sequence[int], position: int, tree: int, branch: int) -> None:
    row.ids += ids
    row.positions += range(position, position + len(ids))
    row.tree += [tree] * len(ids)
    row.branch += [branch] * len(ids)
