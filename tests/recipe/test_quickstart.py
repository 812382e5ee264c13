"""Every command of the quickstart, as it stands on the page, with a tiny model in place of the default model."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipe.test_looking import call
from tests.tiny import tiny_folder

pytestmark = pytest.mark.recipe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "quickstart.md"
SMALL = (
    *("--limit", "4", "--device", "cpu", "--budget", "8", "--no-plugins", "--quiet"),
    *("--set", "budget.min_steps=2", "--set", "budget.prompts=2", "--set", "lora.r=2"),
    *("--set", "lengths.prompt=64", "--set", "lengths.completion=16", "--set", "lengths.new_tokens=8"),
)
INSTALLS = 2


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def fresh(words: list[str], folder: Path) -> str:
    """What a command prints in an interpreter of its own, as a user's."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def here(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the same command prints in this process, which has imported what it needs."""
    assert words[:2] == ["-m", "harness"]
    capsys.readouterr()
    code = call(*words[2:])
    told = capsys.readouterr()
    assert code == 0, f"{words}\n{told.out}\n{told.err}"
    return told.out


def test_every_command_does_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first commands, up to the first run, in interpreters of their own; those after it in this process."""
    monkeypatch.chdir(tmp_path)
    tiny_folder(tmp_path / "tiny")
    first, *rest = commands()
    assert first[:3] == ["python3", "-m", "venv"]
    assert rest[0][:2] == [".venv/bin/pip", "install"]
    said: list[str] = []
    runs = 0
    for program, *words in rest[INSTALLS - 1 :]:
        assert program == ".venv/bin/python"
        small = ["--model", "tiny", *SMALL] if words[2] == "run" else []
        said.append(here([*words, *small], capsys) if runs else fresh([*words, *small], tmp_path))
        runs += words[2] == "run"
    assert runs == 3
    board = said[-2]
    assert {"base", "sft", "dpo", "random"} <= set(board.replace("|", " ").replace("`", " ").split())
    assert "shuffled" in board
