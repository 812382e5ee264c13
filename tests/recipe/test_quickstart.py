"""Every command of the quickstart, as it stands on the page, with a tiny model in place of the default model."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

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


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_every_command_does_what_the_page_says(tmp_path: Path) -> None:
    tiny_folder(tmp_path / "tiny")
    first, *rest = commands()
    assert first[:3] == ["python3", "-m", "venv"]
    assert rest[0][:2] == [".venv/bin/pip", "install"]
    said = []
    for program, *words in rest[INSTALLS - 1 :]:
        assert program == ".venv/bin/python"
        small = ["--model", "tiny", *SMALL] if words[2] == "run" else []
        done = run([*words, *small], tmp_path)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)
    board = said[-2]
    assert {"base", "sft", "dpo", "random"} <= set(board.replace("|", " ").replace("`", " ").split())
    assert "shuffled" in board
