"""Speed of the two inner places that are our own, side by side with the library in one run.

    pytest benchmarks/bench_logprobs.py --benchmark-only --benchmark-group-by=group

Nothing is asserted about time; `extra_info` holds the agreement of the two sides. On a GPU where there is one, in fp32;
results are brought to the host, so that the clock sees the work done.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.config import Lora
from harness.lm.backends.hf import HfEngine
from harness.lm.logprobs import group_logprobs
from harness.lm.rows import Group
from harness.models.adapters import add_lora
from harness.models.find import resolve
from harness.models.load import load, pick_device
from harness.plugins.registry import load as load_registry

SHAPES = {"medical pairs": (200, 60, 2), "groups of five": (100, 50, 5)}
PAIRS = 4
DEVICE = pick_device("auto")


@pytest.fixture(scope="module")
def default_model() -> tuple[Any, Any]:
    files = resolve("smollm2-135m-instruct", registry_models=load_registry(plugins=False).models)
    return load(files, device=DEVICE, precision="fp32")


def make_groups(prompt: int, completion: int, n: int) -> list[Group]:
    generator = torch.Generator().manual_seed(0)

    def ids(size: int) -> list[int]:
        return torch.randint(100, 40_000, (size,), generator=generator).tolist()

    return [Group(ids(prompt), [ids(completion) for _ in range(n)]) for _ in range(PAIRS)]


def plain(model: Any, groups: list[Group]) -> torch.Tensor:
    rows = torch.tensor([[*g.prompt, *c] for g in groups for c in g.completions], device=DEVICE)
    start = len(groups[0].prompt)
    logits = model(input_ids=rows, attention_mask=torch.ones_like(rows)).logits[:, start - 1 : -1]
    return logits.float().log_softmax(-1).gather(-1, rows[:, start:, None]).squeeze(-1).sum(-1).cpu()


def ours(model: Any, groups: list[Group]) -> torch.Tensor:
    return torch.stack([c.logprobs.sum() for g in group_logprobs(model, groups) for c in g]).cpu()


@pytest.mark.realmodel
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", ["plain", "ours"])
def test_score(benchmark: Any, default_model: tuple[Any, Any], shape: str, side: str) -> None:
    groups = make_groups(*SHAPES[shape])
    benchmark.group = f"score {shape}"
    step = {"plain": plain, "ours": ours}[side]
    with torch.no_grad():
        result = benchmark.pedantic(step, args=(default_model[0], groups), rounds=3, warmup_rounds=1)
        other = {"plain": ours, "ours": plain}[side](default_model[0], groups)
    benchmark.extra_info["largest difference in nats"] = float((result - other).abs().max())
    assert torch.allclose(result, other, atol=2e-3)


@pytest.fixture(scope="module")
def adapted_model() -> Any:
    """A model of its own with a fresh adapter, whose weights get gradients."""
    files = resolve("smollm2-135m-instruct", registry_models=load_registry(plugins=False).models)
    return add_lora(load(files, device=DEVICE, precision="fp32")[0], Lora(), 0)


@pytest.mark.realmodel
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", ["plain", "ours"])
def test_update(benchmark: Any, adapted_model: Any, shape: str, side: str) -> None:
    """Loss and gradient of one update; GEM's has five answers to a prompt."""
    groups = make_groups(*SHAPES[shape])
    benchmark.group = f"update {shape}"

    def update(of: str) -> torch.Tensor:
        adapted_model.zero_grad(set_to_none=True)
        {"plain": plain, "ours": ours}[of](adapted_model, groups).mean().backward()
        return torch.cat([p.grad.flatten() for p in adapted_model.parameters() if p.grad is not None])

    mine = benchmark.pedantic(update, args=(side,), rounds=2, warmup_rounds=1)
    theirs = update({"plain": "ours", "ours": "plain"}[side])
    benchmark.extra_info["relative difference of gradients"] = float((mine - theirs).norm() / theirs.norm())
    assert float((mine - theirs).norm() / theirs.norm()) < 1e-3


@pytest.mark.realmodel
@pytest.mark.parametrize("side", ["library", "ours"])
def test_generate(benchmark: Any, default_model: tuple[Any, Any], side: str) -> None:
    model, tokenizer = default_model
    prompts = [list(g.prompt) for g in make_groups(100, 1, 1)]
    benchmark.group = "generate 4 prompts x 5 samples x 48 tokens"

    def library() -> Any:
        rows = torch.tensor(prompts, device=DEVICE).repeat_interleave(5, 0)
        mask = torch.ones_like(rows)
        settings = {"max_new_tokens": 48, "min_new_tokens": 48, "do_sample": True, "top_k": 0, "pad_token_id": 0}
        return model.generate(input_ids=rows, attention_mask=mask, **settings)

    def own() -> Any:
        backend = HfEngine(model, tokenizer)
        settings: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "stop": [], "seed": 0}
        return backend.generate(prompts, n=5, max_new_tokens=48, **settings)

    result = benchmark.pedantic({"library": library, "ours": own}[side], rounds=2, warmup_rounds=1)
    assert len(result) == (20 if side == "library" else len(prompts))
