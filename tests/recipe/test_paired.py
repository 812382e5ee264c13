"""The shared-prefix step behind TRL's preference trainers: the same loss and gradient as TRL's own rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config import Lora
from harness.contracts import HarnessError, Pair, Schedule, user
from harness.fit.bench import LocalBench
from harness.fit.trainers import preference_rows
from harness.fit.trl import shared_prefix_dpo, shared_prefix_sft
from harness.meter import Meter
from tests.tiny import flat_regime, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.recipe

REGIME = flat_regime(
    batch=3,
    min_steps=1,
    selection="last",
    prompt_tokens=64,
    completion_tokens=12,
    new_tokens=8,
    sample_prompts=2,
    device="cpu",
    precision="fp32",
)
PAIRS = (
    Pair("a", user("Which drug is the best next step?"), "the lazy dog", "yes"),
    Pair("b", user("no"), "A", "one two three four five six seven eight nine ten and more than is kept"),
    Pair("c", user("Which drug is the best next step?", system="system"), "the lazy dog", "the lazy fox"),
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LocalBench]:
    made = LocalBench.create(
        tiny_model(), tiny_tokenizer(), regime=REGIME, meter=Meter(), seed=0, workdir=tmp_path, lora=Lora(r=4)
    )
    with made:
        yield made


def perturb(bench: LocalBench) -> None:
    """A fresh adapter changes nothing and half of it has no gradient."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in bench.policy.named_parameters():
            if ".lora_B." in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)


def plain() -> type[Any]:
    """TRL's trainer as it is, but for taking rows of token ids."""
    from trl import DPOTrainer

    class Plain(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, *rest: Any) -> Any:
            known = "ref_chosen_logps" in dataset.column_names
            return dataset if known else super()._precompute_ref_logps(dataset, *rest)

    return Plain


def computed(bench: LocalBench, trainer_class: type[Any], reference: bool, **method: Any) -> tuple[float, Any, Any]:
    """(loss, gradient, metrics) of one batch."""
    from datasets import Dataset
    from trl import DPOConfig

    rows = preference_rows(bench, PAIRS) if reference else preference_rows(bench, PAIRS, reference=None)
    trainer = trainer_class(
        model=bench.policy,
        args=bench.arguments(DPOConfig, precompute_ref_log_probs=True, **method),
        train_dataset=Dataset.from_list(rows),
        processing_class=bench.tokenizer,
    )
    trainer.model.train()
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(PAIRS))])
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in bench.policy.parameters() if p.grad is not None])
    metrics = {name: values[-1] for name, values in trainer._metrics["train"].items() if isinstance(values, list)}
    bench.adapters.clean()
    return float(loss.detach()), gradient, metrics


@pytest.mark.parametrize(
    "method",
    [
        {},
        {"loss_type": ["ipo"], "beta": 0.3},
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]},
        {"loss_type": ["sigmoid_norm"], "beta": 2.0},
    ],
    ids=lambda method: "+".join(method.get("loss_type", ["sigmoid"])),
)
def test_loss_gradient_and_log_are_those_of_trl(bench: LocalBench, method: dict[str, Any]) -> None:
    perturb(bench)
    theirs = computed(bench, plain(), reference=True, **method)
    ours = computed(bench, shared_prefix_dpo(), reference=True, **method)
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    assert torch.allclose(ours[1], theirs[1], atol=1e-5)
    assert float(theirs[1].norm()) > 1e-3
    shared = {name for name in theirs[2] if name.startswith(("rewards", "logps", "mean_token"))}
    assert len(shared) == 7
    assert ours[2].keys() == theirs[2].keys() - {"entropy", "logits/chosen", "logits/rejected"}
    for name in shared:
        assert ours[2][name] == pytest.approx(theirs[2][name], abs=1e-4)


def test_the_reference_is_the_one_that_trl_computes(bench: LocalBench) -> None:
    """For an adapter that changes nothing yet, as at the start of every fit."""
    theirs = computed(bench, plain(), reference=False)
    ours = computed(bench, plain(), reference=True)
    assert ours[2]["rewards/margins"] == pytest.approx(theirs[2]["rewards/margins"], abs=1e-5)
    assert ours[0] == pytest.approx(0.693147, abs=1e-5)


def test_it_computes_fewer_tokens(bench: LocalBench) -> None:
    rows = preference_rows(bench, PAIRS, reference=None)
    once = sum(len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]) - 2 for r in rows)
    before = bench.meter.spend.forward_tokens
    computed(bench, shared_prefix_dpo(), reference=True)
    spent = bench.meter.spend.forward_tokens - before
    assert spent == 2 * once, "the reference and the policy, each prompt once and no last token"


def test_supervised_loss_gradient_and_log_are_those_of_trl(bench: LocalBench, monkeypatch: pytest.MonkeyPatch) -> None:
    from trl import SFTTrainer

    perturb(bench)
    found = []
    for trainer_class in (SFTTrainer, shared_prefix_sft()):
        with monkeypatch.context() as patch:
            patch.setattr("harness.fit.trl.shared_prefix_sft", lambda chosen=trainer_class: chosen)
            trainer = bench.trainers.sft([(p.prompt, p.chosen) for p in PAIRS], Schedule(1e-4, 1))
        trainer.model.train()
        batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(PAIRS))])
        loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(17))
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in bench.policy.parameters() if p.grad is not None])
        found.append((float(loss.detach()), gradient, dict(trainer._metrics["train"])))
        bench.adapters.clean()
    theirs, ours = found
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    assert torch.allclose(ours[1], theirs[1], atol=1e-5)
    assert float(theirs[1].norm()) > 1e-3
    assert theirs[2].pop("entropy")
    assert ours[2] == theirs[2]


def test_rows_without_the_reference_are_refused(bench: LocalBench) -> None:
    with pytest.raises(HarnessError, match="hold the reference's log-probabilities"):
        computed(bench, shared_prefix_dpo(), reference=False)
