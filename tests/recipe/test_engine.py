"""The whole loop on a tiny random model: plan, fit in a child process, evaluate, record."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import time
import types
from pathlib import Path
from typing import Any

import pytest

from harness.config import PRESETS, Lengths, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import HarnessError
from harness.contracts.progress import Silent
from harness.hookspecs import hookimpl
from harness.plugins.registry import Registry, load
from harness.records.samples import read_samples
from harness.records.store import Store
from harness.run.engine import run
from harness.run.plan import Plan, make_plan
from leaderboards import tables
from tests.recipe.test_looking import as_json

pytestmark = pytest.mark.recipe

SMALL = {
    "task": "medqa",
    "data": "sample",
    "limit": 8,
    "budget": PRESETS["8"].model_copy(update={"min_steps": 4, "prompts": 4}),
    "lengths": Lengths(prompt=96, completion=32, new_tokens=24, sample_prompts=2),
    "lora": Lora(r=4, alpha=8),
    "checkpoint_steps": 2,
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


def cell(tiny: str, store: Path, **changes: Any) -> RunConfig:
    return RunConfig(**{"aligner": "sft", "model": tiny, "store": store, **SMALL, **changes})


def test_a_cell_ends_with_a_record_samples_adapter_and_log(tiny: str, tmp_path: Path, registry: Registry) -> None:
    record = run(cell(tiny, tmp_path), registry=registry)
    folder = tmp_path / record.id
    assert record.status == "ok"
    assert {p.name for p in folder.iterdir()} == {"record.json", "samples.parquet", "adapter", "log.jsonl"}
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert (record.spent.labels, record.spent.optimizer_steps, record.task.n_items) == (8, 6, 8)
    assert record.spent.trained_tokens > 0
    assert record.spent.inference.forward_tokens > 0
    assert record.scores["acc"].n == 8
    assert len(read_samples(folder / "samples.parquet")) == 8
    stored = json.loads((folder / "record.json").read_text())
    expected = {"id", "status", "aligner", "task", "model", "data", "budget", "spent", "scores", "manifest", "seed"}
    assert set(stored) >= expected
    steps = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines() if "loss" in line]
    assert steps[:6] == [1, 2, 3, 4, 5, 6]
    (table,) = tables(tmp_path, task="medqa")
    assert [row.label for row in table.rows] == ["base", "sft"]


def test_an_adapter_that_changes_no_answer_is_recorded(tiny: str, tmp_path: Path, registry: Registry) -> None:
    timid = run(cell(tiny, tmp_path, aligner_config={"learning_rate": 1e-12}), registry=registry)
    bold = run(cell(tiny, tmp_path, aligner_config={"learning_rate": 1.0}), registry=registry)
    assert timid.aligner.adapter_hash is not None
    assert (timid.aligner.without_effect, bold.aligner.without_effect) == (True, False)


@pytest.mark.parametrize("aligner", ["dpo", "selfie", "gem"])
def test_a_cell_in_bf16_is_another_cell(aligner: str, tiny: str, tmp_path: Path, registry: Registry) -> None:
    """What a GPU does with large models; here on a CPU, in the same code."""
    record = run(cell(tiny, tmp_path, aligner=aligner, precision="bf16"), registry=registry)
    assert record.status != "failed", record.reason
    assert record.model.precision == "bf16"
    exact = make_plan(cell(tiny, tmp_path, aligner=aligner), registry, Silent())
    assert exact.machine.precision == "fp32"
    assert exact.fit_id != record.aligner.fit_id


@pytest.mark.usefixtures("fresh_processes")
def test_the_same_cell_is_never_run_twice_and_another_store_gives_the_same_bits(
    tiny: str, tmp_path: Path, registry: Registry
) -> None:
    first = run(cell(tiny, tmp_path / "a", aligner="dpo"), registry=registry)
    before = (tmp_path / "a" / first.id / "record.json").stat().st_mtime_ns
    assert run(cell(tiny, tmp_path / "a", aligner="dpo"), registry=registry) == first
    assert (tmp_path / "a" / first.id / "record.json").stat().st_mtime_ns == before
    second = run(cell(tiny, tmp_path / "b", aligner="dpo"), registry=registry)
    assert second.id == first.id
    assert second.scores == first.scores
    assert second.aligner.adapter_hash == first.aligner.adapter_hash
    samples = [(tmp_path / s / first.id / "samples.parquet").read_bytes() for s in "ab"]
    assert samples[0] == samples[1]


def test_identity_moves_with_what_decides_and_stays_with_what_does_not(
    tiny: str, tmp_path: Path, registry: Registry
) -> None:
    def ids(**changes: Any) -> tuple[str, str]:
        plan = make_plan(cell(tiny, tmp_path, **changes), registry, Silent())
        return plan.fit_id, plan.run_id

    reference = ids()
    changes: list[dict[str, Any]] = [
        {"seed": 1},
        {"draw_seed": 1},
        {"aligner_config": {"learning_rate": 3e-3}},
        {"lora": Lora(r=8)},
        {"lengths": Lengths(prompt=90)},
        {"budget": PRESETS["8"]},
        {"aligner": "dpo"},
    ]
    fits = {ids(**change)[0] for change in changes}
    assert len(fits | {reference[0]}) == len(changes) + 1
    limited = ids(limit=4)
    assert limited[0] == reference[0]
    assert limited[1] != reference[1]


def test_a_fit_is_told_whether_its_pools_answers_carry_a_marker(
    tiny: str, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(pool: str) -> Plan:
        return make_plan(cell(tiny, tmp_path, aligner="gem", train_on=pool), registry, Silent())

    assert planned("medqa").few_shot.spans == "marker"
    before = planned("ultrafeedback")
    assert before.few_shot.spans == "positional"
    monkeypatch.setattr(registry.pool("ultrafeedback").__mro__[1], "spans", "marker")
    assert planned("ultrafeedback").few_shot.spans == "marker"
    assert planned("ultrafeedback").fit_id != before.fit_id


def test_base_is_the_same_for_every_seed(tiny: str, tmp_path: Path, registry: Registry) -> None:
    plans = [
        make_plan(
            make_plan(cell(tiny, tmp_path, seed=s, draw_seed=s), registry, Silent()).base_config, registry, Silent()
        ).run_id
        for s in (0, 1)
    ]
    assert plans[0] == plans[1]


def test_one_fit_serves_two_evaluations(tiny: str, tmp_path: Path, registry: Registry) -> None:
    first = run(cell(tiny, tmp_path), registry=registry)
    second = run(cell(tiny, tmp_path, limit=4), registry=registry)
    assert first.id != second.id
    assert first.aligner.fit_id == second.aligner.fit_id
    assert len([p for p in (tmp_path / ".fits").iterdir() if (p / "fit.json").exists()]) == 1


def test_a_fit_that_crashes_is_a_failed_record_and_can_be_run_again(
    tiny: str, tmp_path: Path, registry: Registry
) -> None:
    """A workdir that is a file makes the worker's first checkpoint fail."""
    plan = make_plan(cell(tiny, tmp_path), registry, Silent())
    folder = Store(tmp_path).fit_dir(plan.fit_id)
    folder.mkdir(parents=True)
    (folder / "work").write_text("in the way")
    record = run(cell(tiny, tmp_path), registry=registry)
    assert record.status == "failed"
    assert record.failure is not None
    assert "FileExistsError" in record.failure.traceback
    assert Store(tmp_path).record(record.id) == record
    (folder / "work").unlink()
    assert run(cell(tiny, tmp_path), registry=registry).status == "ok"


