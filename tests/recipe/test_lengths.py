"""A plan settles its lengths from its pool, the same for every draw, budget and method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.config import LONGEST, PRESETS, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import AskedLengths, Lengths
from harness.contracts.progress import Progress, Silent
from harness.data.lengths import measured, settled_lengths
from harness.data.sources import open_source
from harness.models.load import load_tokenizer
from harness.models.wheels import ModelFiles
from harness.plugins.registry import Registry, load
from harness.run.engine import run
from harness.run.plan import Plan, make_plan

pytestmark = pytest.mark.recipe


class Listening(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture
def planned(tiny: str, tmp_path: Path, registry: Registry) -> Any:
    def plan(progress: Progress | None = None, **changes: Any) -> Plan:
        config = {"aligner": "sft", "task": "pubmedqa", "model": tiny, "data": "sample", "store": tmp_path, **changes}
        return make_plan(RunConfig(**config), registry, progress or Silent())

    return plan


def test_lengths_are_the_pools_and_said(planned: Any, registry: Registry) -> None:
    told = Listening()
    plan = planned(told)
    pool = registry.pool("pubmedqa")()
    pairs = pool.pairs(open_source("sample", pool.dataset))
    tokens = measured(load_tokenizer(plan.files), pairs)
    assert plan.lengths == settled_lengths(AskedLengths(), tokens, LONGEST[None])
    assert plan.config.lengths == plan.lengths
    assert plan.cut == tokens.longer(plan.lengths)
    used = f"{plan.lengths.prompt} tokens of prompt, {plan.lengths.completion} of answer"
    assert [line for line in told.notes if line.startswith(f"lengths: {used}")]
    assert [line for line in told.notes if f"of {len(pairs)} pairs of pool pubmedqa" in line]


def test_draws_budgets_limits_and_methods_share_them(planned: Any) -> None:
    first = planned()
    for changes in ({"draw_seed": 3}, {"budget": PRESETS["8"]}, {"limit": 2}, {"aligner": "dpo"}, {"aligner": "base"}):
        assert planned(**changes).lengths == first.lengths
    assert planned(**first.base_config.model_dump()).lengths == first.lengths


def test_what_was_used_decides_the_id_and_not_how_it_was_asked(planned: Any) -> None:
    first = planned()
    same = planned(lengths=Lengths(**first.lengths.model_dump()))
    longer = planned(lengths=AskedLengths(new_tokens=first.lengths.new_tokens + 1))
    assert (same.fit_id, same.run_id) == (first.fit_id, first.run_id)
    assert longer.lengths.completion == first.lengths.completion
    assert longer.fit_id != first.fit_id


def test_samples_that_were_asked_to_be_shorter_than_answers_are_said(planned: Any) -> None:
    told = Listening()
    plan = planned(told, lengths=AskedLengths(new_tokens=4))
    assert plan.lengths.new_tokens == 4
    assert any("samples of at most 4 tokens are shorter than answers of" in line for line in told.notes)


def test_a_profile_caps(planned: Any) -> None:
    lengths = planned(task="gsm8k", profile="cpu-demo").lengths
    assert lengths.completion == LONGEST["cpu-demo"].completion < planned(task="gsm8k").lengths.completion


def test_other_data_than_the_pools_and_pools_without_answers_have_the_fixed_numbers(planned: Any) -> None:
    assert planned(train_on="ultrafeedback").lengths == LONGEST[None]
    assert planned(task="opinionqa", aligner="ridge").lengths == LONGEST[None]
    assert planned(task="opinionqa", aligner="ridge", profile="cpu-demo").lengths == LONGEST["cpu-demo"]
    followed = planned(task="preference", train_on="ultrafeedback").lengths
    assert followed != LONGEST[None], "this task is scored on the pool's own pairs"


def test_the_record_holds_them_and_what_they_cut(tiny: str, tmp_path: Path, registry: Registry, planned: Any) -> None:
    config = RunConfig(aligner="base", task="pubmedqa", model=tiny, data="sample", store=tmp_path, limit=2)
    record = run(config, registry=registry)
    plan = planned(aligner="base", limit=2)
    assert record.model.lengths == plan.lengths.model_dump()
    assert record.data.clipped == plan.cut
    assert set(plan.cut) == {"pool_prompts", "pool_answers"}


def test_many_cells_of_a_model_load_and_count_with_its_tokenizer_once(
    planned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_folder(tmp_path / "another")
    loaded: list[Path] = []

    def counting(files: ModelFiles) -> Any:
        loaded.append(files.folder)
        return load_tokenizer(files)

    monkeypatch.setattr("harness.models.tokenizer.load_tokenizer", counting)
    draws = [
        planned(model=str(folder), draw_seed=draw, budget=PRESETS[size]) for draw in (0, 1) for size in ("8", "32")
    ]
    assert loaded == [folder.resolve()]
    assert len({plan.fit_id for plan in draws}) == 4
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "clean_up_tokenization_spaces": True}))
    planned(model=str(folder))
    assert len(loaded) == 2, "a tokenizer whose files have changed is another one"
