"""Runs to and from a data set, against a stand-in of the hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.contracts import HarnessError
from harness.records.hub import DataSet, data_set
from tests.hub_server import COMMIT, hub
from tests.unit.leaderboards.test_leaderboards import calibrate
from tests.unit.leaderboards.test_published import judged, run

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.core


def harness(endpoint: str, home: Path, *words: str, offline: bool = False) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, for the hub's client reads its settings when it is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    told = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline)), "HF_TOKEN": "hf_x"}
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "harness", *words]
    return subprocess.run(command, env={**kept, **told, **quiet}, capture_output=True, text=True, check=False)


def test_runs_go_to_a_data_set_and_come_back_the_same(tmp_path: Path) -> None:
    store, mine, home = tmp_path / "store", tmp_path / "mine", tmp_path / "home"
    runs = [run(store, "base", 10), run(store, "gem", 30)]
    names = [folder.name for folder in runs]
    with hub({}, account=tmp_path / "account") as endpoint:
        sent = harness(endpoint, home, "export", *names, "--as", "run", "--out", "hub:org/runs", "--store", str(store))
        assert sent.returncode == 0, sent.stderr
        assert COMMIT in sent.stdout
        assert "holds the texts of your data" in sent.stderr
        came = harness(endpoint, home, "import", "hub:org/runs", "--store", str(mine), "--json")
        assert {(one["run"], one["said"]) for one in json.loads(came.stdout)} == {
            (name, "taken over") for name in names
        }
        for name in names:
            for file in ("record.json", "samples.parquet"):
                assert (mine / name / file).read_bytes() == (store / name / file).read_bytes()
                assert not (mine / name / file).is_symlink()
        assert not (mine / "judges").exists()
        changed = tmp_path / "account/datasets/org/runs" / names[1] / "record.json"
        changed.write_text(changed.read_text().replace("0.75", "0.76"))
        refused = harness(
            endpoint, tmp_path / "other", "import", f"hub:org/runs@{COMMIT}", "--store", str(tmp_path / "third")
        )
        assert refused.returncode == 1
        assert f"hub:org/runs@{COMMIT}/{names[1]}: refused: record.json is not what was written" in refused.stdout
        assert not (tmp_path / "third" / names[1]).exists()
        assert (tmp_path / "third" / names[0]).exists()
        missing = harness(endpoint, home, "import", "hub:org/none", "--store", str(mine))
        assert missing.returncode == 2
        assert "data set org/none is neither cached nor to be had" in missing.stderr
    again = harness(endpoint, home, "import", "hub:org/runs", "--store", str(tmp_path / "fourth"), offline=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("taken over") == 2, "what was fetched once is there without the hub"


def test_what_was_measured_of_a_judge_goes_with_its_runs(tmp_path: Path) -> None:
    store, mine, home = tmp_path / "store", tmp_path / "mine", tmp_path / "home"
    made = judged(store, "gem", 30)
    calibrate(store, model=None)
    calibrate(store, judge="similarity", model=None)
    with hub({}, account=tmp_path / "account") as endpoint:
        words = ("export", made.name, "--as", "run", "--out", "hub:org/runs", "--store", str(store))
        assert harness(endpoint, home, *words).returncode == 0
        came = harness(endpoint, home, "import", "hub:org/runs", "--store", str(mine))
    assert came.returncode == 0, came.stderr
    assert [path.relative_to(mine).as_posix() for path in mine.rglob("judges/*/*.json")] == ["judges/local/llmbar.json"]


def test_what_the_hub_refuses_is_one_line(tmp_path: Path) -> None:
    made = run(tmp_path / "store", "base", 10)
    with hub({}) as endpoint:
        words = ("export", made.name, "--as", "run", "--out", "hub:org/runs", "--store", str(tmp_path / "store"))
        refused = harness(endpoint, tmp_path / "home", *words)
    assert refused.returncode == 2
    assert "data set org/runs could not be written" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_addresses() -> None:
    assert data_set("runs") is None
    assert data_set("hub:org/runs") == DataSet("org/runs", None)
    assert data_set("hub:org/runs@v1.0") == DataSet("org/runs", "v1.0")
    for wrong in ("hub:runs", "hub:a/b/c", "hub:", "hub:a/b@"):
        with pytest.raises(HarnessError, match="names no data set of the hub; expected hub:OWNER/NAME"):
            data_set(wrong)
