"""Blockwise attention gives the figures of masked attention, is used where it may be, and leaves the model alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.lm import blockwise as attention
from harness.lm import logprobs
from harness.lm.logprobs import group_logprobs, prefix_cache
from harness.lm.peft_internals import evaluating
from harness.lm.probes import tree_attention
from harness.lm.rows import Group
from tests.tiny import tiny_gemma, tiny_model

SHARED = [(5 + 7 * i) % 300 for i in range(40)]
GROUPS = [
    Group([*SHARED, 9, 8, 7], [[1], [2], [3]]),
    Group([*SHARED, 4], [[5, 6, 7], [8, 9]]),
    Group([*SHARED, 2, 2, 3, 3], [[11, 12, 13, 14]]),
    Group([*SHARED, 17], [[5, 6], [], [8, 9, 10, 11], [12]]),
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, bool]]:
    """(queries, keys, causal) of every part that is read."""
    seen: list[tuple[int, int, bool]] = []
    plain = attention._read

    def counted(query: Any, key: Any, value: Any, part: Any, scale: float) -> Any:
        seen.append((part.end - part.start, part.last - part.first, part.causal))
        return plain(query, key, value, part, scale)

    monkeypatch.setattr(attention, "_read", counted)
    return seen


def totals(model: Any, *, prefix: bool) -> list[float]:
    with evaluating(model):
        cached = prefix_cache(model, SHARED[:30]) if prefix else None
        found = group_logprobs(model, GROUPS, prefix=cached)
    return [float(stats.logprobs.sum()) for group in found for stats in group]


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_figures_are_those_of_masked_attention(
    prefix: bool, dtype: Any, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, int, bool]]
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


def test_runs_are_read_by_themselves_prompts_and_prefix_once(calls: list[tuple[int, int, bool]]) -> None:
    model = tiny_model()
    tree_attention(model)
    calls.clear()
    totals(model, prefix=True)
    layers = model.config.num_hidden_layers
    cached, rest = calls[:layers], calls[layers:]
    assert cached == [(30, 30, True)] * layers
    prompts = [(13, True), (11, True), (14, True), (11, True)]
    branches = [[], [2, 1], [3], [1, 3]]
    one_layer = []
    for (prompt, _), sizes in zip(prompts, branches, strict=True):
        one_layer += [(size, size, True) for size in (prompt, *sizes)]
    for (prompt, _), sizes in zip(prompts, branches, strict=True):
        one_layer += [(sum(sizes), prompt, False)] if sizes else []
    tokens = sum(queries for queries, _, causal in one_layer if causal)
    assert rest == [*one_layer, (tokens, 30, False)] * layers


@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_those_of_masked_attention(
    training: bool, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, int, bool]]
) -> None:
    model = tiny_model(dtype=torch.float64).train(training)

    def gradients() -> dict[str, Any]:
        model.zero_grad()
        found = [stats.logprobs for group in group_logprobs(model, GROUPS) for stats in group]
        torch.cat([one * (i + 1) for i, one in enumerate(found)]).sum().backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    blockwise = gradients()
    assert calls
    used = len(calls)
    monkeypatch.setattr(attention, "fits", lambda decoder: False)
    for name, gradient in gradients().items():
        torch.testing.assert_close(blockwise[name], gradient, rtol=1e-8, atol=1e-10, msg=name)
    assert len(calls) == used


def test_not_with_sliding_windows_nor_layers_computed_twice(calls: list[tuple[int, int, bool]]) -> None:
    sliding, checkpointed = tiny_gemma(window=16), tiny_model()
    checkpointed.gradient_checkpointing_enable()
    tree_attention(checkpointed)
    calls.clear()
    group_logprobs(sliding, GROUPS)
    [[stats, *_], *_] = group_logprobs(checkpointed.train(), GROUPS)
    stats.logprobs.sum().backward()
    assert calls == []
    group_logprobs(checkpointed.eval(), GROUPS)
    assert calls


def test_the_model_is_put_back_when_a_forward_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    tree_attention(model)

    def fail(*_: Any) -> None:
        raise FloatingPointError

    monkeypatch.setattr(attention, "_read", fail)
    with pytest.raises(FloatingPointError), evaluating(model):
        logprobs.group_logprobs(model, GROUPS)
    assert model.config._attn_implementation == "sdpa"
    assert attention._PLAN.get() is None
