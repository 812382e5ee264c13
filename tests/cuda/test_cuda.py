"""The same loop on a GPU: fp32 for a small model and bf16 where it is asked for; the same answers as on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aligners.gpo import Gpo
from aligners.gpo.result import GpoAligned
from harness.config import PRESETS, Lengths, RunConfig
from harness.conformance.toy import tiny_folder, tiny_model, tiny_tokenizer
from harness.fit.demands import takes
from harness.lm.backends.hf import HfEngine
from harness.lm.language_model import ModelAligned
from harness.lm.rows import Group
from harness.plugins.registry import load
from harness.run.engine import run
from tests.recipe.test_engine_pools import cell, opinions, write
from tests.recipe.test_gpo import GROUPS, questions
from tests.recipe.test_gpo import run as fit_gpo

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def test_scores_agree_with_the_cpu() -> None:
    groups = [Group((5, 9, 11), ((7, 8, 2), (30, 31, 32, 2)))]
    model = tiny_model()
    cpu = HfEngine(model, tiny_tokenizer()).score(groups)
    gpu = HfEngine(model.to("cuda"), tiny_tokenizer()).score(groups)
    for a, b in zip(cpu[0], gpu[0], strict=True):
        assert abs(a.total - b.total) < 1e-3


OPINIONS_ONLY = {"groups", "auxiliary"}
FED = [name for name, a in load(plugins=False).aligners.items() if not takes(a) or takes(a) - OPINIONS_ONLY]
"""Every aligner that a pool of pairs and prompts can feed."""


@pytest.mark.parametrize(("precision", "used"), [("auto", "fp32"), ("bf16", "bf16")])
@pytest.mark.parametrize("aligner", FED)
def test_every_aligner_goes_through_the_loop(aligner: str, precision: str, used: str, tmp_path: Path) -> None:
    config = RunConfig(
        aligner=aligner,
        task="medqa",
        model=str(tiny_folder(tmp_path / "tiny")),
        data="sample",
        device="cuda",
        precision=precision,
        budget=PRESETS["8"],
        lengths=Lengths(prompt=96, completion=32, new_tokens=24, sample_prompts=2),
        limit=8,
        store=tmp_path / "runs",
    )
    record = run(config, registry=load(plugins=False))
    assert record.status != "failed", record.reason
    assert (record.model.device, record.model.precision) == ("cuda", used)


OPINIONS = [name for name, a in load(plugins=False).aligners.items() if takes(a) & OPINIONS_ONLY]


@pytest.mark.parametrize("aligner", OPINIONS)
def test_every_method_for_groups_goes_through_the_loop(aligner: str, tmp_path: Path) -> None:
    write(tmp_path / "data" / "opinionqa" / "all.jsonl", opinions())
    tiny = str(tiny_folder(tmp_path / "tiny"))
    config = cell(tiny, tmp_path / "runs", tmp_path / "data", aligner=aligner, device="cuda")
    record = run(config, registry=load(plugins=False))
    assert record.status != "failed", record.reason
    assert record.model.device == "cuda"


def test_a_loaded_module_stands_beside_its_model(tmp_path: Path) -> None:
    done, _ = fit_gpo(tmp_path / "work", GROUPS, steps=4)
    done.aligned.save(tmp_path / "saved")
    model = ModelAligned(HfEngine(tiny_model().to("cuda"), tiny_tokenizer()), 192, 24)
    loaded = Gpo.load(model, tmp_path / "saved")
    assert isinstance(loaded, GpoAligned)
    assert all(weight.is_cuda for weight in loaded.reader.module.parameters())
    for here, there in zip(done.aligned.choose(questions("north")), loaded.choose(questions("north")), strict=True):
        assert here == pytest.approx(there, abs=1e-3)
