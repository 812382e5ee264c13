"""With fast paths and without, a fit comes to the same adapter; without, the libraries compute alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from aligners.dpo import Dpo, DpoConfig
from aligners.gem import Gem, GemConfig
from aligners.kto import Kto
from aligners.orpo import Orpo
from aligners.sft import Sft, SftConfig
from harness.config import Lora
from harness.conformance.lesson import lesson
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import GenerateRequest, user
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.lm import fast_lora, trees
from harness.lm.paths import paths
from harness.meter import Meter
from tests.tiny import flat_regime

pytestmark = pytest.mark.recipe


def fitted(aligner: Any, folder: Path) -> tuple[dict[str, torch.Tensor], Any]:
    """The adapter after a few steps, and what the model then writes."""
    bench = LocalBench.create(
        tiny_model(),
        tiny_tokenizer(),
        regime=flat_regime(batch=2, min_steps=3),
        meter=Meter(),
        seed=0,
        workdir=folder,
        lora=Lora(r=4, alpha=32),
    )
    aligned: Any = fit(aligner, bench, lesson(6)).aligned
    written = aligned.generate([GenerateRequest(user("Tell me of the red hat."), 8, temperature=0.0)])
    return bench.adapters.state(), written


@pytest.mark.parametrize(
    "aligner",
    [
        Sft(SftConfig(learning_rate=1e-3)),
        Dpo(DpoConfig(learning_rate=1e-3)),
        Kto(Kto.Config()),
        Orpo(Orpo.Config()),
        Gem(GemConfig(k=2, min_tokens=2, sft_steps=3, sega_steps=2)),
    ],
    ids=lambda aligner: aligner.name,
)
def test_both_ways_give_one_adapter(aligner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, quick_words = fitted(aligner, tmp_path / "on")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a fast path was taken")

    monkeypatch.setattr(trees, "forward_row", refuse)
    monkeypatch.setattr(fast_lora, "_folded", refuse)
    with paths(False):
        plain, plain_words = fitted(aligner, tmp_path / "off")
    assert plain_words == quick_words
    updates = [name for name in plain if "lora_B" in name]  # they begin at zero
    moved = sum(float(plain[name].square().sum()) for name in updates) ** 0.5
    apart = sum(float((plain[name] - quick[name]).square().sum()) for name in updates) ** 0.5
    assert apart < 0.02 * moved
