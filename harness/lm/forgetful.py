"""Gradient checkpointing: a decoder's layers forget what their gradients need, and compute it again.

Memory then holds the inputs of all layers and the inner values of a single one; the price is a second forward. The
loss and its gradient stay what they were. transformers' own switch works in training mode only, and knows nothing of
the ways in which a row is computed here (`harness.lm.trees`), which a layer has to take again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from harness.contracts import HarnessError
from harness.lm.peft_internals import decoder_of

Way = Callable[[Any], AbstractContextManager[Any]]
"""From a layer to the context in which it computes."""

_WAY: ContextVar[Way] = ContextVar("way", default=lambda layer: nullcontext())


@contextmanager
def again_by(way: Way) -> Iterator[None]:
    """Layers that run inside the block are computed again, for their gradients, inside `way(layer)`."""
    token = _WAY.set(way)
    try:
        yield
    finally:
        _WAY.reset(token)


def forget(model: Any) -> None:
    """Make every layer of a model's decoder forget. Raises HarnessError for a model whose layers are not known."""
    decoder = decoder_of(model)
    layers = [layer for layer in decoder.modules() if isinstance(layer, GradientCheckpointingLayer)]
    if not layers:
        raise HarnessError(
            f"gradient_checkpointing cannot be used: transformers marks no layers of {type(decoder).__name__} as "
            "layers that can be computed again; leave the setting out"
        )
    for layer in layers:
        layer.forward = _forgetful(layer)


def forgets(model: Any) -> bool:
    """Whether the model's layers forget."""
    return any(hasattr(vars(layer).get("forward"), "computes") for layer in decoder_of(model).modules())


def _forgetful(layer: Any) -> Callable[..., Any]:
    plain = layer.forward

    def forward(*given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain(*given, **named)
        if "past_key_values" in named:
            named["past_key_values"] = None  # a cache would be written to twice
        way = _WAY.get()
        return checkpoint(plain, *given, use_reentrant=False, context_fn=lambda: (nullcontext(), way(layer)), **named)

    forward.computes = plain  # type: ignore[attr-defined]
    return forward
