"""The plug-ins as an installed distribution: typed, listed, and run from the command line on a tiny model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness_examples.shorter import verdict
from harness_examples.sums_in_words import WORDS, SumsInWords, ends_in, sums

from harness.conformance.toy import tiny_folder
from harness.contracts import JudgeItem, user
from harness.data.sources import SampleSource

PACKAGE = Path(__file__).parents[1]
OFFERED = {
    "aligners": "nll_margin",
    "pools": "sums_in_words",
    "tasks": "unseen_sums",
    "judges": "shorter",
    "backends": "plain",
    "executors": "by_command",
}
SMALL = ("--budget", "8", "--limit", "6", "--device", "cpu", "--set", "budget.min_steps=2", "--set", "lora.r=2")


def harness(*words, **more):
    command = [sys.executable, "-m", "harness", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


def test_they_pass_mypy_strict_and_each_stands_on_a_page():
    modules = sorted(PACKAGE.glob("harness_examples/*.py"))
    assert {module.stem for module in modules} == {"__init__", "finished_runs", *OFFERED.values()}
    assert all(len(module.read_text(encoding="utf-8").splitlines()) < 120 for module in modules)
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=PACKAGE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_are_listed_with_their_distribution():
    listed = harness("list", "--json", "--plugins", "align-harness-examples")
    for kind, name in OFFERED.items():
        (entry,) = [entry for entry in listed[kind] if entry["name"] == name]
        assert entry["origin"] == "align-harness-examples 0.1.0"


def test_aligner_task_pool_and_backend_run_together(model, tmp_path):
    words = ["run", "--aligner", "nll_margin", "--task", "unseen_sums", "--backend", "plain", "--model", model, *SMALL]
    ended = tmp_path / "ended.jsonl"
    record = harness(*words, "--store", str(tmp_path / "runs"), "--json", "--quiet", FINISHED_RUNS=str(ended))
    assert record["status"] == "ok"
    lines = [json.loads(line) for line in ended.read_text(encoding="utf-8").splitlines()]
    assert {"id": record["id"], "status": "ok"}.items() <= lines[-1].items()
    assert lines[-1]["scores"] == {name: score["mean"] for name, score in record["scores"].items()}
    assert (record["aligner"]["name"], record["task"]["name"]) == ("nll_margin", "unseen_sums")
    assert record["data"]["pool"] == "sums_in_words"
    assert set(record["data"]["pair_ids"]) <= {one.id for one in sums("pool")}
    assert set(record["scores"]) == {"right", "ended"}
    assert record["spent"]["optimizer_steps"] == 6
    assert (record["model"]["backend"], record["model"]["fit_backend"]) == ("plain", "hf")
    assert record["spent"]["inference"]["flops"] > 0
    for label in ("aligner:nll_margin", "task:unseen_sums", "pool:sums_in_words", "backend:plain"):
        assert record["manifest"]["plugins"][label] == "align-harness-examples 0.1.0"


def test_the_judge_is_measured_as_any_other(tmp_path):
    found = harness("judge", "check", "shorter", "--limit", "8", "--store", str(tmp_path), "--json", "--quiet")
    assert found["judge"] == "shorter"


@pytest.mark.parametrize(
    ("a", "b", "p"),
    [("yes", "oh yes", 1.0), ("oh yes", "yes", 0.0), ("yes", "no", 0.5), ("", "no", 0.0), ("", " ", 0.5)],
)
def test_the_judge_calls_a_tie_a_tie_and_an_empty_answer_lost(a, b, p):
    assert verdict(JudgeItem("", user("Well?"), a, b)).p_a == p


def test_the_pool_says_what_is_right():
    pool, source = SumsInWords(), SampleSource()
    check = pool.verifier(source)
    for pair in pool.pairs(source):
        assert (check(pair.id, pair.chosen), check(pair.id, pair.rejected)) == (1.0, 0.0)
    assert ends_in(WORDS[21], "It is Twenty-One!") == 1.0
    assert not {one.unit for one in sums("pool")} & {one.unit for one in sums("eval")}
    assert len(sums("pool")) + len(sums("eval")) == 400
