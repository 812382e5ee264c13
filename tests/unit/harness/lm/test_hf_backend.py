from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AttentionInterface,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    DiffLlamaConfig,
    DiffLlamaForCausalLM,
    JetMoeConfig,
    JetMoeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from harness.contracts import HarnessError, Loglik, LoglikRequest
from harness.lm import decoding, drawing, shared_prompts
from harness.lm.backends.hf import CACHE_BYTES, HfEngine
from harness.lm.drawing import BLOCK, Sampling, choose
from harness.lm.peft_internals import cached_bytes, steady_positions
from harness.lm.rows import Group
from tests.tiny import tiny_gemma, tiny_model, tiny_tokenizer

PROMPTS = [[1, 50, 60, 70], [1, 80], [1, 50, 60, 70], [1, *range(100, 120)]]


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture
def backend(tokenizer: Any) -> HfEngine:
    return HfEngine(tiny_model(), tokenizer)


def library_greedy(model: Any, prompt: Sequence[int], new: int, eos: int) -> list[int]:
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, pad_token_id=eos
    )
    return list(out[0, len(prompt) :].tolist())


# ---------------------------------------------------------------- generate


@pytest.mark.parametrize("family", ["llama", "gemma"])
@pytest.mark.parametrize("max_rows", [1, 3, 64])
def test_greedy_equals_the_library(tokenizer: Any, family: str, max_rows: int) -> None:
    model = tiny_model() if family == "llama" else tiny_gemma(window=6).float()
    eos = tokenizer.eos_token_id
    model.generation_config.eos_token_id = eos
    found = HfEngine(model, tokenizer, max_rows=max_rows).generate(PROMPTS, temperature=0, max_new_tokens=24)
    for prompt, (completion,) in zip(PROMPTS, found, strict=True):
        assert list(completion.ids) == library_greedy(model, prompt, 24, eos)


def test_greedy_without_4d_masks_equals_the_library(backend: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = backend.generate(PROMPTS, temperature=0, max_new_tokens=24)
    monkeypatch.setattr(decoding, "tree_attention", lambda *_: False)
    assert backend.generate(PROMPTS, temperature=0, max_new_tokens=24) == expected


def padded(backend: HfEngine, patch: pytest.MonkeyPatch, prompts: Sequence[Sequence[int]], **asked: Any) -> Any:
    """What rows with a padded copy of their prompt each sample."""
    with patch.context() as inside:
        inside.setattr(decoding, "shares_prompts", lambda _model: False)
        return backend.generate(prompts, **asked)


SHARING = [
    *([1, *range(40, 140), *range(150 + i, 160 + 3 * i)] for i in range(6)),
    *PROMPTS,
    *([1, *range(200, 320), i] for i in (7, 9)),
]
"""Prompts of many lengths: six behind a long prefix, two behind another one, others by themselves."""


@pytest.mark.parametrize("n", [1, 4])
def test_rows_that_share_a_prompt_sample_what_padded_ones_do(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    model = tiny_model(dtype=torch.float64)
    backend = HfEngine(model, tokenizer)
    asked: dict[str, Any] = {"n": n, "max_new_tokens": 24, "seed": 5}
    free = padded(backend, monkeypatch, SHARING, **asked)
    drawn = [token for row in free for one in row for token in one.ids]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, max(set(drawn), key=drawn.count)]
    expected = padded(backend, monkeypatch, SHARING, **asked)
    assert len({len(one.ids) for row in expected for one in row}) > 3  # rows and whole prompts leave at many steps
    columns: list[int] = []
    model.model.register_forward_hook(lambda _m, _a, out: columns.append(out[0].shape[1]))
    assert backend.generate(SHARING, **asked) == expected
    assert sum(columns[:-23]) < sum(map(len, SHARING)) - 400  # no padding, and both prefixes once


def diff_llama() -> Any:
    """Splits its values in two behind the cache."""
    config = DiffLlamaConfig(**SMALL, num_attention_heads=4, num_key_value_heads=2, lambda_std_dev=0.1)
    return DiffLlamaForCausalLM(config)


def jet_moe() -> Any:
    """Repeats its heads behind the cache, once for each expert that a token visits."""
    heads = {"num_key_value_heads": 2, "kv_channels": 16, "num_local_experts": 3, "num_experts_per_tok": 2}
    return JetMoeForCausalLM(JetMoeConfig(**SMALL, **heads))


def deepseek() -> Any:
    """Keeps one latent vector a token, from which keys and values of all heads follow."""
    ranks = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "first_k_dense_replace": 2}
    return DeepseekV3ForCausalLM(DeepseekV3Config(**SMALL, **heads, **ranks))


