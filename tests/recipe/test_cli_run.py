"""The whole loop from the command line on a tiny model: run, run again, show, leaderboard, and mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.cli import app
from harness.records.schema import Record
from tests.tiny import tiny_folder

pytestmark = pytest.mark.recipe

SMALL = (
    *("--task", "medqa", "--data", "sample", "--budget", "8", "--limit", "4", "--device", "cpu"),
    *("--set", "budget.prompts=2", "--set", "budget.min_steps=2", "--set", "lora.r=2"),
    *("--set", "lengths.prompt=64", "--set", "lengths.completion=16", "--set", "lengths.new_tokens=8"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_folder(folder)
    return str(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "runs"


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Call = Callable[..., Ended]


@pytest.fixture
def harness(capfd: pytest.CaptureFixture[str]) -> Call:
    """Runs a command in this process: `first` shows that a process of its own does the same."""

    def call(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            app(list(arguments), prog_name="python -m harness")
        code = ended.value.code or 0
        assert isinstance(code, int)
        return Ended(code, *capfd.readouterr())

    return call


def run(model: str, store: Path, *arguments: str) -> list[str]:
    """The words of a small run."""
    return ["run", "--model", model, "--store", str(store), *SMALL, "--no-plugins", *arguments]


@pytest.fixture(scope="module")
def first(model: str, store: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "harness", *run(model, store, "--aligner", "sft", "--json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def test_json_is_one_valid_record(first: dict[str, Any]) -> None:
    record = Record.model_validate(first)
    assert record.status == "ok"
    assert (record.aligner.name, record.task.name, record.budget.profile) == ("sft", "medqa", None)
    assert record.spent.labels == len(record.data.pair_ids) == 8
    assert record.spent.optimizer_steps >= 2
    assert record.spent.flops > 0
    assert record.task.main_metric in record.scores
    assert (record.scores["acc"].n, record.scores["acc"].mean * 4 % 1) == (4, 0.0), "four questions, right or wrong"


def test_base_is_scored_beside_it(first: dict[str, Any], store: Path) -> None:
    records = [json.loads(path.read_text(encoding="utf-8")) for path in store.glob("[!.]*/record.json")]
    assert sorted(record["aligner"]["name"] for record in records) == ["base", "sft"]


def test_the_same_command_again_gives_the_same_record(
    harness: Call, first: dict[str, Any], model: str, store: Path
) -> None:
    done = harness(*run(model, store, "--aligner", "sft", "--json"))
    assert (done.returncode, json.loads(done.stdout)) == (0, first)


def test_without_json_the_table_ends_the_output(harness: Call, first: dict[str, Any], model: str, store: Path) -> None:
    done = harness(*run(model, store, "--aligner", "sft", "--quiet"))
    assert done.returncode == 0, done.stderr
    assert first["id"] in done.stdout.splitlines()[0]
    assert {"base", "sft"} <= set(done.stdout.replace("|", " ").split())


def test_show_and_leaderboard_read_the_store(harness: Call, first: dict[str, Any], store: Path, tmp_path: Path) -> None:
    shown = harness("show", first["id"][:8], "--store", str(store), "--json")
    assert json.loads(shown.stdout) == first
    board = harness("leaderboard", "--store", str(store), "--format", "json")
    assert board.returncode == 0, board.stderr
    assert "sft" in json.dumps(json.loads(board.stdout))
    written = harness("leaderboard", "--store", str(store), "--out", str(tmp_path / "out"))
    assert written.returncode == 0, written.stderr
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".md", ".csv", ".json", ".tex"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--aligner", "stf"), "'sft'"),
        (("--aligner", "sft", "--set", "aligner.lerning_rate=1"), "unknown key 'lerning_rate'"),
        (("--aligner", "sft", "--data", "nowhere-at-all"), "nowhere-at-all"),
        (("--aligner", "sft", "--model", "no-such-model"), "no-such-model"),
    ],
)
def test_a_mistake_is_one_line(
    harness: Call, arguments: tuple[str, ...], says: str, model: str, tmp_path: Path
) -> None:
    done = harness(*run(model, tmp_path / "runs", *arguments, "--quiet"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_a_store_that_is_a_file_is_one_line(harness: Call, model: str, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way", encoding="utf-8")
    done = harness(*run(model, tmp_path / "runs", "--aligner", "base", "--quiet"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
