"""How long one training step takes with fast paths and without, on this device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from harness.lm.logprobs import group_logprobs
from harness.lm.paths import paths
from harness.lm.rows import Group

PAIRS, PROMPT, ANSWER = 4, 192, 64
"""Pairs of a step, and tokens of their prompts and answers."""
REPEATS = 3


def step_times(policy: Any, *, pairs: int = PAIRS, prompt: int = PROMPT, answer: int = ANSWER) -> dict[str, float]:
    """Milliseconds of the forward and backward pass over made-up pairs: `fast_ms`, `plain_ms`, medians of three.

    `policy` is a PEFT model. Its gradients are unset again, and nothing is learned.
    """
    groups = made_up(policy.config.get_text_config().vocab_size, pairs, prompt, answer)
    times: dict[str, list[float]] = {"fast_ms": [], "plain_ms": []}
    for _ in range(REPEATS + 1):  # the first of each only warms up
        for name, seconds in times.items():
            with paths(name == "fast_ms"):
                seconds.append(_step(policy, groups))
    policy.zero_grad(set_to_none=True)
    return {name: 1e3 * statistics.median(seconds[1:]) for name, seconds in times.items()}


def _step(policy: Any, groups: Sequence[Group]) -> float:
    _wait(policy)
    started = time.perf_counter()
    stats = group_logprobs(policy, groups)
    total = torch.cat([one.logprobs for group in stats for one in group]).sum()
    torch.autograd.backward(total)
    _wait(policy)
    return time.perf_counter() - started


def _wait(policy: Any) -> None:
    if policy.device.type == "cuda":
        torch.cuda.synchronize()


def made_up(vocabulary: int, pairs: int, prompt: int, answer: int) -> list[Group]:
    """Prompts with two answers each, of token ids that follow no pattern and need no random numbers."""

    def run(start: int, size: int) -> list[int]:
        return [(start + 7919 * i * (i + 3)) % vocabulary for i in range(size)]

    return [Group(run(11 + i, prompt), (run(101 + i, answer), run(977 + i, answer))) for i in range(pairs)]
