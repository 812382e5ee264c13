"""Outputs of other models enter judged tables from a file: as a row of their own, without a cost, or not at all."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import leaderboards
from harness.cli import app
from harness.conformance.toy import tiny_folder
from harness.data.sources import open_source
from harness.records.store import Store
from leaderboards.html import write_site
from tasks.datasets.dialogues import DATASET
from tasks.measures.length_control import length_controlled
from tasks.medical_dialogue import MedicalDialogue
from tests.recipe.conftest import asked_again, contradictions

pytestmark = pytest.mark.recipe

LIMIT = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, and a store in which base answered AlpacaEval's sample."""
    folder = tmp_path_factory.mktemp("outputs")
    tiny_folder(folder / "model")
    return folder


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.alpaca_eval.length_controlled", partial(length_controlled, resamples=4))


def run(place: Path, store: Path, *more: str, task: str = "alpaca_eval", code: int = 0) -> Result:
    settings = ("budget.min_steps=1", "budget.prompts=0", "lora.r=2")
    done = CliRunner().invoke(
        app,
        [
            *("run", "--task", task, "--data", "sample", "--device", "cpu", "--budget", "8", "--limit", str(LIMIT)),
            *("--model", str(place / "model"), "--store", str(store), "--no-plugins", "--quiet"),
            *(part for setting in settings for part in ("--set", setting)),
            *more,
        ],
    )
    assert done.exit_code == code, done.output
    return done


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def exported(store: Path, run_id: str, out: Path) -> list[dict[str, Any]]:
    words = ["export", run_id, "--as", "alpaca_eval", "--out", str(out), "--store", str(store)]
    assert CliRunner().invoke(app, words).exit_code == 0
    rows: list[dict[str, Any]] = json.loads((out / "model_outputs.json").read_text())
    return rows


def test_a_file_is_a_row_of_its_own_beside_methods_with_provenance_and_without_cost(
    place: Path, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    methods = json.loads(run(place, store, "--aligner", "icl", "--json").stdout)
    base = next(entry.record for entry in leaderboards.load(store) if entry.record.aligner.name == "base")
    rows = exported(store, base.id, tmp_path)
    same = tmp_path / "model_outputs.json"
    better = written(
        tmp_path / "better.jsonl",
        [{**row, "output": f"{row['instruction']} A full answer.", "generator": "great | model"} for row in rows],
    )
    done = run(place, store, "--aligner", "icl", "--outputs", str(same), "--outputs", str(better))
    [table] = leaderboards.tables(store)
    by_role = {row.role: [one for one in table.rows if one.role == row.role] for row in table.rows}
    assert {role: len(found) for role, found in by_role.items()} == {"base": 1, "method": 1, "outputs": 2}
    again = next(row for row in by_role["outputs"] if row.changed["generator"] == rows[0]["generator"])
    great = next(row for row in by_role["outputs"] if row is not again)
    assert again.metrics["win_rate"].score.mean == pytest.approx(by_role["base"][0].metrics["win_rate"].score.mean)
    versus = great.metrics["win_rate"].versus_base
    assert versus is not None and versus.difference > 0
    assert (great.verdict, great.p_holm, great.cost, table.family) == (None, None, None, 1)
    assert methods["id"] in by_role["method"][0].records, "what was there is not computed again"

    record = Store(store).record(great.records[0])
    assert record is not None and record.outputs is not None
    assert record.outputs.generator == "great | model"
    assert (record.outputs.file, record.outputs.sha256) == (
        better.name,
        hashlib.sha256(better.read_bytes()).hexdigest(),
    )
    assert record.spent.flops == record.spent.labels == record.spent.inference.flops == 0
    assert record.aligner.adapter_hash is None

    line = next(line for line in done.stdout.splitlines() if line.startswith("| outputs") and "great" in line)
    cells = [cell.strip() for cell in line.replace("\\|", "/").strip("| ").split("|")]
    assert cells[-1] == "outputs"
    assert cells[-7:-2] == [""] * 5, "neither labels nor steps, FLOPs, seconds, memory"
    assert f"from a file whose sha256 begins with `{record.outputs.sha256[:12]}`" in done.stdout
    assert "outputs of great | model in better.jsonl on alpaca_eval: ok; win_rate" in done.stdout
    assert f"--outputs {same} --outputs {better}" in done.stdout, "what to run next has the files"

    printed = csv.DictReader(io.StringIO(leaderboards.render([table], "csv")))
    assert {one["cost_flops"] for one in printed if one["role"] == "outputs"} == {""}
    assert leaderboards.from_json(leaderboards.render([table], "json")) == [table]
    latex = next(one for one in leaderboards.render([table], "latex").splitlines() if "great" in one)
    assert latex.endswith(r"&  &  &  & ok & outputs \\"), "neither labels nor steps nor FLOPs"
    page = write_site(leaderboards.ranked(store), tmp_path / "site").parent
    assert any("not known" in path.read_text() for path in page.rglob("*.html"))
    shown = CliRunner().invoke(app, ["show", record.id, "--store", str(store)]).stdout
    assert record.outputs.sha256 in shown and "optimizer_steps" not in shown
    card = CliRunner().invoke(
        app, ["export", record.id, "--as", "card", "--out", str(tmp_path / "card"), "--store", str(store)]
    )
    assert card.exit_code == 2

    _is_the_same_again(place, store, tmp_path, record.id, better)
    judged = json.loads(run(place, store, "--aligner", "base", "--baseline", record.id, "--json").stdout)
    assert judged["task"]["baseline"] == record.id, "methods can be judged against a file's answers"
    assert judged["scores"]["win_rate"]["mean"] < 0.5


def _is_the_same_again(place: Path, store: Path, tmp_path: Path, run_id: str, file: Path) -> None:
    """The settings of a run give the same run, and a file that was changed since is refused."""
    settings = tmp_path / "again.yaml"
    settings.write_text(CliRunner().invoke(app, ["show", run_id, "--yaml", "--store", str(store)]).stdout)
    words = ["run", "--config", str(settings), "--store", str(store), "--no-plugins", "--quiet", "--json"]
    assert json.loads(CliRunner().invoke(app, words).stdout)["id"] == run_id
    record = Store(store).record(run_id)
    assert record is not None
    typed = ["run", *asked_again(record), "--store", str(store), "--no-plugins", "--quiet", "--json"]
    assert json.loads(CliRunner().invoke(app, typed).stdout)["id"] == run_id
    assert contradictions(store, record) == []
    before = file.read_text()
    file.write_text(before.replace("full answer", "half answer"))
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, "is not the one that these settings were made for" in done.output) == (2, True)
    file.write_text(before)


