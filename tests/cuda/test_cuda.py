"""The same loop on a GPU: bf16 base, the same answers as on the CPU within bf16's rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.backends.hf import HfBackend
from harness.config import PRESETS, Lengths, RunConfig
from harness.engine import run
from harness.logprobs import Group
from harness.registry import load
from harness.tiny import tiny_folder, tiny_model, tiny_tokenizer

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def test_scores_agree_with_the_cpu() -> None:
    groups = [Group((5, 9, 11), ((7, 8, 2), (30, 31, 32, 2)))]
    model = tiny_model()
    cpu = HfBackend(model, tiny_tokenizer()).score(groups)
    gpu = HfBackend(model.to("cuda"), tiny_tokenizer()).score(groups)
    for a, b in zip(cpu[0], gpu[0], strict=True):
        assert abs(a.total - b.total) < 1e-3


OPINIONS_ONLY = {"groups", "auxiliary"}
FED = [name for name, a in load(plugins=False).aligners.items() if not a.needs or a.needs - OPINIONS_ONLY]
"""Every aligner that a pool of pairs and prompts can feed."""


@pytest.mark.parametrize("aligner", FED)
def test_every_aligner_goes_through_the_loop(aligner: str, tmp_path: Path) -> None:
    config = RunConfig(
        aligner=aligner,
        task="medqa",
        model=str(tiny_folder(tmp_path / "tiny")),
        data="sample",
        device="cuda",
        budget=PRESETS["8"],
        lengths=Lengths(prompt=96, completion=32, new_tokens=24, sample_prompts=2),
        limit=8,
        store=tmp_path / "runs",
    )
    record = run(config, registry=load(plugins=False))
    assert record.status != "failed", record.reason
    assert record.model.device == "cuda"