SMALL: dict[str, Any] = {
    "vocab_size": 384, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@pytest.mark.parametrize("make", [diff_llama, jet_moe, deepseek])
def test_a_model_that_changes_what_its_cache_gives_samples_as_the_library_does(tokenizer: Any, make: Any) -> None:
    torch.manual_seed(0)
    model = make().eval()
    model.generation_config.eos_token_id = None
    assert not shared_prompts.shares_prompts(model)
    backend = HfEngine(model, tokenizer)
    found = backend.generate(PROMPTS, temperature=0, max_new_tokens=8)
    for prompt, (completion,) in zip(PROMPTS, found, strict=True):
        assert list(completion.ids) == library_greedy(model, prompt, len(completion.ids), tokenizer.eos_token_id)


LONG_SIDES = {"long_factor": [2.0 + i for i in range(8)], "short_factor": [1.0] * 8}


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "factor": 1000.0},
        {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 48, **LONG_SIDES},
    ],
)
def test_prompts_whose_rotation_depends_on_their_length_share_nothing(tokenizer: Any, rope: dict[str, Any]) -> None:
    """Up to 48 tokens every text is rotated alike; a prefix of 40 by itself would be rotated otherwise than in 60."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **{**SMALL, "max_position_embeddings": 48}, num_attention_heads=4, rope_parameters={**rope, "rope_theta": 1e4}
    )
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = None
    prompts = [[1, *range(10, 50), *range(60 + 20 * i, 79 + 20 * i)] for i in range(4)]
    backend = HfEngine(model, tokenizer, max_length=512)
    found = backend.generate(prompts, temperature=0, max_new_tokens=8)
    assert steady_positions(model) == 48
    for prompt, (completion,) in zip(prompts, found, strict=True):
        assert list(completion.ids) == library_greedy(model, prompt, len(completion.ids), tokenizer.eos_token_id)


@pytest.mark.parametrize("special", [{"s_aux": 0}, {"position_bias": 0}, {"dropout": 0.1}])
def test_attention_that_asks_for_more_is_padded(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, special: dict[str, float]
) -> None:
    plain = shared_prompts.shared_attention
    assert shared_prompts.shares_prompts(tiny_model())
    asks = {shared_prompts.SHARED: lambda *given, **kwargs: plain(*given, **{**kwargs, **special})}
    monkeypatch.setattr(AttentionInterface, "_global_mapping", {**AttentionInterface._global_mapping, **asks})
    assert not shared_prompts.shares_prompts(tiny_model())


def test_a_wrong_way_to_share_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that reads no padding mask differs from padded rows, and is decoded by them."""
    plain = shared_prompts.flash

    def unmasked(*given: Any, mask: Any = None, **kwargs: Any) -> Any:
        return plain(*given, **kwargs)

    monkeypatch.setattr(shared_prompts, "flash", unmasked)
    assert not shared_prompts.shares_prompts(tiny_model())


