"""Blockwise attention gives the figures of masked attention, is used where it may be, and leaves the model alone."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from harness import attention, logprobs  # noqa: E402
from harness.logprobs import Group, evaluating, group_logprobs, prefix_cache, tree_attention  # noqa: E402
from tests.tiny import tiny_gemma, tiny_model  # noqa: E402

SHARED = [(5 + 7 * i) % 300 for i in range(40)]
GROUPS = [
    Group([*SHARED, 9, 8, 7], [[1], [2], [3]]),
    Group([*SHARED, 4], [[5, 6, 7], [8, 9]]),
    Group([*SHARED, 2, 2, 3, 3], [[11, 12, 13, 14]]),
    Group([*SHARED, 17], [[5, 6], [], [8, 9, 10, 11], [12]]),
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool, bool]]:
    """(keys, causal, masked) of every attention that is computed blockwise."""
    seen: list[tuple[int, bool, bool]] = []
    plain = attention._flash

    def counted(query: Any, key: Any, value: Any, scale: Any, block: Any = None) -> Any:
        mask = None if block is None else block.mask
        seen.append((key.shape[2], block is not None and mask is None, mask is not None))
        return plain(query, key, value, scale, block)

    monkeypatch.setattr(attention, "_flash", counted)
    return seen


def totals(model: Any, *, prefix: bool) -> list[float]:
    with evaluating(model):
        cached = prefix_cache(model, SHARED[:30]) if prefix else None
        found = group_logprobs(model, GROUPS, prefix=cached)
    return [float(stats.logprobs.sum()) for group in found for stats in group]


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_figures_are_those_of_masked_attention(
    prefix: bool, dtype: Any, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, bool, bool]]
) -> None:
    model = tiny_model(dtype=dtype)
    assert tree_attention(model)
    calls.clear()
    blockwise = totals(model, prefix=prefix)
    assert calls
    used = len(calls)
    assert model.config._attn_implementation == "sdpa"
    monkeypatch.setattr(attention, "fits", lambda decoder: False)
    masked = totals(model, prefix=prefix)
    assert len(calls) == used
    assert blockwise == pytest.approx(masked, abs=1e-4 if dtype == torch.float32 else 1e-10)


def test_each_sequence_is_read_by_itself_and_the_prefix_once(calls: list[tuple[int, bool, bool]]) -> None:
    model = tiny_model()
    tree_attention(model)
    calls.clear()
    totals(model, prefix=True)
    layers = model.config.num_hidden_layers
    cached, rest = calls[:layers], calls[layers:]
    assert cached == [(30, True, False)] * layers
    # the prefix for all; one-token answers and a single answer are causal, branches are masked
    one_layer = [(30, False, False), (13, True, False), (14, False, True), (17, True, False), (15, False, True)]
    assert rest == one_layer * layers


def test_not_with_gradients_nor_sliding_windows(calls: list[tuple[int, bool, bool]]) -> None:
    model, sliding = tiny_model(), tiny_gemma(window=16)
    tree_attention(model)
    calls.clear()
    [[stats, *_], *_] = group_logprobs(model, GROUPS)
    stats.logprobs.sum().backward()
    with evaluating(sliding):
        group_logprobs(sliding, GROUPS)
    assert calls == []


def test_the_model_is_put_back_when_a_forward_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    tree_attention(model)

    def fail(*_: Any) -> None:
        raise FloatingPointError

    monkeypatch.setattr(attention, "_flash", fail)
    with pytest.raises(FloatingPointError), evaluating(model):
        logprobs.group_logprobs(model, GROUPS)
    assert model.config._attn_implementation == "sdpa"
    assert attention._BLOCKS.get() == ()
