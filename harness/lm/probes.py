"""Whether a model computes a shared prefix as it computes each text by itself: measured once for each model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch

from harness.lm.padded import padded_logprobs
from harness.lm.paths import fast
from harness.lm.peft_internals import base_lm, decoder_of, evaluating, sliding_window, steady_positions
from harness.lm.rows import MASKED_ATTENTION, Group, TokenStats
from harness.lm.trees import tree_logprobs

_TREES: WeakKeyDictionary[torch.nn.Module, dict[bool, bool]] = WeakKeyDictionary()


MISTAKES = (TypeError, ValueError, RuntimeError, KeyError, IndexError, AttributeError)
"""What a model raises that cannot be run in some way."""


_PROBING: ContextVar[bool] = ContextVar("probing", default=False)


def probing() -> bool:
    """True while a model is only being tested for what it can do: such work is not part of any budget."""
    return _PROBING.get()


def tree_attention(model: Any, span: int = 0) -> bool:
    """Whether tree rows may be used and give this model's own plain log-probabilities; measured once per model.

    Rows that reach beyond a sliding window (`span` positions) are measured apart; beyond positions whose rotation
    depends on the other texts, no row is shared. Not metered, draws no random number.
    """
    steady = steady_positions(model)
    if not fast() or (steady is not None and span > steady):
        return False
    decoder = decoder_of(model)
    window = sliding_window(model)
    beyond = window is not None and span > window
    known = _TREES.setdefault(decoder, {})
    if beyond not in known:
        known[beyond] = _measure(model, window if beyond and window else 0)
    return known[beyond]


def _measure(model: Any, window: int) -> bool:
    if getattr(decoder_of(model).config, "_attn_implementation", None) not in MASKED_ATTENTION:
        return False
    groups = _specimens(base_lm(model).config.get_text_config().vocab_size, 9 + window)
    with probe(model):
        try:
            return _agree(model, groups)
        except MISTAKES as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            return False


def _specimens(vocabulary: int, length: int) -> list[Group]:
    """Two fixed trees over varied token ids; no random numbers."""

    def run(start: int, size: int) -> list[int]:
        return [(start + 7919 * i * (i + 3)) % vocabulary for i in range(size)]

    return [Group(run(11, length), (run(101, 5), run(977, 7))), Group(run(53, 6), (run(307, 4), run(11, 3)))]


def _agree(model: Any, groups: Sequence[Group]) -> bool:
    """Tree rows differ from plain ones by far less than do rows in which later completions see the earlier ones."""
    plain = padded_logprobs(model, groups, entropy=False, max_tokens=1)
    trees = tree_logprobs(model, groups, entropy=False, max_tokens=10**9, prefix=None)
    flat = padded_logprobs(model, [_unrolled(group) for group in groups], entropy=False, max_tokens=1)
    error = max(_gap(a, b) for tree, own in zip(trees, plain, strict=True) for a, b in zip(tree, own, strict=True))
    signal = max(_gap(unrolled[0], own[-1]) for unrolled, own in zip(flat, plain, strict=True))
    return error <= signal * tolerance(model)


def tolerance(model: Any) -> float:
    """How far two ways to compute a figure may lie apart, as a share of how far different figures do."""
    return 0.01 if model.dtype in (torch.float32, torch.float64) else 0.1


def _unrolled(group: Group) -> Group:
    """The last completion as it would be read after the earlier ones."""
    *earlier, last = group.completions
    return Group([*group.prompt, *(i for c in earlier for i in c)], [last])


def _gap(a: TokenStats, b: TokenStats) -> float:
    return float((a.logprobs - b.logprobs).abs().max())


@contextmanager
def probe(model: Any) -> Iterator[None]:
    """Inside, what a model computes is a test of it, without gradient and not metered."""
    token = _PROBING.set(True)
    try:
        with evaluating(model):
            yield
    finally:
        _PROBING.reset(token)
