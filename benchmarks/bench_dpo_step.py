"""One DPO step (loss and gradient of four pairs), plain TRL against the shared-prefix step, in one run.

    pytest benchmarks/bench_dpo_step.py --benchmark-only --benchmark-group-by=group

`TRL` is its DPOTrainer as it comes: the reference's pass is part of every step. `TRL, reference given` gets the
reference's log-probabilities with its rows, as ours does. Ours asks for them once per pair, before the first step;
`first` is a step of ours with that pass in it, which is what the first epoch pays. Nothing is asserted about time;
`extra_info` holds the largest difference of loss and gradient between ours and TRL with the same reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config import Lora
from harness.contracts import BASE, Budget, Lengths, Regime
from harness.fit.bench import LocalBench
from harness.fit.trl import shared_prefix_dpo
from harness.lm.rows import Group
from harness.meter import Meter
from harness.models.find import resolve
from harness.models.load import load, pick_device
from harness.plugins.registry import load as load_registry

SHAPES = {"medical pairs": (200, 60), "chat pairs": (60, 190)}
PLAIN = ("TRL, reference given",)
OURS = ("ours", "first")
PAIRS = 4
DEVICE = pick_device("auto")
REGIME = Regime(
    Budget(batch=PAIRS, min_steps=1),
    Lengths(prompt=256, completion=256, new_tokens=32, sample_prompts=2),
    device=DEVICE,
    precision="fp32",  # on a GPU too: in bf16 no two orders of summation agree to 1e-4
)

pytestmark = pytest.mark.realmodel


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBench]:
    files = resolve("smollm2-135m-instruct", registry_models=load_registry(plugins=False).models)
    model, tokenizer = load(files, device=DEVICE, precision="fp32")
    workdir: Path = tmp_path_factory.mktemp("bench")
    made = LocalBench.create(model, tokenizer, regime=REGIME, meter=Meter(), seed=0, workdir=workdir, lora=Lora())
    with torch.no_grad():  # a fresh adapter's B is zero: its A would have no gradient to compare
        for name, weight in made.policy.named_parameters():
            if ".lora_B." in name:
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 0.01)
    with made:
        yield made


def rows(prompt: int, answer: int) -> list[dict[str, Any]]:
    """Random token ids; answers differ in length as real ones do, by up to a fifth."""
    generator = torch.Generator().manual_seed(0)

    def ids(size: int) -> list[int]:
        return torch.randint(100, 40_000, (size,), generator=generator).tolist()

    shorter = [answer - answer * i // (5 * PAIRS) for i in range(PAIRS)]
    return [
        {
            "prompt_ids": ids(prompt),
            "chosen_ids": ids(shorter[i]),
            "rejected_ids": ids(shorter[-1 - i]),
            "ref_chosen_logps": -300.0,
            "ref_rejected_logps": -310.0,
        }
        for i in range(PAIRS)
    ]


def plain_dpo() -> type[Any]:
    """TRL's own trainer, taking rows of token ids instead of texts."""
    from trl import DPOTrainer

    class Plain(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, *_: Any) -> Any:
            return dataset

    return Plain


def make_step(bench: LocalBench, side: str, shape: str) -> Any:
    """A function that computes loss and gradient of one batch, as the trainer does."""
    from datasets import Dataset
    from trl import DPOConfig

    trainer_class = shared_prefix_dpo() if side in OURS else plain_dpo()
    given = rows(*SHAPES[shape])
    trainer = trainer_class(
        model=bench.policy,
        args=bench.arguments(DPOConfig, precompute_ref_log_probs=side != "TRL"),
        train_dataset=Dataset.from_list(given),
        processing_class=bench.tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()

    def step() -> float:
        bench.policy.zero_grad(set_to_none=True)
        if side == "first":
            groups = [Group(r["prompt_ids"], [r["chosen_ids"], r["rejected_ids"]]) for r in given]
            with bench.using(BASE):
                bench.engine.score(groups)
            trainer.model.train()
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        return float(loss.detach())  # waits for a GPU too: the benchmark's clock is the host's

    return step


def gradient(bench: LocalBench) -> torch.Tensor:
    """All trainable gradients, one after the other."""
    return torch.cat([p.grad.flatten() for p in bench.policy.parameters() if p.grad is not None])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", ["TRL", *PLAIN, *OURS])
def test_dpo_step(benchmark: Any, bench: LocalBench, shape: str, side: str) -> None:
    benchmark.group = f"DPO step, {shape}, {PAIRS} pairs"
    loss = benchmark.pedantic(make_step(bench, side, shape), rounds=3, warmup_rounds=1)
    mine = gradient(bench)
    bench.adapters.clean()
    if side == "TRL":
        return  # its reference is a copy of the live adapter, so its loss is another one
    other = make_step(bench, OURS[0] if side in PLAIN else PLAIN[0], shape)()
    theirs = gradient(bench)
    bench.adapters.clean()
    benchmark.extra_info["loss difference"] = abs(loss - other)
    benchmark.extra_info["gradient difference"] = float((mine - theirs).norm() / theirs.norm())
    assert abs(loss - other) < 1e-4
    assert float((mine - theirs).norm() / theirs.norm()) < 1e-4
