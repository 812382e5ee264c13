from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.contracts import HarnessError
from harness.lm import blockwise as attention
from harness.lm import figures as scoring
from harness.lm import logprobs, probes, rows
from harness.lm.logprobs import group_logprobs, prefix_cache
from harness.lm.probes import tree_attention
from harness.lm.rows import Group
from tests.tiny import tiny_gemma, tiny_model

GROUPS = [
    Group([1, 5, 6, 7, 90], [[9, 8, 7], [5], [], [33, 44, 55, 66]]),
    Group([3, 3], [[4, 4], [5, 6, 7]]),
    Group([200], [[17, 18, 19, 20, 21, 22]]),
]


@pytest.fixture
def model() -> Any:
    return tiny_model(dtype=torch.float64)


def naive(model: Any, groups: list[Group]) -> list[list[tuple[Any, Any, Any]]]:
    """(log p, entropy, greedy) of each completion, one plain forward per sequence."""
    out = []
    for group in groups:
        row = []
        for completion in group.completions:
            full = model(input_ids=torch.tensor([[*group.prompt, *completion]])).logits[0].log_softmax(-1)
            start = len(group.prompt) - 1
            own = full[start : start + len(completion)]
            ids = torch.tensor(completion, dtype=torch.long)
            row.append((own.gather(-1, ids[:, None])[:, 0], -(own.exp() * own).sum(-1), own.argmax(-1) == ids))
        out.append(row)
    return out


def assert_equal(found: Any, expected: Any, atol: float = 1e-10) -> None:
    for group, wanted in zip(found, expected, strict=True):
        for stats, (logprobs_, entropies, greedy) in zip(group, wanted, strict=True):
            torch.testing.assert_close(stats.logprobs, logprobs_, atol=atol, rtol=0)
            torch.testing.assert_close(stats.entropies, entropies, atol=atol, rtol=0)
            assert torch.equal(stats.greedy, greedy)


@pytest.mark.parametrize("max_tokens", [1, 8, 13, 1024])
@pytest.mark.parametrize("grad", [False, True])
def test_values_equal_a_forward_per_sequence(model: Any, max_tokens: int, grad: bool) -> None:
    with torch.set_grad_enabled(grad):
        assert_equal(group_logprobs(model, GROUPS, entropy=True, max_tokens=max_tokens), naive(model, GROUPS))


