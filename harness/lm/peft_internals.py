"""Private corners of transformers and PEFT models: the decoder below the head, and the head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def base_lm(model: Any) -> Any:
    """The causal language model inside a PEFT wrapper, or the model itself."""
    wrapped = hasattr(model, "get_base_model")
    return model.get_base_model() if wrapped else model


def decoder_of(model: Any) -> Any:
    """The module that turns token ids into last hidden states."""
    return base_lm(model).get_decoder()


def is_divided(weight: Tensor) -> bool:
    """Whether a weight lies in parts in several processes (`harness.fit.sharding`)."""
    return hasattr(weight, "to_local")


def head_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits (N, V) of hidden states (N, D), with the model's own scaling and capping, in fp32 or better."""
    base = base_lm(model)
    config = base.config.get_text_config()
    logits: Tensor = base.get_output_embeddings()(hidden)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if (multiplier := getattr(config, "logit_scale", None)) is not None:
        logits = logits * multiplier
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits


@contextmanager
def attention_named(decoder: Any, name: str) -> Iterator[None]:
    """Inside, a decoder's layers use the attention that transformers knows as `name`."""
    config, before = decoder.config, decoder.config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode without gradient; afterwards every module is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def sliding_window(model: Any) -> int | None:
    """Width of the model's sliding attention in tokens, None where all its layers see everything."""
    config = decoder_of(model).config
    layers = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if window is None or getattr(config, "use_sliding_window", True) is False:
        return None
    return int(window) if layers is None or "sliding_attention" in layers else None


def steady_positions(model: Any) -> int | None:
    """Tokens up to which a position is rotated alike in every text; None: in texts of any length.

    Beyond, "dynamic" and "longrope" frequencies depend on the longest text of a forward, so that neither a prefix nor
    a row may be shared.
    """
    config = decoder_of(model).config
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [rope, *(one for one in rope.values() if isinstance(one, dict))]
    moving = [one for one in kinds if one.get("rope_type", one.get("type")) in ("dynamic", "longrope")]
    if not moving:
        return None
    longest = int(config.max_position_embeddings)
    own = getattr(config, "original_max_position_embeddings", None) or longest
    return min(int(one.get("original_max_position_embeddings") or own) for one in moving)


def cached_bytes(model: Any) -> int:
    """Bytes of one token's keys and values in all layers."""
    config = base_lm(model).config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    size = torch.empty(0, dtype=model.dtype).element_size()
    return int(2 * config.num_hidden_layers * kept * width * size)
