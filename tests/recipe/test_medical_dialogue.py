"""Dialogues through the whole loop: base and dpo on the shipped sample, K-QA's layout alone, a judge between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.config import PRESETS, Lengths, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import HarnessError
from harness.plugins.registry import Registry, load
from harness.records.samples import read_samples
from harness.run.engine import run
from leaderboards import render, tables

pytestmark = pytest.mark.recipe

LIMIT = 4


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
        "task": "medical_dialogue",
        "limit": LIMIT,
        "budget": PRESETS["8"].model_copy(update={"min_steps": 2, "prompts": 0, "labels": 4}),
        "lengths": Lengths(prompt=128, completion=64, new_tokens=24, sample_prompts=2),
        "lora": Lora(r=4, alpha=8),
    }
    return RunConfig(**{**settings, **changes})


def test_base_and_dpo_on_the_sample(tiny: str, tmp_path: Path, registry: Registry) -> None:
    base = run(cell(tiny, tmp_path, aligner="base", judge="similarity"), registry=registry)
    dpo = run(cell(tiny, tmp_path, aligner="dpo", judge="similarity"), registry=registry)
    assert (base.status, dpo.status) == ("ok", "ok")
    assert {"expert_agreement", "expert_agreement_ratio", "rouge_l", "similarity", "answer_words"} <= set(dpo.scores)
    assert dpo.scores["expert_agreement"].n == LIMIT, "questions are the units, not their pairs"
    assert base.scores["win_rate"].mean == base.scores["expert_agreement_ratio"].mean == 0.5
    assert 0.0 <= dpo.scores["win_rate"].mean <= 1.0
    assert dpo.task.notes["judge_failed"] == 0
    assert dpo.task.notes["entailment_agreement_low"] > 0.5
    assert "contradiction" not in dpo.scores, "sentence embeddings cannot tell a statement from its negation"
    rows = read_samples(tmp_path / dpo.id / "samples.parquet")
    assert len(rows) == LIMIT * 4
    assert sum("output" in row.detail for row in rows) == LIMIT
    (table,) = tables(tmp_path, task="medical_dialogue")
    assert {row.label for row in table.rows} == {"base", "dpo"}


@pytest.mark.parametrize("named", [None, "reference", "base"])
def test_a_judge_is_said_to_compare_with_whose_answers_it_was_given(
    named: str | None, tiny: str, tmp_path: Path, registry: Registry
) -> None:
    """There are no reference outputs to compare with here: it is always the base model's answers."""
    settings: dict[str, Any] = {"judge": "constant", "baseline": named, "aligner": "icl"}
    record = run(cell(tiny, tmp_path, **settings), registry=registry)
    assert record.task.baseline == "base"
    (table,) = tables(tmp_path)
    assert [row.label for row in table.rows] == ["base", "icl"]
    assert "medical\\_dialogue" not in render([table])
    assert render([table]).startswith("## medical_dialogue against base by judge constant:")
    assert "reference" not in render([table])


def test_statements_alone_have_their_own_task(tiny: str, tmp_path: Path, registry: Registry) -> None:
    row = {"Question": "Is {0} safe?", "Free_form_answer": "Yes, {0} is safe.", "Must_have": ["{0} is safe."]}
    for split in ("train", "test"):
        lines = [json.dumps(row).replace("{0}", f"{split} pill {n}") for n in range(6)]
        (tmp_path / "data" / "k_qa").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "k_qa" / f"{split}.jsonl").write_text("\n".join(lines))
    settings: dict[str, Any] = {"data": str(tmp_path / "data"), "aligner": "base"}
    record = run(cell(tiny, tmp_path / "store", task="medical_dialogue:k_qa", **settings), registry=registry)
    assert record.status == "ok"
    assert record.task.main_metric == "similarity"
    assert record.task.n_items == LIMIT
    with pytest.raises(HarnessError, match="--task medical_dialogue:k_qa"):
        run(cell(tiny, tmp_path / "store", **settings), registry=registry)
    with pytest.raises(HarnessError, match="requires pairs"):
        run(
            cell(tiny, tmp_path / "store", task="medical_dialogue:k_qa", **settings | {"aligner": "dpo"}),
            registry=registry,
        )
