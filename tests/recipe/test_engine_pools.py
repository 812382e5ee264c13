"""Groups' opinions, re-rankers and pools of pairs through the whole loop: fitted in one process, asked in another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aligners.sft import Sft
from harness.config import PRESETS, Lengths, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import HarnessError
from harness.contracts.progress import Silent
from harness.hookspecs import hookimpl
from harness.lm.backends.hf import HfEngine
from harness.plugins.registry import Registry, load
from harness.records.samples import read_samples
from harness.records.schema import Record
from harness.run.engine import run
from harness.run.plan import make_plan
from harness.study.costs import expected
from harness.study.work import items_about_groups
from leaderboards import tables

pytestmark = pytest.mark.recipe


class Mute(Sft):
    """An aligner whose result can only write."""

    name = "mute"
    capabilities = frozenset({"generate"})


class OffersMute:
    @hookimpl
    def harness_aligners(self) -> list[Any]:
        return [Mute]


GROUPS, QUESTIONS = 10, 16
OPTIONS = ("Never", "Sometimes", "Always")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Opinions of ten groups, half of which say the opposite of the other half, and pairs with and without answers."""
    root = tmp_path_factory.mktemp("data")
    write(root / "opinionqa" / "all.jsonl", opinions())
    for split, start in (("train", 0), ("test", 100)):
        pairs = [
            {"prompt": f"Say the number {n}.", "chosen": f"The number is {n}.", "rejected": f"I will not say {n}."}
            for n in range(start, start + 12)
        ]
        write(root / "pairs" / f"{split}.jsonl", pairs)
    return root