def test_a_prompt_of_many_rows_does_not_make_lines_of_all_the_others(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """33 prompts of one row and one of 40: a step asks at most twice as many queries as there are rows."""
    model = tiny_model(dtype=torch.float64)
    model.generation_config.eos_token_id = None
    backend = HfEngine(model, tokenizer)
    prompts = [[1, 9, 7], *([1, 30 + i] for i in range(33)), *([[1, 9, 7]] * 39)]
    asked: dict[str, Any] = {"n": 1, "max_new_tokens": 6, "seed": 2}
    expected = padded(backend, monkeypatch, prompts, **asked)
    plain, queries = shared_prompts.flash, []

    def counting(query: Any, *given: Any, **kwargs: Any) -> Any:
        queries.append(query.shape[0] * query.shape[2])
        return plain(query, *given, **kwargs)

    monkeypatch.setattr(shared_prompts, "flash", counting)
    assert backend.generate(prompts, **asked) == expected
    groups = model.config.num_attention_heads // model.config.num_key_value_heads
    assert max(queries) <= 2 * 73 * groups


def test_the_head_reads_a_prompt_once_for_all_its_samples(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    read: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda _m, _a, out: read.append(out.shape[0]))
    backend = HfEngine(model, tokenizer)
    backend.generate(PROMPTS, max_new_tokens=1)  # in which the model is measured
    for sample in (
        lambda: backend.generate(PROMPTS[1:2], n=64, max_new_tokens=1),
        lambda: padded(backend, monkeypatch, PROMPTS[1:2], n=64, max_new_tokens=1),
    ):
        read.clear()
        sample()
        assert read == [1]


def test_a_prompt_that_fills_a_batch_is_computed_for_many_rows(tokenizer: Any) -> None:
    model = tiny_model()
    model.generation_config.eos_token_id = None
    backend = HfEngine(model, tokenizer, batch_tokens=100)
    backend.generate([[1, 2]], max_new_tokens=1)
    widths: list[int] = []
    model.model.register_forward_hook(lambda _m, _a, out: widths.append(out[0].shape[1]))
    backend.generate([list(range(3, 99))], n=8, max_new_tokens=4)
    assert widths.count(96) == 1


def test_a_prompt_is_held_once_for_all_its_rows(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows are decoded together as fit: 60 tokens of prompt and 4 rows of 10, where a row alone holds 70."""
    model = tiny_model()
    widths: list[int] = []
    model.model.register_forward_hook(lambda _m, _a, out: widths.append(out[0].shape[0]))
    backend = HfEngine(model, tokenizer, batch_tokens=100)
    asked: dict[str, Any] = {"n": 4, "max_new_tokens": 10, "seed": 1}
    model.generation_config.eos_token_id = None
    expected = padded(backend, monkeypatch, [list(range(3, 63))], **asked)
    assert max(widths) == 1
    assert backend.generate([list(range(3, 63))], **asked) == expected
    assert max(widths) == 4


def test_rows_that_end_early_leave_the_batch_and_disturb_no_one(tokenizer: Any) -> None:
    model = tiny_model()
    backend = HfEngine(model, tokenizer)
    free = backend.generate(PROMPTS, n=6, max_new_tokens=30, seed=3)
    common = max(range(3, 384), key=lambda t: sum(t in c.ids for row in free for c in row))
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, common]
    widths: list[int] = []
    model.model.register_forward_hook(lambda _m, _a, out: widths.append(out[0].shape[0]))
    ended = backend.generate(PROMPTS, n=6, max_new_tokens=30, seed=3)
    assert sum(c.finish == "stop" for row in ended for c in row) >= 3
    for before, after in zip(free, ended, strict=True):
        for a, b in zip(before, after, strict=True):
            assert b.ids == a.ids[: len(b.ids)]
            assert (b.finish == "stop") == (b.ids[-1] in (common, tokenizer.eos_token_id))
            assert common not in b.ids[:-1]
            assert len(b.ids) == 30 or b.finish == "stop"
    lengths = [len(c.ids) for row in ended for c in row]
    assert widths[0] == 1  # all prompts in one row of tokens
    assert widths[1:] == [sum(n > step for n in lengths) for step in range(1, max(lengths))]


def test_samples_do_not_depend_on_the_batch(tokenizer: Any) -> None:
    model = tiny_model(dtype=torch.float64)
    wide, narrow = HfEngine(model, tokenizer), HfEngine(model, tokenizer, max_rows=2)
    arguments: dict[str, Any] = {"n": 5, "max_new_tokens": 20, "seed": 11}
    assert wide.generate(PROMPTS, **arguments) == narrow.generate(PROMPTS, **arguments)
    assert wide.generate(PROMPTS, **arguments) != wide.generate(PROMPTS, **{**arguments, "seed": 12})
    found = wide.generate(PROMPTS, **arguments)
    assert found[0] != found[2]  # equal prompts, streams of their own
    assert len({c.ids for c in found[0]}) > 1


def test_nothing_is_inherited_from_the_generation_config(backend: HfEngine) -> None:
    expected = backend.generate(PROMPTS, n=2, max_new_tokens=10)
    own = backend.model.generation_config
    own.temperature, own.top_k, own.top_p, own.repetition_penalty, own.do_sample = 0.01, 1, 0.1, 5.0, True
    assert backend.generate(PROMPTS, n=2, max_new_tokens=10) == expected


def test_stop_string_ends_and_is_cut_from_the_text(backend: HfEngine, tokenizer: Any) -> None:
    (whole,) = backend.generate(PROMPTS[:1], temperature=0, max_new_tokens=30)[0]
    stop = whole.text[5:8]
    (cut,) = backend.generate(PROMPTS[:1], temperature=0, max_new_tokens=30, stop=["", "nowhere", stop])[0]
    assert cut.finish == "stop"
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.ids == whole.ids[: len(cut.ids)]
    assert stop in tokenizer.decode(cut.ids)
    assert stop not in tokenizer.decode(cut.ids[:-1])


def test_end_of_turn_is_in_the_ids_and_not_in_the_text(tokenizer: Any) -> None:
    model = tiny_model()
    backend = HfEngine(model, tokenizer)
    (free,) = backend.generate(PROMPTS[:1], temperature=0, max_new_tokens=12)[0]
    model.generation_config.eos_token_id = free.ids[5]
    (ended,) = backend.generate(PROMPTS[:1], temperature=0, max_new_tokens=12)[0]
    first = free.ids.index(free.ids[5])
    assert ended.ids == free.ids[: first + 1]
    assert ended.text == tokenizer.decode(free.ids[:first], skip_special_tokens=True)


def test_bounds_of_generation(backend: HfEngine) -> None:
    assert backend.generate([], max_new_tokens=3) == []
    (nothing,) = backend.generate([[1]], max_new_tokens=0)[0]
    assert (nothing.text, nothing.ids, nothing.finish) == ("", (), "length")
    long = list(range(3, 300)) * 2
    assert backend.generate([long], temperature=0, max_new_tokens=12) == backend.generate(
        [long[-500:]], temperature=0, max_new_tokens=12
    )
    for bad in (
        {"n": 0},
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"max_new_tokens": 600},
    ):
        with pytest.raises(HarnessError, match=next(iter(bad))):
            backend.generate([[1]], **{"max_new_tokens": 3, **bad})
    with pytest.raises(HarnessError, match="prompt 1 is empty"):
        backend.generate([[1], []], max_new_tokens=3)


@pytest.mark.parametrize("make", [tiny_model, lambda: tiny_gemma(64)])
def test_a_decoding_batch_is_as_large_as_its_cache_may_be(tokenizer: Any, make: Any) -> None:
    model = make()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        cache = model.get_decoder()(input_ids=ids, use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert cached_bytes(model) == held // ids.shape[1]
    assert HfEngine(model, tokenizer).batch_tokens == CACHE_BYTES // cached_bytes(model)


def how(**changes: Any) -> Sampling:
    plain: dict[str, Any] = {
        "n": 1,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "max_new_tokens": 1,
        "stop": (),
        "seed": 0,
    }
    return Sampling(**{**plain, **changes})


def frequencies(logits: Any, settings: Sampling, draws: int = 20_000) -> Any:
    uniform = (torch.arange(draws) + 0.5) / draws
    chosen = choose(logits.expand(draws, -1), uniform, settings)
    return torch.bincount(chosen, minlength=logits.shape[-1]) / draws


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0, -30.0]])
    expected = logits[0].softmax(-1)
    torch.testing.assert_close(frequencies(logits, how()), expected, atol=1e-4, rtol=0)
    hot = (logits[0] / 2).softmax(-1)
    torch.testing.assert_close(frequencies(logits, how(temperature=2.0)), hot, atol=1e-4, rtol=0)
    top2 = torch.tensor([0, expected[1], 0, expected[3], 0]) / (expected[1] + expected[3])
    torch.testing.assert_close(frequencies(logits, how(top_k=2)), top2, atol=1e-4, rtol=0)
    # The most probable token has 0.64, the two most probable 0.88.
    torch.testing.assert_close(frequencies(logits, how(top_p=0.8)), top2, atol=1e-4, rtol=0)
    assert frequencies(logits, how(top_p=0.5)).tolist() == [0, 0, 0, 1, 0]
    assert frequencies(logits, how(temperature=0)).tolist() == [0, 0, 0, 1, 0]


def test_nucleus_wider_than_the_first_look_equals_the_library() -> None:
    from transformers import TopPLogitsWarper

    torch.manual_seed(0)
    logits = torch.randn(3, 4000)
    for top_p in (0.3, 0.9, 0.999):
        kept = drawing._filtered(logits, how(top_p=top_p)) > -torch.inf
        assert torch.equal(kept, TopPLogitsWarper(top_p)(None, logits) > -torch.inf)


@pytest.mark.parametrize("vocabulary", [5, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 49_152])
def test_a_draw_by_blocks_is_the_draw_by_the_whole_cumulative_distribution(vocabulary: int) -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(1, vocabulary)).expand(400, -1).contiguous()
    logits[:, ::3] = -torch.inf
    uniform = torch.rand(400)
    shares = logits.softmax(-1)
    cumulative = shares.cumsum(-1, dtype=torch.float64)
    plain = torch.searchsorted(cumulative, uniform.double()[:, None] * cumulative[:, -1:], right=True)[:, 0]
    chosen = choose(logits, uniform, how())
    assert (chosen == plain).float().mean() >= 0.995, "but for draws within rounding of a border"
    assert (shares.gather(-1, chosen[:, None]) > 0).all()


def test_extreme_draws_hit_tokens_that_have_probability() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]]).expand(2, -1)
    assert choose(logits, torch.tensor([0.0, 1 - 2**-24]), how()).tolist() == [1, 2]
    wide = torch.full((2, 5 * BLOCK + 7), -torch.inf)
    wide[:, BLOCK + 3] = wide[:, 5 * BLOCK + 2] = 0.0
    assert choose(wide, torch.tensor([0.0, 1 - 2**-24]), how()).tolist() == [BLOCK + 3, 5 * BLOCK + 2]
    with pytest.raises(HarnessError, match="finite"):
        choose(torch.full((1, 4), torch.nan), torch.zeros(1), how())


def test_peft_model_generates_as_the_library_does(tokenizer: Any) -> None:
    import peft

    torch.manual_seed(2)
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    model = peft.get_peft_model(tiny_model(), config).train()
    found = HfEngine(model, tokenizer).generate(PROMPTS, temperature=0, max_new_tokens=12)
    assert model.training
    model.eval()
    for prompt, (completion,) in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([prompt])
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert list(completion.ids) == out[0, len(prompt) :].tolist()


# ---------------------------------------------------------------- loglik


def naive_loglik(backend: HfEngine, request: LoglikRequest, prefix: Sequence[int] = ()) -> Loglik:
    """lm-eval's HFLM: last `max_length + 1` tokens, the last one only predicted."""
    context = [*prefix, *request.context] or [backend.tokenizer.bos_token_id]
    ids = [*context, *request.continuation][-(backend.max_length + 1) :]
    with torch.no_grad():
        logits = backend.model(input_ids=torch.tensor([ids[:-1]])).logits[0].log_softmax(-1)
    own, wanted = logits[-len(request.continuation) :], torch.tensor(request.continuation)
    total = float(own.gather(-1, wanted[:, None]).sum())
    return Loglik(total, len(wanted), bool((own.argmax(-1) == wanted).all()))


def assert_agree(backend: HfEngine, requests: Sequence[LoglikRequest], prefix: Sequence[int] = ()) -> None:
    for found, request in zip(backend.loglik(requests, prefix=prefix), requests, strict=True):
        expected = naive_loglik(backend, request, prefix)
        assert found.total == pytest.approx(expected.total, abs=1e-4)
        assert (found.tokens, found.is_greedy) == (expected.tokens, expected.is_greedy)


@pytest.fixture
def requests() -> list[LoglikRequest]:
    random = np.random.default_rng(0)

    def ids(size: int) -> tuple[int, ...]:
        return tuple(int(i) for i in random.integers(3, 384, size))

    shared, other = ids(90), ids(70)
    contexts = [shared + ids(size) for size in (5, 40, 0, 12)] + [other + ids(3), other + ids(9)] + [ids(4), ()]
    out = [LoglikRequest(c, (option,)) for c in contexts for option in (10, 20, 30, 40)]
    out += [LoglikRequest(c, ids(size)) for c in contexts for size in (2, 7)]
    return [out[i] for i in random.permutation(len(out))]


@pytest.mark.parametrize("max_tokens", [64, 1024])
def test_loglik_equals_hflm(tokenizer: Any, requests: list[LoglikRequest], max_tokens: int) -> None:
    backend = HfEngine(tiny_model(), tokenizer, max_tokens=max_tokens)
    assert_agree(backend, requests)
    assert_agree(backend, requests, prefix=range(100, 170))
    assert_agree(HfEngine(tiny_gemma(window=6).float(), tokenizer), [
        LoglikRequest(tuple(i % 300 for i in r.context), tuple(i % 300 for i in r.continuation)) for r in requests
    ])  # fmt: skip


def test_loglik_of_a_greedy_continuation_is_greedy(backend: HfEngine) -> None:
    (best,) = backend.generate([[1, 50]], temperature=0, max_new_tokens=6)[0]
    one, other = backend.loglik([LoglikRequest((1, 50), best.ids), LoglikRequest((1, 50), (*best.ids[:-1], 3))])
    assert one.is_greedy
    assert not other.is_greedy


def test_loglik_clips_on_the_left_as_hflm_does(tokenizer: Any) -> None:
    backend = HfEngine(tiny_model(), tokenizer, max_length=20)
    long = tuple(range(3, 60))
    assert_agree(backend, [LoglikRequest(long, (5, 6)), LoglikRequest(long[:20], (7,)), LoglikRequest((9,), long[:20])])
    for size in (0, 21):
        with pytest.raises(HarnessError, match="continuation"):
            backend.loglik([LoglikRequest((1,), long[:size])])


def test_loglik_computes_shared_things_once(backend: HfEngine, requests: list[LoglikRequest]) -> None:
    seen: list[int] = []
    backend.loglik(requests[:1])
    backend.model.model.register_forward_hook(lambda _m, _a, out: seen.append(out[0].shape[:2].numel()))
    backend.loglik(requests)
    contexts = {r.context for r in requests}
    continued = sum(len(r.continuation) - 1 for r in requests)
    # shared by 4: 89 of 90 tokens (one context is the prefix itself); shared by 2: 70; an empty context is one token
    assert sum(seen) == sum(max(len(c), 1) for c in contexts) + continued - 3 * 89 - 1 * 70


# ---------------------------------------------------------------- score, logits, embed


def test_score_gives_fp32_arrays_and_entropy_in_one_forward(backend: HfEngine) -> None:
    groups = [Group([1, 2], [[3, 4], [5]]), Group([6], [[7, 8, 9]])]
    plain = backend.score(groups)
    calls: list[int] = []
    backend.model.model.register_forward_hook(lambda *_: calls.append(1))
    found = backend.score(groups, entropy=True)
    assert len(calls) == 1
    assert [[len(s.logprobs) for s in row] for row in found] == [[2, 1], [3]]
    assert found[0][0].logprobs.dtype == found[0][0].entropies.dtype == np.float32
    np.testing.assert_allclose(found[1][0].logprobs, plain[1][0].logprobs, atol=1e-5)
    assert plain[0][0].entropies is None
    assert found[0][0].total == pytest.approx(naive_loglik(backend, LoglikRequest((1, 2), (3, 4))).total, abs=1e-4)


def test_logits_come_in_order_in_small_blocks(backend: HfEngine) -> None:
    prompts, completions = [[1, 2], [1, 2], [3]], [[4, 5, 6], [7], [8, 9]]
    blocks = []
    for block in backend.logits(prompts, completions, chunk=2):
        assert torch.is_grad_enabled()
        blocks.append(block)
    assert max(map(len, blocks)) <= 2
    rows = np.concatenate(blocks)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.exp(rows).sum(-1), 1, atol=1e-5)
    own = iter(rows)
    for prompt, completion in zip(prompts, completions, strict=True):
        full = backend.model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0].log_softmax(-1)
        for t in range(len(completion)):
            np.testing.assert_allclose(next(own), full[len(prompt) - 1 + t].detach(), atol=1e-4)
    with pytest.raises(HarnessError, match="one each"):
        next(backend.logits([[1]], []))


@pytest.mark.parametrize("layer", [-1, 0, 1])
@pytest.mark.parametrize("pool", ["mean", "last"])
def test_embed_ignores_padding_and_order(backend: HfEngine, tokenizer: Any, layer: int, pool: Any) -> None:
    texts = ["a long text about foxes and dogs", "short", "", "another one"]
    backend._max_tokens = 16
    found = backend.embed(texts, layer=layer, pool=pool)
    assert found.shape == (4, 32)
    for text, vector in zip(texts, found, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"] or [tokenizer.eos_token_id]])
        states = backend.model(input_ids=ids, output_hidden_states=True).hidden_states[layer][0].detach()
        expected = states.mean(0) if pool == "mean" else states[-1]
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    with pytest.raises(HarnessError, match="layer 7"):
        backend.embed(["x"], layer=7)
    with pytest.raises(HarnessError, match="pool"):
        backend.embed(["x"], pool="max")  # type: ignore[arg-type]


def test_the_backend_is_registered() -> None:
    from harness.lm.backends import hf

    assert hf.harness_backends() == [hf.HfBackend]
