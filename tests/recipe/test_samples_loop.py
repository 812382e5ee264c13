"""The shipped samples of preference, opinionqa and global_opinions through the whole loop, with a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import PRESETS, Lengths, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.plugins.registry import Registry, load
from harness.records.schema import Record
from harness.run.engine import run

pytestmark = pytest.mark.recipe

OWN = {"opinionqa": "wasserstein", "global_opinions": "jensen_shannon"}
METHODS = ("base", "uniform", "mean_of_groups", "ridge", "gpo")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


def cell(
    registry: Registry, tiny: str, store: Path, task: str, aligner: str, limit: int, train_on: str | None = None
) -> Record:
    config = RunConfig(
        model=tiny,
        store=store,
        data="sample",
        task=task,
        train_on=train_on,
        aligner=aligner,
        aligner_config={"steps": 4} if aligner == "gpo" else {},
        limit=limit,
        budget=PRESETS["8"].model_copy(update={"min_steps": 4, "prompts": 4}),
        lengths=Lengths(prompt=256, completion=160, new_tokens=24, sample_prompts=2),
        lora=Lora(r=4, alpha=8),
    )
    return run(config, registry=registry)


@pytest.mark.parametrize("aligner", ["base", "dpo"])
def test_preference_runs_on_its_sample(registry: Registry, tiny: str, tmp_path: Path, aligner: str) -> None:
    record = cell(registry, tiny, tmp_path, "preference", aligner, limit=12)
    assert record.status == "ok"
    assert (record.data.source, record.data.pool) == ("sample", "ultrafeedback")
    assert record.scores["pref"].n == 12
    assert record.task.notes["held_out_leaks"] == 0
    assert record.task.notes["shortcut_training_pairs"] == 102


@pytest.mark.parametrize("task", OWN)
def test_opinions_run_on_their_sample(registry: Registry, tiny: str, tmp_path: Path, task: str) -> None:
    records = {method: cell(registry, tiny, tmp_path, task, method, limit=8) for method in METHODS}
    assert {record.data.source for record in records.values()} == {"sample"}
    assert {record.status for method, record in records.items() if method != "gpo"} == {"ok"}
    assert records["gpo"].status in ("ok", "degenerate"), "four steps on random embeddings may leave the context unread"
    scores = {method: record.scores for method, record in records.items()}
    assert all(0 < found["similarity"].mean < 1 for found in scores.values())
    assert scores["mean_of_groups"][f"{OWN[task]}_seen"].mean > scores["uniform"][f"{OWN[task]}_seen"].mean
    assert records["uniform"].task.notes["uniform"] == pytest.approx(scores["uniform"][OWN[task]].mean)
    assert records["ridge"].task.notes["context_labels"] == 8


@pytest.mark.parametrize("task", OWN)
def test_a_method_that_learnt_from_pairs_is_asked_for_every_group(
    registry: Registry, tiny: str, tmp_path: Path, task: str
) -> None:
    base, dpo = (cell(registry, tiny, tmp_path, task, name, 4, "ultrafeedback") for name in ("base", "dpo"))
    assert (dpo.data.pool, dpo.spent.labels, dpo.data.rating_ids) == ("ultrafeedback", 8, {})
    assert dpo.task.revision == base.task.revision == cell(registry, tiny, tmp_path, task, "base", 4).task.revision
    assert dpo.task.notes["groups"] == {"opinionqa": 12, "global_opinions": 16}[task]
    assert dpo.task.notes["context_labels"] == 0
    assert dpo.task.notes["unseen_questions"] == 4
    assert dpo.scores["similarity"].n == base.scores["similarity"].n == 4
    assert "similarity_seen" not in dpo.scores
