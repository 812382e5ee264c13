"""Stock tasks through the whole loop on a tiny random model: generated answers, and a task of lm-eval's by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.config import PRESETS, Lengths, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import HarnessError
from harness.data.sources import SampleSource
from harness.plugins.registry import Registry, load
from harness.records.samples import read_samples
from harness.records.verify import read_record
from harness.run.engine import run
from leaderboards.settings import setting
from tasks.datasets import medqa
from tests.unit.tasks.lm_eval.test_stock import gsm8k_row, math500_row

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Word problems to score, beside rows of medqa to train on."""
    root = tmp_path_factory.mktemp("data")
    sample = SampleSource()
    contents = {
        "medqa/train": sample.rows(medqa.DATASET, "pool"),
        "medqa/test": sample.rows(medqa.DATASET, "eval"),
        "gsm8k/test": [gsm8k_row(i, "eval") for i in range(6)],
        "math500/test": [math500_row(i, "eval") for i in range(6)],
    }
    for name, rows in contents.items():
        path = root / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def cell(task: str, tiny: str, folder: Path, store: Path, **changes: Any) -> RunConfig:
    budget = PRESETS["8"].model_copy(update={"min_steps": 2, "prompts": 4})
    settings: dict[str, Any] = {
        "aligner": "sft",
        "task": task,
        "train_on": "medqa",
        "model": tiny,
        "data": str(folder),
        "store": store,
        "limit": 3,
        "budget": budget,
        "lora": Lora(r=4, alpha=8),
        "checkpoint_steps": 2,
        "lengths": Lengths(prompt=96, completion=32, new_tokens=24, sample_prompts=2),
    }
    return RunConfig(**{**settings, **changes})


@pytest.mark.parametrize("task", ["gsm8k", "math500", "lm_eval:gsm8k"])
def test_a_task_that_generates_ends_with_texts_and_figures(
    task: str, tiny: str, folder: Path, tmp_path: Path, registry: Registry
) -> None:
    record = run(cell(task, tiny, folder, tmp_path), registry=registry)
    assert record.status == "ok"
    metrics = set(registry.task(task).metrics)
    assert set(record.scores) == metrics
    assert record.scores[registry.task(task).main_metric].n == 3
    rows = [row for row in read_samples(tmp_path / record.id / "samples.parquet") if not row.id.startswith("pair:")]
    assert len(rows) == 3
    assert all(isinstance(row.detail["output"], str) for row in rows)
    assert record.spent.inference.generated_tokens > 0
    assert record.scores["pref"].n == 3


def test_base_needs_no_pool(tiny: str, folder: Path, tmp_path: Path, registry: Registry) -> None:
    """lm-eval's tasks train on ultrafeedback, which this folder does not have."""
    record = run(cell("lm_eval:gsm8k", tiny, folder, tmp_path, aligner="base", train_on=None), registry=registry)
    assert record.status == "ok"
    assert set(record.scores) == {"exact_match,strict-match", "exact_match,flexible-extract"}


def test_answers_to_questions_with_options_are_written_where_that_is_asked_for(
    tiny: str, folder: Path, tmp_path: Path, registry: Registry
) -> None:
    silent = run(cell("medqa", tiny, folder, tmp_path), registry=registry)
    wrote = run(cell("medqa", tiny, folder, tmp_path, generate=True), registry=registry)
    assert silent.id != wrote.id
    assert silent.aligner.adapter_hash == wrote.aligner.adapter_hash
    assert set(wrote.scores) - set(silent.scores) == {"acc_written", "closed_written"}
    assert {name: wrote.scores[name] for name in silent.scores} == silent.scores
    rows = [row for row in read_samples(tmp_path / wrote.id / "samples.parquet") if "p_gold" in row.values]
    assert len(rows) == 3
    for row in rows:
        assert isinstance(row.detail["written"], str)
        assert row.values["acc_written"] <= row.values["closed_written"] == float(row.detail["closing"] is not None)
    assert wrote.spent.inference.generated_tokens > silent.spent.inference.generated_tokens
    kept = read_record(tmp_path / wrote.id)
    assert kept is not None
    assert setting(kept, [0]) != setting(silent, [0]), "they stand in tables of their own"


def test_a_task_that_writes_anyway_refuses_to_be_asked_for_it(
    tiny: str, folder: Path, tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(HarnessError, match=r"--generate: task gsm8k has no answers .*: medmcqa, medqa, pubmedqa"):
        run(cell("gsm8k", tiny, folder, tmp_path, generate=True), registry=registry)
    assert not list(tmp_path.glob("*/record.json"))
