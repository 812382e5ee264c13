"""A language model and a tokenizer small enough for unit tests, built in code: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.conformance import toy
from harness.conformance.toy import SPECIAL
from harness.contracts import Budget, Lengths, Regime

CORPUS = (
    "The quick brown fox jumps over the lazy dog.",
    "Question: which drug is the best next step in the management of this patient? Answer: A B C D",
    "user assistant system yes no good bad one two three four five six seven eight nine ten",
)
LONGEST = 512


def tiny_tokenizer(vocabulary: int = 384) -> Any:
    """The kit's tokenizer on another corpus, with a token that begins a text."""
    return toy.tiny_tokenizer(CORPUS * 4, vocabulary=vocabulary, longest=LONGEST, begin=SPECIAL[1])


def tiny_model(seed: int = 0, *, std: float = 0.2, dtype: Any = None) -> Any:
    """The kit's Llama with a tied head and wholly random, in eval mode, float32.

    `std` is the spread of the initial weights: 0.2 makes predictions depend visibly on the context.
    """
    vocabulary = len(tiny_tokenizer())
    model = toy.random_llama(seed, vocabulary=vocabulary, longest=LONGEST, spread=std, tied=True, begin=1)
    return model if dtype is None else model.to(dtype)


def tiny_gemma(window: int, *, cap: float | None = 5.0, seed: int = 0) -> Any:
    """A 3-layer Gemma 3 (vocabulary 300) that mixes sliding and full attention and caps its logits, in float64."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=window,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        final_logit_softcapping=cap,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Gemma3ForCausalLM(config)
    return model.double().eval()


def tiny_folder(path: Path, seed: int = 0) -> Path:
    """Save the tiny model and tokenizer as an ordinary model folder and return it."""
    path.mkdir(parents=True, exist_ok=True)
    tiny_model(seed).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def offering(aligned: Any, *methods: str) -> Any:
    """The fitted model as far as these methods go: nothing else can be asked of it."""
    shared = {name: getattr(aligned, name) for name in ("tokenizer", "max_length") if hasattr(aligned, name)}
    return SimpleNamespace(**shared, **{name: getattr(aligned, name) for name in methods})


def flat_regime(
    batch: int = 4,
    min_steps: int = 4,
    selection: Any = "last",
    prompt_tokens: int = 64,
    completion_tokens: int = 32,
    new_tokens: int = 16,
    sample_prompts: int = 2,
    device: str = "cpu",
    precision: str = "fp32",
) -> Regime:
    """A regime from its parts, in the words that aligners read; lengths may be shorter than a user may ask for."""
    budget = Budget(batch=batch, min_steps=min_steps, selection=selection)
    lengths = Lengths.model_construct(
        prompt=prompt_tokens, completion=completion_tokens, new_tokens=new_tokens, sample_prompts=sample_prompts
    )
    return Regime(budget, lengths, device, precision)