class Watching:
    """An observer that notes what it is told, and one method that always fails."""

    name = "watching"

    def __init__(self) -> None:
        self.told: list[tuple[str, str, Any]] = []

    def started(self, run_id: str, summary: Any) -> None:
        self.told.append(("started", run_id, summary))

    def logged(self, run_id: str, event: Any) -> None:
        self.told.append(("logged", run_id, event))

    def finished(self, run_id: str, record: Any) -> None:
        self.told.append(("finished", run_id, record))
        raise ValueError("tracker is down")


def test_observers_hear_of_a_run_and_cannot_break_it(tiny: str, tmp_path: Path) -> None:
    watching = Watching()
    plugin = types.ModuleType("watching")
    plugin.harness_observers = hookimpl(lambda: [watching])  # type: ignore[attr-defined]
    notes: list[str] = []
    progress = Silent()
    progress.note = notes.append  # type: ignore[method-assign]
    record = run(cell(tiny, tmp_path), registry=load(plugins=False, extra=[plugin]), observer=progress)
    assert record.status == "ok"
    base = run(cell(tiny, tmp_path, aligner="base"), registry=load(plugins=False))
    assert [(told, run_id) for told, run_id, _ in watching.told if told != "logged"] == [
        ("started", base.id),
        ("finished", base.id),
        ("started", record.id),
        ("finished", record.id),
    ]
    summary = watching.told[[run_id for _, run_id, _ in watching.told].index(record.id)][2]
    assert (summary["config"]["aligner"], summary["fit_id"]) == ("sft", record.aligner.fit_id)
    logged = [event for told, run_id, event in watching.told if (told, run_id) == ("logged", record.id)]
    assert logged == [json.loads(line) for line in (tmp_path / record.id / "log.jsonl").read_text().splitlines()]
    assert [event["step"] for event in logged if "loss" in event] == list(range(1, record.spent.optimizer_steps + 1))
    assert watching.told[-1][2] == record.model_dump(mode="json")
    assert any("tracker is down" in line for line in notes)


