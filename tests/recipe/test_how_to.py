"""Commands of how-to pages, as they stand there, with a tiny model in place of the default model or of the reader's."""

from __future__ import annotations

import glob
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import harness.run.recording as recording
from harness.records.provenance import Origin
from tests.hub_server import hub
from tests.recipe.test_quickstart import SMALL, here
from tests.tiny import tiny_folder

pytestmark = pytest.mark.recipe

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
MODEL = ("--model", "tiny")


def commands(page: str) -> list[list[str]]:
    """The words behind `python` of each indented command."""
    found = re.findall(r"^    python (-m harness .+)$", (PAGES / page).read_text(encoding="utf-8"), re.M)
    return [shlex.split(line) for line in found]


def test_a_row_is_published_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # A record of a checkout with changes is refused; these tests run in such checkouts, too.
    monkeypatch.setattr(recording, "origin", lambda: Origin(commit="0" * 40, dirty=False))
    tiny_folder(tmp_path / "tiny")
    board = tmp_path / "leaderboards" / "records" / "BOARD"
    board.mkdir(parents=True)
    [plan] = re.findall(r"^```yaml\n(.*?)^```$", (PAGES / "publish-row.md").read_text("utf-8"), re.M | re.S)
    (board / "board.yaml").write_text(plan)
    *runs, look, validate, publish, check = commands("publish-row.md")
    assert len(runs) == 3
    for run in runs:
        here([*run, *MODEL, *SMALL], capsys)
    assert "| sft | 3 |" in here(look, capsys)
    records = sorted(glob.glob(validate.pop()))
    assert len(records) == 4, "three draws and base"
    assert here([*validate, *records], capsys)
    here(publish, capsys)
    assert {path.name for path in board.iterdir()} == {"board.yaml", *(Path(one).parent.name for one in records)}
    page = (tmp_path / "leaderboards" / "boards" / "BOARD.md").read_text()
    assert "How well a model keeps a clinic's house rules after 32 labels" in page
    assert "`dpo`" in page, "a planned row that has not been run is named"
    here(check, capsys)


def test_a_model_of_ones_own_is_a_folder_or_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tiny_folder(tmp_path / "my-model")
    of_folder, of_hub, models = commands("own-model.md")
    assert "| dpo | 1 |" in here([*of_folder, *SMALL], capsys)
    with hub({"OWNER/NAME": folder}) as endpoint:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE"))}
        environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *of_hub, *SMALL, "--store", "hub"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "| dpo | 1 |" in done.stdout
    assert "smollm2-135m-instruct" in here(models, capsys)
