"""Ctrl-C in the middle of a fit: a checkpoint, a quick end, and the next start goes on from there."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.records.schema import Record
from tests.recipe.conftest import Looked
from tests.recipe.test_looking import call

pytestmark = pytest.mark.recipe


STEPS = 200


def adapter(store: Path) -> str | None:
    """Hash of the adapter of the store's sft run."""
    records = [Record.model_validate_json(path.read_bytes()) for path in store.glob("[!.]*/record.json")]
    [found] = [record.aligner.adapter_hash for record in records if record.aligner.name == "sft"]
    return found


def command(looked: Looked, store: Path) -> list[str]:
    settings = ("--set", f"budget.min_steps={STEPS}", "--set", "checkpoint_steps=100000", "--store", str(store))
    return [sys.executable, "-m", "harness", "run", "--aligner", "sft", *looked.options, *settings]


def test_an_interrupted_fit_goes_on_where_it_stopped(
    looked: Looked, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = command(looked, tmp_path / "runs")
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("fit, phase 1"):
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(60) == 130, said
    assert "interrupted; the same command resumes" in said
    saved = [path for path in (tmp_path / "runs").rglob("checkpoint-*") if (path / "bench.json").exists()]
    assert len(saved) == 1, "no checkpoint of the trainer's own falls into this test"
    step = saved[0].name.removeprefix("checkpoint-")
    assert call(*words[3:]) == 0
    assert f"resumed at step {step} of {STEPS}" in capsys.readouterr().err
    assert call(*command(looked, tmp_path / "whole")[3:]) == 0
    hashes = [adapter(tmp_path / name) for name in ("runs", "whole")]
    assert hashes[0] == hashes[1] is not None, "an interrupt changes nothing of the result"