@pytest.mark.parametrize("padded", [False, True])
def test_a_temperature_divides_the_logits(model: Any, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if padded:
        monkeypatch.setattr(logprobs, "tree_attention", lambda *_: False)
    found = group_logprobs(model, GROUPS, entropy=True, temperature=0.6)
    head = model.get_output_embeddings().forward
    monkeypatch.setattr(model.get_output_embeddings(), "forward", lambda hidden: head(hidden) / 0.6)
    assert_equal(found, naive(model, GROUPS))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("max_tokens", [1, 1024])
def test_gradients_equal_a_forward_per_sequence(
    model: Any, max_tokens: int, recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    def in_double(self: Any, x: Any) -> Any:  # the library's rounds to fp32, which gradients would show
        return torch.nn.functional.rms_norm(x, (x.shape[-1],), self.weight, self.variance_epsilon)

    monkeypatch.setattr(LlamaRMSNorm, "forward", in_double)
    if recompute:
        monkeypatch.setattr(scoring, "CHUNK_ELEMENTS", 1)
    weights = list(model.parameters())
    total = sum((s.logprobs * s.entropies.detach()).sum() for g in naive_stats(model) for s in g)
    expected = torch.autograd.grad(total, weights)
    found = group_logprobs(model, GROUPS, entropy=True, max_tokens=max_tokens)
    assert not any(s.entropies.requires_grad for g in found for s in g)
    actual = torch.autograd.grad(sum((s.logprobs * s.entropies).sum() for g in found for s in g), weights)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-9)


def naive_stats(model: Any) -> list[list[Any]]:
    return [[rows.TokenStats(*figures) for figures in group] for group in naive(model, GROUPS)]


def test_order_and_company_do_not_matter(model: Any) -> None:
    together = group_logprobs(model, GROUPS, max_tokens=1024)
    alone = [group_logprobs(model, [group])[0] for group in GROUPS]
    turned = group_logprobs(model, GROUPS[::-1])[::-1]
    for a, b, c in zip(together, alone, turned, strict=True):
        for x, y, z in zip(a, b, c, strict=True):
            torch.testing.assert_close(x.logprobs, y.logprobs, atol=1e-10, rtol=0)
            torch.testing.assert_close(x.logprobs, z.logprobs, atol=1e-10, rtol=0)


def test_rows_are_cut_between_groups_and_a_group_is_split_only_without_gradient(model: Any) -> None:
    def sizes(grad: bool, max_tokens: int) -> list[int]:
        return [len(row.ids) for row in rows.pack(GROUPS, max_tokens, 0, split=not grad, shared=max_tokens)]

    assert sizes(True, 1024) == [5 + 2 + 0 + 3 + 2 + 1 + 2 + 1 + 5]
    assert sizes(True, 8) == [10, 5, 6]
    assert sizes(False, 8) == [7, 8, 5, 6]
    (lone,) = rows.pack(GROUPS[:1], 1024, 0, split=True, shared=1)
    assert len(lone.ids) == 10, "a group by itself may be longer than a row that groups share"


def test_on_a_cpu_groups_share_short_rows_only(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            assert rows.shared_tokens(model, 10**6) == rows.CPU_ROW * torch.get_num_threads()
            assert rows.shared_tokens(model, 6) == 6
    monkeypatch.setattr(attention, "fits", lambda decoder: False)
    assert rows.shared_tokens(model, 10**6) == rows.CPU_MASKED_ROW


def test_on_a_gpu_a_batch_of_pairs_is_one_row() -> None:
    model = SimpleNamespace(device=torch.device("cuda"))
    pair = Group(range(200), (range(60), range(60)))
    longest = rows.row_tokens(model)
    packed = list(rows.pack([pair] * 8, longest, 0, split=False, shared=rows.shared_tokens(model, longest)))
    assert [len(row.ids) for row in packed] == [8 * (200 + 2 * 59)]


@pytest.mark.parametrize("entropy", [False, True])
def test_the_gradient_of_log_probabilities_is_torchs_own(entropy: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 11, generator=generator, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([0, 3, 3, 10, 1, 2, 5])

    def figures(given: Any) -> Any:
        return scoring.figures_of(given, ids, entropy)[0]

    assert torch.autograd.gradcheck(figures, (logits,))
    given, spread, greedy = scoring.figures_of(logits, ids, entropy)
    expected = torch.distributions.Categorical(logits=logits.detach())
    torch.testing.assert_close(given.detach(), expected.log_prob(ids))
    assert (spread is None) is not entropy
    if spread is not None:
        torch.testing.assert_close(spread, expected.entropy())
        assert not spread.requires_grad
    assert greedy.tolist() == (logits.argmax(-1) == ids).tolist()


def test_peft_model(model: Any) -> None:
    import peft

    torch.manual_seed(1)
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    base = naive(model, GROUPS)
    wrapped = peft.get_peft_model(model, config).double().eval()
    found = group_logprobs(wrapped, GROUPS, entropy=True)
    assert_equal(found, naive(wrapped, GROUPS))
    assert (found[0][0].logprobs - base[0][0][0]).abs().max() > 1e-3
    with wrapped.disable_adapter():
        assert_equal(group_logprobs(wrapped, GROUPS, entropy=True), base)
    assert found[0][0].logprobs.requires_grad


def test_mixed_sliding_and_full_layers() -> None:
    model = tiny_gemma(window=4)
    assert tree_attention(model, 100)
    assert set(probes._TREES[model.get_decoder()]) == {True}
    assert_equal(group_logprobs(model, GROUPS, entropy=True), naive(model, GROUPS))


def test_the_window_matters_in_that_test() -> None:
    wide, narrow = tiny_gemma(window=100), tiny_gemma(window=4)
    a, b = (group_logprobs(m, GROUPS)[0][3].logprobs for m in (wide, narrow))
    assert (a - b).abs().max() > 1e-3


def test_uniformly_sliding_model() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=3, initializer_range=0.2,
    )  # fmt: skip
    model = MistralForCausalLM(config).double().eval()
    assert tree_attention(model, 100)
    assert_equal(group_logprobs(model, GROUPS, entropy=True), naive(model, GROUPS))


def test_scaled_logits() -> None:
    from transformers import GraniteConfig, GraniteForCausalLM

    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.2, logits_scaling=3.0,
    )  # fmt: skip
    model = GraniteForCausalLM(config).double().eval()
    assert tree_attention(model)
    assert_equal(group_logprobs(model, GROUPS, entropy=True), naive(model, GROUPS))


def test_eager_attention() -> None:
    model = tiny_model(dtype=torch.float64)
    model.set_attn_implementation("eager")
    assert tree_attention(model)
    expected = naive(model, GROUPS)
    assert_equal(group_logprobs(model, GROUPS, entropy=True), expected, atol=1e-5)  # its softmax is in fp32


def test_a_model_that_ignores_the_mask_is_found_out_and_still_scored_right(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = type(model.model).forward

    def deaf(self: Any, *args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        plain = attention_mask if attention_mask is not None and attention_mask.dim() == 2 else None
        kwargs.pop("position_ids", None)
        return forward(self, *args, attention_mask=plain, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", deaf)
    assert not tree_attention(model)
    assert_equal(group_logprobs(model, GROUPS, entropy=True, max_tokens=16), naive(model, GROUPS))
    blocks = list(logprobs.completion_log_softmax(model, GROUPS, chunk=2))
    assert sum(map(len, blocks)) == 19
    with pytest.raises(HarnessError, match="masks"):
        group_logprobs(model, [Group([1, 2], [[3]])], prefix=rows.Prefix((1,), None))


def test_the_check_runs_once_per_model_leaves_no_trace_and_forgets_dead_models(model: Any) -> None:
    model.train()
    model.lm_head.eval()
    calls: list[bool] = []
    model.model.register_forward_hook(lambda *_: calls.append(probes.probing()))
    state = torch.get_rng_state()
    group_logprobs(model, GROUPS[:1])
    measured = calls.count(True)
    group_logprobs(model, GROUPS[:1])
    assert measured > 0
    assert calls.count(True) == measured
    assert calls.count(False) == 2
    assert model.training
    assert model.model.training
    assert not model.lm_head.training
    assert torch.equal(state, torch.get_rng_state())
    before = len(probes._TREES)
    del model
    other = tiny_model(1)
    tree_attention(other)
    del other
    gc.collect()
    assert len(probes._TREES) <= before


def test_shared_prefix_gives_the_same_figures_twice(model: Any) -> None:
    shared = list(range(40, 70))
    groups = [Group([*shared, *g.prompt], g.completions) for g in GROUPS]
    with torch.no_grad():
        prefix = prefix_cache(model, shared)
        for max_tokens in (1024, 6):
            found = group_logprobs(model, groups, entropy=True, prefix=prefix, max_tokens=max_tokens)
            assert_equal(found, naive(model, groups))
    sliding = tiny_gemma(window=4)
    with torch.no_grad():
        found = group_logprobs(sliding, groups, entropy=True, prefix=prefix_cache(sliding, shared))
    assert_equal(found, naive(sliding, groups))


def test_prompts_must_hold_the_prefix_and_more(model: Any) -> None:
    with torch.no_grad():
        prefix = prefix_cache(model, [1, 2, 3])
        for prompt in ([1, 2, 3], [1, 2, 4, 5]):
            with pytest.raises(HarnessError, match="group 0"):
                group_logprobs(model, [Group(prompt, [[1]])], prefix=prefix)
    with pytest.raises(HarnessError, match="group 1"):
        group_logprobs(model, [GROUPS[0], Group([], [[1]])])


def test_entropy_of_known_distributions() -> None:
    vocabulary = 50
    uniform = torch.zeros(1, vocabulary)
    certain = torch.full((1, vocabulary), -torch.inf)
    certain[0, 7] = 0.0
    ids = torch.tensor([7])
    logp, entropy, greedy = scoring.figures_of(uniform, ids, True)
    assert logp.item() == pytest.approx(-3.912023, abs=1e-5)
    assert entropy.item() == pytest.approx(3.912023, abs=1e-5)
    assert not greedy.item()
    logp, entropy, greedy = scoring.figures_of(certain, ids, True)
    assert (logp.item(), entropy.item(), greedy.item()) == (0.0, 0.0, True)


def test_no_groups_and_no_completions(model: Any) -> None:
    assert group_logprobs(model, []) == []
    empty = group_logprobs(model, [Group([1], [[]]), Group([2], [])], entropy=True)
    assert len(empty[0][0].logprobs) == len(empty[0][0].entropies) == 0
    assert empty[1] == []


def test_half_precision_model_gives_fp32_figures() -> None:
    model = tiny_model(dtype=torch.bfloat16)
    assert tree_attention(model)
    stats = group_logprobs(model, GROUPS)[0][0]
    assert stats.logprobs.dtype == torch.float32


def test_gradients_of_answers_that_share_a_token_repeat_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads may not decide in which order the gradients of a prompt's last token are added."""
    threads, generator = torch.get_num_threads(), torch.Generator().manual_seed(0)
    weights = torch.randn(8, 576, generator=generator)
    monkeypatch.setattr(scoring, "head_logits", lambda model, hidden: hidden @ weights.T)
    monkeypatch.setattr(scoring, "base_lm", lambda model: SimpleNamespace(config=_Sizes()))
    hidden = torch.randn(430, 576, generator=generator)
    predictors = [i for start in range(130, 430, 60) for i in (129, *range(start, start + 59))]
    targets = [i % 8 for i in range(len(predictors))]

    def gradient() -> torch.Tensor:
        leaf = hidden.clone().requires_grad_()
        scoring.token_stats(None, leaf, predictors, targets, entropy=False).logprobs.sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    try:
        torch.set_num_threads(2)
        first = gradient()
        assert all(torch.equal(first, gradient()) for _ in range(300))
    finally:
        torch.set_num_threads(threads)


class _Sizes:
    vocab_size = 8

    def get_text_config(self) -> _Sizes:
        return self
