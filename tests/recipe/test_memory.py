"""Out of memory: the same steps from smaller micro-batches; and no tensor of a whole vocabulary for every token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from aligners.dpo import Dpo, DpoConfig
from aligners.kto import Kto
from aligners.sft import Sft, SftConfig
from aligners.simpo import Simpo
from harness.config import Lora
from harness.conformance.lesson import lesson
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.fit import trl
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.lm.logprobs import group_logprobs
from harness.lm.rows import CHUNK_ELEMENTS, Group
from harness.meter import Meter
from harness.models.adapters import add_lora
from tests.tiny import flat_regime

pytestmark = pytest.mark.recipe


def trained(aligner: Any, folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, float], int]:
    """The adapter, the fit's figures and its optimizer steps."""
    bench = LocalBench.create(
        tiny_model(),
        tiny_tokenizer(),
        regime=flat_regime(batch=4, min_steps=4),
        meter=Meter(),
        seed=0,
        workdir=folder,
        lora=Lora(r=4, alpha=32),
        checkpoint_steps=2,
    )
    fitted = fit(aligner, bench, lesson(8))
    return bench.adapters.state(), dict(fitted.liveness), bench.meter.spend.optimizer_steps


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
    updates = [name for name in calm if "lora_B" in name]  # they begin at zero
    moved = sum(float(calm[name].square().sum()) for name in updates) ** 0.5
    apart = sum(float((calm[name] - halved[name]).square().sum()) for name in updates) ** 0.5
    assert apart < 0.02 * moved


def test_a_method_whose_step_is_no_mean_over_rows_says_that_memory_ran_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trl, "group_logprobs", Small(rows=0))
    with pytest.raises(torch.OutOfMemoryError, match="made up"):
        trained(Kto(Kto.Config()), tmp_path)


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
