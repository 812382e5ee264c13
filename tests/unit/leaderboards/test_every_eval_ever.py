"""Runs in the shared schema of evaluation results; with its package at hand, as that package validates them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import SampleRow
from harness.records.store import Store
from leaderboards.every_eval_ever import model_id, write_log
from tests.unit.leaderboards.site_store import ATTACK, fill
from tests.unit.leaderboards.test_leaderboards import add, record
from tests.unit.leaderboards.test_published import call, one, run

pytestmark = pytest.mark.core
ROOT = Path(__file__).parents[3] / "leaderboards"
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    run(tmp_path / "store", "base", 10)
    run(tmp_path / "store", "gem", 30)
    return tmp_path / "store"


def exported(store: Path, run_id: str, out: Path) -> tuple[dict[str, Any], list[dict[str, Any]], Path]:
    """The log, its lines, and where they lie."""
    words = ("export", run_id, "--as", "every_eval_ever", "--by", "A lab", "--store", str(store), "--out", str(out))
    assert call(*words) == 0
    [log] = out.glob("data/*/*/*/*.json")
    samples = log.with_name(f"{log.stem}_samples.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()] if samples.exists() else []
    return json.loads(log.read_text()), lines, log


def test_labels_cost_and_paired_differences_are_in_the_details(store: Path, tmp_path: Path) -> None:
    log, _, _ = exported(store, one(store).name, tmp_path / "out")
    details = log["model_info"]["additional_details"]
    assert (details["aligner"], details["base_model"], details["labels_budget"]) == ("gem", "PATH/small-model", "32")
    assert json.loads(details["label_ids"]) == ["a", "b"]
    assert json.loads(details["training_flops"]) == 2.5e12
    assert all(isinstance(value, str) for value in details.values())
    [result] = log["evaluation_results"]
    score = result["score_details"]
    assert score["score"] == 0.75
    low, high = (score["uncertainty"]["confidence_interval"][name] for name in ("lower", "upper"))
    assert low < 0.75 < high
    versus = json.loads(score["details"]["paired_difference_to_base"])
    assert versus["difference"] == pytest.approx(0.5)
    assert score["details"]["verdict"] == "better"
    assert result["metric_config"]["lower_is_better"] is False
    command = result["generation_config"]["generation_args"]["execution_command"]
    assert "somebody" not in command
    assert command.startswith("OMP_NUM_THREADS=2 python -m harness run --aligner gem --task medqa --data PATH/data ")


def test_less_of_a_falling_metric_is_correct(tmp_path: Path) -> None:
    for name, right in (("base", 10), ("gem", 30)):
        run(tmp_path / "store", name, right, task__lower_is_better=("accuracy",))
    log, lines, _ = exported(tmp_path / "store", one(tmp_path / "store").name, tmp_path / "out")
    assert log["evaluation_results"][0]["metric_config"]["lower_is_better"] is True
    assert sum(line["evaluation"]["is_correct"] for line in lines) == 10, "30 of 40 have the fault that is counted"


def test_an_unfit_run_has_no_verdict_of_the_sound_ones(tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(store, "base", 10)
    run(store, "gem", 30)
    run(store, "gem", 40, seed__training=1, status="degenerate", reason="flat")
    records = [Store(store).record(path.parent.name) for path in store.glob("*/record.json")]
    names = {record.status: record.id for record in records if record is not None and record.aligner.name == "gem"}
    details = {}
    for status, name in names.items():
        log, _, _ = exported(store, name, tmp_path / status)
        details[status] = log["evaluation_results"][0]["score_details"]["details"]
    assert json.loads(details["ok"]["differences_are_over_runs"]) == [names["ok"]]
    assert details["ok"]["verdict"] == "better"
    assert details["degenerate"] == {"role": "method"}


def test_items_name_the_log_that_they_belong_to(store: Path, tmp_path: Path) -> None:
    log, lines, path = exported(store, one(store).name, tmp_path / "out")
    assert UUID4.fullmatch(path.stem)
    assert len(lines) == 40
    assert {line["evaluation_id"] for line in lines} == {log["evaluation_id"]}
    assert {line["evaluation_result_id"] for line in lines} == {log["evaluation_results"][0]["evaluation_result_id"]}
    assert sum(line["evaluation"]["is_correct"] for line in lines) == 30
    details = log["detailed_evaluation_results"]
    assert details["total_rows"] == 40
    samples = tmp_path / "out" / details["file_path"]
    assert details["checksum"] == hashlib.sha256(samples.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("main", "falling", "right"),
    [
        ({"q00": 1.0, "q01": 0.5, "q02": 0.0}, [], {"q00"}),
        ({"q00": 1.0, "q01": 0.5, "q02": 0.0}, ["accuracy"], {"q02"}),
        ({"q00": 1.0, "q01": 7.0, "q02": 10.0}, [], set()),
        ({"q00": 2.0, "q01": 1.0, "q02": 0.0}, ["accuracy"], {"q02"}),
        ({"q00": -2.0, "q01": -1.0, "q02": 0.0}, ["accuracy"], set()),
        ({"q00": 1.0}, [], {"q00"}),
    ],
)
def test_the_main_metric_says_which_answers_are_right(
    tmp_path: Path, main: dict[str, float], falling: list[str], right: set[str]
) -> None:
    words, cut = {"q00": 40.0, "q01": 1.0, "q02": 0.0}, {"q00": 0.0, "q01": 1.0, "q02": 1.0}
    metrics = {"accuracy": main, "answer_words": words, "truncated": cut}
    scores = {name: {"mean": 0.5, "ci95": None, "n": 3} for name in metrics}
    made = record("a-run", "gem", scores, {"task.lower_is_better": ["truncated", *falling]})
    rows = [SampleRow(item, item, {n: by[item] for n, by in metrics.items() if item in by}, {}) for item in words]
    samples, _ = write_log(made, rows, None, tmp_path, organisation="A lab")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert len(lines) == len(main) + 3 + 3
    for line in lines:
        assert line["evaluation"]["is_correct"] == (line["sample_id"] in right), line["metadata"]["metric"]


def test_the_same_run_gives_the_same_files(store: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        exported(store, one(store).name, tmp_path / name)
    files = [sorted((p.relative_to(tmp_path / n), p.read_bytes()) for p in (tmp_path / n).rglob("*") if p.is_file())
             for n in ("first", "second")]  # fmt: skip
    assert files[0] == files[1]


def test_fitted_models_are_other_models_than_their_base(store: Path) -> None:
    base, gem = (Store(store).record(one(store, name).name) for name in ("base", "gem"))
    assert base is not None
    assert gem is not None
    assert model_id(base) == "align-harness/small-model"
    assert model_id(gem).startswith("align-harness/small-model+gem-32-")
    hosted = base.model_copy(update={"model": base.model.model_copy(update={"name": "owner/model"})})
    assert model_id(hosted) == "owner/model"
    for name in ("/home/somebody/../model", ATTACK, "..", "C:\\model"):
        odd = gem.model_copy(update={"model": gem.model.model_copy(update={"name": name})})
        assert re.fullmatch(r"align-harness/[A-Za-z0-9_][A-Za-z0-9._+-]*", model_id(odd))


def test_what_cannot_be_exported_is_said(store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    failed = add(store, "dpo", None, status="failed", failure={"reason": "no memory", "traceback": ""})
    form = ("--as", "every_eval_ever", "--store", str(store), "--out", str(tmp_path / "out"))
    assert call("export", one(store).name, *form) == 2
    assert "whoever ran the evaluation: --by NAME" in capfd.readouterr().err
    assert call("export", failed.name, *form, "--by", "A lab") == 2
    assert "has no score (failed)" in capfd.readouterr().err
    assert call("export", one(store).name, *form[:-1], "hub:a/b", "--by", "A lab") == 2
    assert "only --as run can be written to a data set of the hub" in capfd.readouterr().err
    runs = [path.name for path in store.iterdir()]
    assert call("export", *runs, "--as", "card", "--store", str(store), "--out", str(tmp_path / "out")) == 2
    assert "--as card takes one run, and 3 are named" in capfd.readouterr().err


def test_the_schemas_own_package_finds_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Runs with texts, with strangers' texts, judged and published ones; needs the package every-eval-ever."""
    validate = pytest.importorskip("every_eval_ever.validator.validate", reason="every-eval-ever needs Python 3.12")
    fill(tmp_path / "store", budgets=(8,), draws=1)
    board = ROOT / "records/opinions"
    for store in (tmp_path / "store", board):
        records = [Store(store).record(path.parent.name) for path in sorted(store.glob("*/record.json"))]
        runs = [record.id for record in records if record is not None and record.scores]
        form = ("--as", "every_eval_ever", "--by", "A lab", "--store", str(store), "--out", str(tmp_path / "out"))
        assert call("export", *runs, *form) == 0
    monkeypatch.chdir(tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.json*"))) > 2 * 15
    capfd.readouterr()
    assert validate.main(["data/*/*/*/*"]) == 0, capfd.readouterr().out
    capfd.readouterr()
    log = next((tmp_path / "out").glob("data/*/*/*/*.json"))
    log.write_text(log.read_text().replace('"open_weights"', '"perhaps"').replace('"unknown"', '"perhaps"'))
    assert validate.main(["data/*/*/*/*"]) == 1, "the package would have said so"
