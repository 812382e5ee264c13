"""GEM through the whole loop on a tiny model that really writes marked answers.

The toy is verifiable: the model knows two ways of answering, equally likely. After "yes" its final answer is certain,
after "no" it is random letters. GEM never sees which is better, yet its own entropies must lead it to "yes".
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from aligners import gem
from aligners.gem import Gem, GemConfig
from harness.budget import Meter
from harness.config import Lora
from harness.contracts import POLICY, BudgetExceeded, Completion, FewShot, Pair, Prompt, Regime, user
from harness.logprobs import Group, group_logprobs
from harness.text import encode_completion, render_prompt
from harness.tiny import tiny_model, tiny_tokenizer
from harness.training import Fitted, LocalBench, fit

pytestmark = pytest.mark.recipe

PROMPTS = tuple(Prompt(f"q{i}", user(f"Final Answer to {i}?")) for i in range(8))


def answer(rng: random.Random, *, sure: bool) -> str:
    letters = "AAA" if sure else "".join(rng.choice("ABCDEFGH") for _ in range(3))
    return f"I say {'yes' if sure else 'no'}. Final Answer: {letters}"


PAIRS = tuple(
    Pair(f"p{i}", prompt.messages, answer(random.Random(i), sure=i % 2 == 0), "the other one")
    for i, prompt in enumerate(PROMPTS[:4])
)


STEPS = 80


@functools.cache
def knowing_state() -> dict[str, torch.Tensor]:
    """Weights of the tiny model after it has learned both ways of answering."""
    model, tokenizer, rng = tiny_model(), tiny_tokenizer(), random.Random(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    prompts = [render_prompt(tokenizer, prompt.messages, 64) for prompt in PROMPTS]
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / STEPS) + 1e-4
        rows = [encode_completion(tokenizer, answer(rng, sure=i % 2 == 0), 32) for i in range(16)]
        stats = group_logprobs(model, [Group(prompts[i % 8], rows[2 * i : 2 * i + 2]) for i in range(8)])
        loss = -torch.cat([one.logprobs for group in stats for one in group]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach() for name, value in model.state_dict().items()}


def make_bench(folder: Path, *, seed: int = 0, cap: float | None = None, **changes: Any) -> LocalBench:
    model = tiny_model()
    model.load_state_dict(knowing_state())
    settings: dict[str, Any] = {
        "batch": 2,
        "min_steps": 8,
        "selection": "last",
        "prompt_tokens": 96,
        "completion_tokens": 40,
        "new_tokens": 40,
        "sample_prompts": 4,
        "device": "cpu",
        "precision": "fp32",
    }
    return LocalBench.create(
        model,
        tiny_tokenizer(),
        regime=Regime(**{**settings, **changes}),
        meter=Meter(cap_flops=cap),
        seed=seed,
        workdir=folder,
        lora=Lora(r=4, alpha=8),
        checkpoint_steps=2,
    )


def run(bench: LocalBench, few_shot: FewShot | None = None, **values: Any) -> Fitted:
    made = GemConfig.model_validate({"sft_steps": 2, "sega_steps": 3, **values})
    return fit(Gem(made), bench, few_shot or FewShot(pairs=PAIRS, prompts=PROMPTS[4:]))


def weights(bench: LocalBench) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for n, p in bench.policy.named_parameters() if f".{POLICY}." in n])


def reward(bench: LocalBench) -> float:
    """Share of the policy's samples that take the certain way."""
    samples = bench.generate([p.messages for p in PROMPTS], n=16, seed=99)
    return sum("yes" in one.text for group in samples for one in group) / 128
