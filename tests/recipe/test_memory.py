"""Out of memory: the same steps from smaller micro-batches; and no tensor of a whole vocabulary for every token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from aligners.dpo import Dpo, DpoConfig
from aligners.dpo_variants import Ipo, Irpo
from aligners.gem import Gem, GemConfig
from aligners.grpo import Grpo
from aligners.kto import Kto
from aligners.orpo import Orpo
from aligners.selfie import Selfie
from aligners.sft import Sft, SftConfig
from aligners.simpo import Simpo
from harness.config import Lora
from harness.conformance.lesson import lesson
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import FewShot, HarnessError
from harness.fit import trl
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.lm import logprobs
from harness.lm.forgetful import forget
from harness.lm.logprobs import group_logprobs
from harness.lm.metering import flop_model, metered
from harness.lm.paths import paths
from harness.lm.pieces import Pieces, in_pieces
from harness.lm.rows import CHUNK_ELEMENTS, Group
from harness.lm.trees import tree_logprobs
from harness.meter import Meter
from harness.models.adapters import add_lora
from tests.tiny import flat_regime

pytestmark = pytest.mark.recipe


Fit = tuple[dict[str, torch.Tensor], dict[str, float], int]


def trained(aligner: Any, folder: Path, data: FewShot | None = None, model: Any = None) -> Fit:
    """The adapter, the fit's figures and its optimizer steps."""
    bench = LocalBench.create(
        model or tiny_model(),
        tiny_tokenizer(),
        regime=flat_regime(batch=4, min_steps=4),
        meter=Meter(),
        seed=0,
        workdir=folder,
        lora=Lora(r=4, alpha=32),
        checkpoint_steps=2,
    )
    fitted = fit(aligner, bench, data or lesson(8))
    return bench.adapters.state(), dict(fitted.liveness), bench.meter.spend.optimizer_steps


