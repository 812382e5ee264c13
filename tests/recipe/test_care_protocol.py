"""House rules through the whole loop: base and dpo on the shipped sample, with a tiny random model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config import PRESETS, Lengths, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.plugins.registry import load
from harness.records.samples import read_samples
from harness.run.engine import run
from leaderboards import tables

pytestmark = pytest.mark.recipe

LIMIT = 4


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


def cell(tiny: str, store: Path, aligner: str) -> RunConfig:
    settings: dict[str, Any] = {
        "model": tiny,
        "store": store,
        "data": "sample",
        "task": "care_protocol",
        "limit": LIMIT,
        "budget": PRESETS["8"].model_copy(update={"min_steps": 2, "prompts": 4, "labels": 4}),
        "lengths": Lengths(prompt=64, completion=96, new_tokens=24, sample_prompts=2),
        "lora": Lora(r=4, alpha=8),
        "aligner": aligner,
    }
    return RunConfig(**settings)


@pytest.mark.parametrize("aligner", ["dpo", "grpo"])
def test_base_and_a_method_on_the_sample(tiny: str, tmp_path: Path, aligner: str) -> None:
    registry = load(plugins=False)
    base, fitted = (run(cell(tiny, tmp_path, name), registry=registry) for name in ("base", aligner))
    assert (base.status, fitted.status) == ("ok", "ok")
    assert {"adherence", "urgency_acc", "all_rules", "closeness", "distinct_2", "same_level", "pref_ratio"} <= set(
        fitted.scores
    )
    assert fitted.scores["adherence"].n == LIMIT // 2, "scenarios are the units"
    assert base.scores["pref_ratio"].mean == 0.5
    rows = read_samples(tmp_path / fitted.id / "samples.parquet")
    assert len(rows) == LIMIT * 2
    assert sum("output" in row.detail for row in rows) == LIMIT
    (table,) = tables(tmp_path, task="care_protocol")
    assert {row.label for row in table.rows} == {"base", aligner}