def test_demonstrations_count_as_labels(tiny: str, tmp_path: Path, registry: Registry) -> None:
    record = run(cell(tiny, tmp_path, aligner="base", num_fewshot=2), registry=registry)
    assert record.spent.labels == 2
    zero = run(cell(tiny, tmp_path, aligner="base"), registry=registry)
    assert zero.spent.labels == 0
    assert zero.scores["pref_ratio"].mean == 0.5


def test_the_compute_track_stops_at_its_cap(tiny: str, tmp_path: Path, registry: Registry) -> None:
    free = run(cell(tiny, tmp_path), registry=registry)
    budget = SMALL["budget"].model_copy(update={"track": "labels+compute", "cap_flops": free.spent.flops / 2})  # type: ignore[attr-defined]
    capped = run(cell(tiny, tmp_path, budget=budget), registry=registry)
    assert capped.status == "ok"
    assert "cap" in (capped.reason or "")
    assert capped.spent.optimizer_steps < free.spent.optimizer_steps


def test_a_budget_larger_than_the_pool_is_refused_and_nothing_is_written(
    tiny: str, tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(HarnessError, match="medqa"):
        run(cell(tiny, tmp_path / "store", budget=PRESETS["512"]), registry=registry)
    assert not [
        p for p in (tmp_path / "store").glob("*/record.json") if json.loads(p.read_text())["aligner"]["name"] == "sft"
    ]


def test_evaluation_rows_alone_serve_base(tiny: str, tmp_path: Path, registry: Registry) -> None:
    rows = [json.dumps(row) for row in _sample("eval")[:6]]
    (tmp_path / "data" / "medqa").mkdir(parents=True)
    (tmp_path / "data" / "medqa" / "test.jsonl").write_text("\n".join(rows) + "\n")
    data = str(tmp_path / "data")
    record = run(cell(tiny, tmp_path / "s", aligner="base", data=data), registry=registry)
    assert record.scores["acc"].n == 6
    with pytest.raises(HarnessError, match="train"):
        run(cell(tiny, tmp_path / "s", aligner="sft", data=data), registry=registry)


def _sample(split: str) -> list[dict[str, Any]]:
    from importlib import resources

    text = (resources.files("tasks") / "samples" / "medqa" / f"{split}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def kill_resume() -> Any:
    """The script that kills jobs at random moments; here its parts, at one chosen moment."""
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "kill_resume.py"
    if not script.is_file():
        pytest.skip("a source distribution holds no benchmarks")
    found = importlib.util.spec_from_file_location("kill_resume", script)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_killed_and_resumed_equals_undisturbed(
    tiny: str, tmp_path: Path, kill_resume: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job and its worker, each in a fresh interpreter, die after GEM's first checkpoint, which is then damaged."""

    def words(store: str) -> list[str]:
        found: list[str] = kill_resume.command(Path(tiny), tmp_path / store, "gem", ["checkpoint_steps=4"])
        return found

    calm = as_json(capsys, *words("calm")[3:])
    store = tmp_path / "killed"
    with subprocess.Popen(words("killed"), stdout=subprocess.DEVNULL, env=kill_resume.environment()) as process:
        while not list(store.glob(".fits/*/work/phase-*/checkpoint-*/bench.json")):
            assert process.poll() is None, "it ended before its first checkpoint was seen"
            time.sleep(0.02)
        assert kill_resume.kill(process, "both") == "both"
    assert not list(store.glob(".fits/*/fit.json")), "the fit was not over"
    assert kill_resume.damage(store, random.Random(17), ("work/**/*",)) != "nothing to damage"
    resumed = as_json(capsys, *words("killed")[3:])
    assert resumed["spent"]["lost"]["restarts"] > calm["spent"]["lost"]["restarts"] == 0
    assert kill_resume.all_differences(tmp_path / "calm", calm, store, resumed) == []


def test_shuffled_labels_are_a_row_of_their_own_and_swap_half_of_the_pairs(
    tiny: str, tmp_path: Path, registry: Registry
) -> None:
    plain, shuffled = (cell(tiny, tmp_path, aligner="dpo", shuffle_labels=on) for on in (False, True))
    given, swapped = (make_plan(config, registry, Silent()) for config in (plain, shuffled))
    assert given.fit_id != swapped.fit_id
    assert given.base_config == swapped.base_config
    both = list(zip(given.few_shot.pairs, swapped.few_shot.pairs, strict=True))
    assert [a.id for a, _ in both] == [b.id for _, b in both]
    assert sum((a.chosen, a.rejected) == (b.rejected, b.chosen) for a, b in both) == len(both) // 2
    assert sum(a == b for a, b in both) == len(both) - len(both) // 2
    records = [run(config, registry=registry) for config in (plain, shuffled)]
    assert records[0].aligner.adapter_hash != records[1].aligner.adapter_hash
    assert records[1].data.shuffled_labels
    (table,) = tables(tmp_path)
    assert {row.label for row in table.rows} == {"base", "dpo", "dpo [labels=shuffled]"}


def test_a_method_that_asks_a_verifier_is_no_control_by_shuffled_pairs(
    tiny: str, tmp_path: Path, registry: Registry
) -> None:
    config = cell(tiny, tmp_path, aligner="grpo", task="gsm8k", shuffle_labels=True)
    with pytest.raises(HarnessError, match=r"aligner grpo asks a verifier .* drop --shuffle-labels"):
        make_plan(config, registry, Silent())
    assert make_plan(config.model_copy(update={"shuffle_labels": False}), registry, Silent()).few_shot.verifier


def test_one_label_cannot_be_shuffled(tiny: str, tmp_path: Path, registry: Registry) -> None:
    one = PRESETS["8"].model_copy(update={"labels": 1, "min_steps": 2, "prompts": 4})
    config = cell(tiny, tmp_path, aligner="dpo", shuffle_labels=True, budget=one)
    with pytest.raises(HarnessError, match="half of the pairs, and there is 1; take --budget 2"):
        make_plan(config, registry, Silent())


def test_labels_that_are_not_there_cannot_be_shuffled(tiny: str, tmp_path: Path, registry: Registry) -> None:
    config = cell(tiny, tmp_path, shuffle_labels=True)
    lake = types.ModuleType("prompts_only")
    lake.harness_pools = hookimpl(lambda: [_promptless(registry)])  # type: ignore[attr-defined]
    with pytest.raises(HarnessError, match="has no pairs whose labels could be shuffled"):
        make_plan(
            config.model_copy(update={"aligner": "gem", "train_on": "unpaired"}),
            load(plugins=False, extra=[lake]),
            Silent(),
        )


def _promptless(registry: Registry) -> type[Any]:
    """MedQA's pool without its pairs."""
    pool = registry.pool("medqa")
    return type("Unpaired", (pool,), {"name": "unpaired", "pairs": lambda self, source, split="pool": []})