def distances(calm: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> tuple[float, float]:
    """How far the update matrices moved from zero, where they begin, and how far two fits lie apart."""
    updates = [name for name in calm if "lora_B" in name]
    moved = sum(float(calm[name].square().sum()) for name in updates) ** 0.5
    return moved, sum(float((calm[name] - other[name]).square().sum()) for name in updates) ** 0.5


class Small:
    """A machine whose memory holds `rows` groups with gradient, and runs out at the third call."""

    def __init__(self, rows: int) -> None:
        self.rows, self.calls, self.refused = rows, 0, 0

    def __call__(self, model: Any, groups: Any, **how: Any) -> Any:
        if torch.is_grad_enabled():
            self.calls += 1
            if self.calls > 2 and len(groups) > self.rows:
                self.refused += 1
                raise torch.OutOfMemoryError("made up")
        return group_logprobs(model, groups, **how)


@pytest.mark.parametrize(
    "aligner",
    [Sft(SftConfig(learning_rate=1e-3)), Dpo(DpoConfig(learning_rate=1e-3)), Simpo(Simpo.Config())],
    ids=lambda aligner: aligner.name,
)
def test_out_of_memory_halves_the_micro_batch_and_takes_the_same_steps(
    aligner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, figures, steps = trained(aligner, tmp_path / "calm")
    assert "micro_batch" not in figures
    small = Small(rows=1)
    monkeypatch.setattr(trl, "group_logprobs", small)
    halved, figures, again = trained(aligner, tmp_path / "small")
    assert small.refused == 2, "from 4 rows to 2, from 2 to 1"
    assert figures["micro_batch"] == 1
    assert again == steps
    moved, apart = distances(calm, halved)
    assert apart < 0.02 * moved


class Narrow:
    """A machine whose memory holds `answers` answers with gradient, once the third such call has been made."""

    def __init__(self, answers: int) -> None:
        self.answers, self.calls, self.refused = answers, 0, 0

    def __call__(self, model: Any, groups: Any, **how: Any) -> Any:
        if torch.is_grad_enabled():
            self.calls += 1
            if self.calls > 2 and sum(len(group.completions) for group in groups) > self.answers:
                self.refused += 1
                raise torch.OutOfMemoryError("made up")
        return tree_logprobs(model, groups, **how)


def length_of(prompt_id: str, completion: str) -> float:
    return len(completion) / 32


@pytest.mark.parametrize(
    "aligner",
    [
        Gem(GemConfig(min_tokens=2, sft_steps=2, sega_steps=2, beta_kl=0.1, sft_lr=5e-4)),
        Kto(Kto.Config()),
        Orpo(Orpo.Config()),
        Ipo(Ipo.Config()),
        Irpo(Irpo.Config()),
        Grpo(Grpo.Config(k=3)),
        Selfie(Selfie.Config(rounds=1)),
    ],
    ids=lambda aligner: aligner.name,
)
def test_where_memory_holds_one_answer_the_steps_of_every_method_are_the_same(
    aligner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = replace(lesson(8), verifier=length_of)
    calm, figures, steps = trained(aligner, tmp_path / "calm", data)
    assert "answers_at_once" not in figures
    narrow = Narrow(answers=1)
    monkeypatch.setattr(logprobs, "tree_logprobs", narrow)
    pieced, figures, again = trained(aligner, tmp_path / "narrow", data)
    assert narrow.refused > 1, "halved more than once"
    assert figures["answers_at_once"] == 1
    assert again == steps
    moved, apart = distances(calm, pieced)
    assert moved > 0
    assert apart < 0.02 * moved


def test_pieces_give_the_loss_and_the_gradient_of_the_whole() -> None:
    policy = add_lora(tiny_model(), Lora(r=4, alpha=32), 0)
    groups = [Group([5, 6, 7], [[8, 9], [10, 11, 12], [13]]), Group([14, 15], [[16], [17, 18]])]
    found = []
    for at_once in (None, 2, 1):
        pieces = Pieces()
        pieces.at_once = at_once
        with in_pieces(pieces):
            stats = group_logprobs(policy, groups, entropy=True)
            loss = torch.stack([one.logprobs.sum() * (3 + i) for i, group in enumerate(stats) for one in group]).var()
            loss.backward()
        assert [len(group) for group in stats] == [3, 2]
        found.append((loss.item(), [p.grad.clone() for p in policy.parameters() if p.grad is not None]))
        policy.zero_grad()
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        for one, whole in zip(gradient, found[0][1], strict=True):
            torch.testing.assert_close(one, whole, rtol=1e-4, atol=1e-4)


def test_where_memory_does_not_hold_one_answer_the_fit_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "tree_logprobs", Narrow(answers=0))
    with pytest.raises(torch.OutOfMemoryError, match="made up"):
        trained(Kto(Kto.Config()), tmp_path)


def test_plain_trl_on_a_step_that_is_no_mean_over_rows_says_that_memory_ran_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("made up")

    monkeypatch.setattr(trl.found("KTOTrainer"), "_compute_loss", refused)
    with paths(False), pytest.raises(torch.OutOfMemoryError, match="made up"):
        trained(Kto(Kto.Config()), tmp_path)


class Kept:
    """Bytes that autograd keeps for gradients inside the block."""

    def __enter__(self) -> Kept:
        self.bytes = 0
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda kept: kept)
        self._hooks.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.__exit__(*_)

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        self.bytes += tensor.numel() * tensor.element_size()
        return tensor


@pytest.mark.parametrize("fast", [True, False])
def test_gradient_checkpointing_keeps_less_and_changes_no_gradient(fast: bool) -> None:
    groups = [Group([5, 6, 7], [[8, 9] * 20, [10, 11, 12] * 9]), Group([14, 15], [[16] * 30])]
    found = {}
    for forgetful in (False, True):
        policy = add_lora(tiny_model(), Lora(r=4, alpha=32), 0)
        meter = Meter()
        meter.attach(flop_model(policy))
        if forgetful:
            forget(policy)
        with paths(fast), metered(policy, meter), Kept() as kept:
            stats = group_logprobs(policy, groups)
            loss = torch.cat([one.logprobs for group in stats for one in group]).sum()
            loss.backward()
        gradient = [p.grad for p in policy.parameters() if p.requires_grad]
        found[forgetful] = loss.item(), gradient, kept.bytes, meter.spend
    (loss, gradient, size, spend), (again, other, smaller, more) = found[False], found[True]
    assert again == loss
    assert all(torch.equal(one, two) for one, two in zip(gradient, other, strict=True))
    assert smaller < 0.6 * size
    assert more.trained_tokens == spend.trained_tokens
    assert 1.15 * spend.flops < more.flops < 1.5 * spend.flops, "the second forward counts"


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("aligner", [Dpo(DpoConfig()), Gem(GemConfig(min_tokens=2, sft_steps=2, sega_steps=2))])
def test_gradient_checkpointing_gives_the_same_adapter(aligner: Any, fast: bool, tmp_path: Path) -> None:
    found = []
    for forgetful in (False, True):
        model = tiny_model()
        if forgetful:
            forget(model)
        with paths(fast):
            found.append(trained(aligner, tmp_path / str(forgetful), model=model)[0])
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_a_model_whose_layers_cannot_forget_is_refused() -> None:
    model = tiny_model()
    model.model.layers = torch.nn.ModuleList()
    with pytest.raises(HarnessError, match="transformers marks no layers of LlamaModel"):
        forget(model)


VOCABULARY, TOKENS = 150_000, 250


class Largest(TorchDispatchMode):
    """The most elements of any tensor that was computed."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, torch.Tensor):
                self.most = max(self.most, one.numel())
        return out


def test_logits_of_a_large_vocabulary_never_exist_whole() -> None:
    """A step over 500 answer tokens of a vocabulary of 150,000: whole logits would be 75 million numbers."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=512,
    )
    policy = add_lora(LlamaForCausalLM(config), Lora(r=2, alpha=4), 0)
    answers = [[(i * 7919 + start) % VOCABULARY for i in range(TOKENS)] for start in (1, 2)]
    whole = 2 * TOKENS * VOCABULARY
    with Largest() as seen:
        stats = group_logprobs(policy, [Group([5, 6, 7], answers)])
        torch.cat([one.logprobs for one in stats[0]]).sum().backward()
    assert seen.most <= CHUNK_ELEMENTS < whole / 4
    assert any(parameter.grad is not None for parameter in policy.parameters())
