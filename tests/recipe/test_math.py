"""Math on its samples through the whole loop: pairs for DPO, the verifier for GRPO, both tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config import PRESETS, Lengths, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.plugins.registry import Registry, load
from harness.records.samples import read_samples
from harness.run.engine import run

pytestmark = pytest.mark.recipe

LIMIT = 3


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


def cell(tiny: str, store: Path, **changes: Any) -> RunConfig:
    settings = {
        "model": tiny,
        "store": store,
        "data": "sample",
        "limit": LIMIT,
        "budget": PRESETS["8"].model_copy(update={"min_steps": 2, "prompts": 4, "labels": 4}),
        "lengths": Lengths(prompt=96, completion=64, new_tokens=16, sample_prompts=2),
        "lora": Lora(r=4, alpha=8),
    }
    return RunConfig(**{**settings, **changes})


@pytest.mark.parametrize("task", ["gsm8k", "math500"])
def test_dpo_on_pairs_with_a_false_step(tiny: str, tmp_path: Path, registry: Registry, task: str) -> None:
    record = run(cell(tiny, tmp_path, aligner="dpo", task=task), registry=registry)
    assert record.status in ("ok", "degenerate")
    samples = read_samples(tmp_path / record.id / "samples.parquet")
    generated = [row for row in samples if "output" in row.detail]
    assert len(generated) == LIMIT
    judged = [row for row in samples if "pref" in row.values]
    assert len(judged) >= LIMIT


def test_grpo_is_rewarded_by_the_verifier(tiny: str, tmp_path: Path, registry: Registry) -> None:
    record = run(cell(tiny, tmp_path, aligner="grpo", task="gsm8k"), registry=registry)
    assert record.status in ("ok", "degenerate")