def opinions() -> list[dict[str, Any]]:
    """Rows of the opinion folder."""
    listed = " ".join(f"{letter}. {option}" for letter, option in zip("ABC", OPTIONS, strict=True))
    return [
        {
            "question": f"Question: How often do you walk {question} miles?\nOptions: {listed}\nAnswer:",
            "options": OPTIONS,
            "attribute": f"GROUP_{group}",
            "gold_distribution": [0.8, 0.1, 0.1] if group % 2 else [0.1, 0.1, 0.8],
        }
        for group in range(GROUPS)
        for question in range(QUESTIONS)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def cell(tiny: str, store: Path, folder: Path, **changes: Any) -> RunConfig:
    settings = {
        "model": tiny,
        "store": store,
        "data": str(folder),
        "task": "opinionqa",
        "budget": PRESETS["8"].model_copy(update={"min_steps": 4, "prompts": 4, "labels": 4}),
        "lengths": Lengths(prompt=96, completion=32, new_tokens=24, sample_prompts=2),
        "lora": Lora(r=4, alpha=8),
    }
    return RunConfig(**{**settings, **changes})


def test_group_methods_stand_in_one_table_for_each_draw(
    tiny: str, folder: Path, tmp_path: Path, registry: Registry
) -> None:
    records = [
        run(cell(tiny, tmp_path, folder, aligner=aligner, draw_seed=draw), registry=registry)
        for draw in (0, 1)
        for aligner in ("uniform", "mean_of_groups", "ridge")
    ]
    uniform, mean, ridge = records[:3]
    targets = 4
    assert (uniform.spent.labels, uniform.spent.auxiliary_labels) == (4 * targets, 0)
    assert (mean.spent.labels, mean.spent.auxiliary_labels) == (0, 6 * 12)
    assert (ridge.spent.labels, ridge.spent.auxiliary_labels) == (4 * targets, 6 * 12)
    assert set(ridge.data.rating_ids) | set(ridge.data.auxiliary_groups) == {f"GROUP_{g}" for g in range(GROUPS)}
    rows = read_samples(tmp_path / ridge.id / "samples.parquet")
    assert len(rows) == targets * (QUESTIONS - 4), "what was bought is not asked again"
    assert ridge.scores["similarity_swapped"].mean != ridge.scores["similarity"].mean
    found = tables(tmp_path, task="opinionqa")
    assert [[row.label for row in table.rows if row.label != "base"] for table in found].count([]) == 0
    assert len(found) == 2, "another draw asks other groups"
    assert all({row.label for row in t.rows} == {"base", "uniform", "mean_of_groups", "ridge"} for t in found)


def test_what_the_plain_model_says_of_options_is_computed_once_for_all_evaluations(
    tiny: str, folder: Path, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also under a method that asks it anew after its fit; figures and costs are those of a run that comes alone."""
    calls: list[int] = []
    embed = HfEngine.embed

    def counted(self: HfEngine, texts: Sequence[str], **settings: Any) -> Any:
        calls.append(len(texts))
        return embed(self, texts, **settings)

    monkeypatch.setattr(HfEngine, "embed", counted)

    def evaluated(store: Path, aligner: str, **settings: Any) -> tuple[Record, int]:
        calls.clear()
        return run(cell(tiny, store, folder, aligner=aligner, **settings), registry=registry), len(calls)

    gpo = {"aligner_config": {"steps": 8}}
    alone, computed = evaluated(tmp_path / "alone", "gpo", **gpo)
    _, first = evaluated(tmp_path / "both", "ridge")
    second, left = evaluated(tmp_path / "both", "gpo", **gpo)
    asked = QUESTIONS - 4  # less those that every target group's labels are of
    assert (computed, first, left) == (asked, asked, 0)
    assert second.id == alone.id
    assert second.scores == alone.scores
    assert second.spent.inference == alone.spent.inference
    assert second.manifest.files["samples.parquet"] == alone.manifest.files["samples.parquet"]
    other, again = evaluated(tmp_path / "both", "ridge", lora=Lora(r=2, alpha=8))
    assert again == asked, "an adapter of another shape counts other FLOPs"
    assert other.status == "ok"


@pytest.mark.parametrize("aligner", ["base", "uniform", "ridge", "gpo", "icl_groups"])
def test_what_the_answers_about_groups_will_cost_is_known_ahead(
    aligner: str, tiny: str, folder: Path, tmp_path: Path, registry: Registry
) -> None:
    """The forecast had no work for the evaluation of such a task, and took a sixteenth of what `icl_groups` took."""
    config = cell(tiny, tmp_path, folder, aligner=aligner, lengths=Lengths(prompt=400, completion=32, new_tokens=24))
    if aligner == "gpo":
        config = config.model_copy(update={"aligner_config": {"steps": 8}})
    plan = make_plan(config, registry, Silent())
    items = items_about_groups(plan)
    told = expected(plan, items, (), fitted=False)
    record = run(config, registry=registry)
    assert items == record.task.n_items
    spent = record.spent.inference
    if aligner == "icl_groups":  # whose questions begin alike here, so that more than the rated ones is shared
        assert spent.forward_tokens < told.evaluate_tokens < 2 * spent.forward_tokens
        return
    assert told.evaluate_tokens == pytest.approx(spent.forward_tokens, rel=0.1)
    if aligner != "gpo":  # whose module is larger than the tiny model
        assert told.evaluate_flops == pytest.approx(spent.flops, rel=0.2)


def test_a_search_on_groups_ratings_runs_through_the_whole_loop(
    tiny: str, folder: Path, tmp_path: Path, registry: Registry
) -> None:
    budget = {"min_steps": 4, "prompts": 4, "labels": 4, "tune": 2, "selection": "kfold"}
    settings = {"aligner": "gpo", "aligner_config": {"steps": 8}, "budget": PRESETS["8"].model_copy(update=budget)}
    record = run(cell(tiny, tmp_path, folder, **settings), registry=registry)
    assert (record.spent.labels, record.spent.auxiliary_labels) == (4 * 4, 6 * 12), "no fold buys a label"
    assert record.spent.inference.generated_tokens == 0
    events = [json.loads(line) for line in (tmp_path / record.id / "log.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "tune" for event in events) == 2 * 4, "two trials of four folds"
    assert record.budget.selection == "kfold"


def test_what_a_pool_does_not_offer_is_refused_before_anything_runs(
    tiny: str, folder: Path, tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(HarnessError, match="aligner dpo requires pairs; pool opinionqa has auxiliary and groups"):
        run(cell(tiny, tmp_path, folder, aligner="dpo"), registry=registry)
    with pytest.raises(
        HarnessError, match="aligner grpo requires pairs and verifier; pool pairs has pairs and prompts"
    ):
        run(cell(tiny, tmp_path, folder, aligner="grpo", task="preference", train_on="pairs"), registry=registry)
    with pytest.raises(HarnessError, match="task opinionqa requires choose") as refused:
        run(cell(tiny, tmp_path, folder, aligner="mute"), registry=load(plugins=False, extra=[OffersMute()]))
    assert "a result of aligner mute under backend hf can generate" in str(refused.value)
    assert not list(tmp_path.glob("*/record.json"))


def test_a_re_ranker_is_loaded_again_and_scored_by_its_own_rule(
    tiny: str, folder: Path, tmp_path: Path, registry: Registry
) -> None:
    settings: dict[str, Any] = {"task": "preference", "train_on": "pairs"}
    ranked = run(cell(tiny, tmp_path, folder, aligner="best_of_n", **settings), registry=registry)
    plain = run(cell(tiny, tmp_path, folder, aligner="dpo", **settings), registry=registry)
    assert (ranked.status, plain.status) == ("ok", "ok")
    assert set(ranked.scores) == {"pref", "pref_gain", "pref_written"}
    assert set(plain.scores) == {*ranked.scores, "pref_sum", "pref_mean", "pref_gain_token"}
    assert ranked.aligner.adapter_hash == plain.aligner.adapter_hash, "the same training under the same seed"
    assert ranked.scores["pref_gain"].mean == plain.scores["pref_gain"].mean, "its rule is the log-ratio to base"
    assert ranked.data.pool == "pairs"
    (table,) = tables(tmp_path, task="preference")
    assert {row.label for row in table.rows} == {"base", "best_of_n", "dpo"}


def test_trials_are_recorded_and_the_best_one_is_what_ran(
    tiny: str, folder: Path, tmp_path: Path, registry: Registry
) -> None:
    budget = PRESETS["8"].model_copy(update={"min_steps": 2, "prompts": 0, "selection": "kfold", "tune": 2})
    config = cell(tiny, tmp_path, folder, aligner="sft", task="preference", train_on="pairs", budget=budget)
    record = run(config, registry=registry)
    scores = [trial["score"] for trial in record.aligner.trials]
    assert len(scores) == 2
    assert record.aligner.config == record.aligner.trials[scores.index(max(scores))]["config"]
    assert record.aligner.changed == {}, "nobody changed a setting"
    assert record.spent.labels == 8
    assert record.spent.optimizer_steps == 2 * 4 * 5 + 6
    (table,) = tables(tmp_path, task="preference")
    assert table.setting.tune == 2
