"""What a fit takes beside time: memory at its peak, and disk, from the shapes of a model's weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

BYTES = {"fp32": 4, "bf16": 2}
RUNTIME_BYTES = 600 * 2**20
"""What Python, torch and its libraries take before any model is there."""
ROW_BYTES = 4096
"""A scored item with its texts, on disk."""


def footprint(
    shapes: Mapping[str, tuple[int, ...]], *, rank: int, targets: str, precision: str, tokens: int, items: int
) -> tuple[int, int]:
    """(bytes of memory at the peak, bytes of disk) of a fit with an adapter of this rank.

    `shapes` are those of the weights; `tokens` stand in a batch with both answers, each with logits, their gradient
    and their log-probabilities over the vocabulary. The adapter, in fp32, is trained with a gradient and two moments,
    and kept at most three times: in the store's fit, in the run, and behind a first phase that other fits take over.
    """
    size = sum(math.prod(shape) for shape in shapes.values())
    adapter = adapter_numbers(shapes, rank, targets)
    vocabulary = max((shape[0] for shape in shapes.values() if len(shape) == 2), default=0)
    memory = RUNTIME_BYTES + size * BYTES.get(precision, 4) + 16 * adapter + 12 * tokens * vocabulary
    return memory, 3 * BYTES["fp32"] * adapter + ROW_BYTES * items


def adapter_numbers(shapes: Mapping[str, tuple[int, ...]], rank: int, targets: str) -> int:
    """Weights of the study's adapter."""
    return sum(rank * sum(shape) for name, shape in shapes.items() if _adapted(name, shape, targets))


def in_a_layer(name: str) -> bool:
    """Whether a weight belongs to a numbered layer: neither an embedding nor the output projection."""
    return any(part.isdigit() for part in name.split("."))


def _adapted(name: str, shape: tuple[int, ...], targets: str) -> bool:
    """Whether the study's adapter lies on a weight: the matrices of the layers, or those of their attention."""
    return len(shape) == 2 and in_a_layer(name) and (targets == "all-linear" or "attn" in name or "attention" in name)