def test_a_file_whose_prompts_do_not_match_is_refused_before_anything_is_computed(place: Path, tmp_path: Path) -> None:
    rows = [{"instruction": "Something else?", "output": "no"}]
    file = written(tmp_path / "other.jsonl", rows)
    done = run(place, tmp_path / "runs", "--outputs", str(file), code=2)
    assert f"outputs other.jsonl for alpaca_eval: {LIMIT} of {LIMIT} prompts have no output: '" in " ".join(
        done.output.split()
    )
    assert not list((tmp_path / "runs").glob("[!.]*")), "not even base was asked"


def test_tasks_that_ask_for_more_than_texts_take_no_outputs(place: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "o.jsonl", [{"instruction": "x", "output": "y"}])
    done = run(place, tmp_path / "runs", "--outputs", str(file), task="medqa", code=2)
    assert "task 'medqa' cannot be scored from a file of outputs" in " ".join(done.output.split())


def test_patients_questions_are_answered_from_a_file_with_whole_conversations(place: Path, tmp_path: Path) -> None:
    asked = MedicalDialogue().prompts(open_source("sample", DATASET), LIMIT)
    rows = [
        {"prompt": [{"role": turn.role, "content": turn.content} for turn in prompt], "output": "Rest, and call us."}
        for prompt in asked.values()
    ]
    file = written(tmp_path / "doctor.jsonl", rows)
    [record] = [
        json.loads(run(place, tmp_path / "runs", "--outputs", str(file), "--json", task="medical_dialogue").stdout)
    ]
    assert record["outputs"]["generator"] == "doctor"
    assert record["scores"]["win_rate"]["n"] == LIMIT
    assert record["scores"]["answer_words"]["mean"] == 4
    assert "expert_agreement" not in record["scores"], "a file says nothing of likelihoods"
    [table] = leaderboards.tables(tmp_path / "runs")
    assert {row.role for row in table.rows} == {"base", "outputs"}
