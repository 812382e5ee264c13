"""Ctrl-C in the middle of a fit: a checkpoint, a quick end, and the next start goes on from there."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli.interrupts import leaving_in_time
from harness.records.schema import Record
from harness.records.store import Store
from tests.recipe.conftest import Looked
from tests.recipe.test_looking import call

pytestmark = [pytest.mark.recipe, pytest.mark.usefixtures("interruptible")]


STEPS = 200
SLOW = 10
"""How much slower than usual a machine may be on which these tests run."""


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
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(60) == 130, said
        assert time.monotonic() - asked < 3 * SLOW
    assert "interrupted; the same command resumes" in said
    saved = [path for path in (tmp_path / "runs").rglob("checkpoint-*") if (path / "bench.json").exists()]
    assert len(saved) == 1, "no checkpoint of the trainer's own falls into this test"
    step = saved[0].name.removeprefix("checkpoint-")
    assert call(*words[3:]) == 0
    assert f"resumed at step {step} of {STEPS}" in capsys.readouterr().err
    assert call(*command(looked, tmp_path / "whole")[3:]) == 0
    hashes = [adapter(tmp_path / name) for name in ("runs", "whole")]
    assert hashes[0] == hashes[1] is not None, "an interrupt changes nothing of the result"


def test_an_interrupt_that_a_library_swallows_ends_the_process_all_the_same() -> None:
    program = """if True:
        import time
        from harness.cli.interrupts import leaving_in_time
        with leaving_in_time():
            while True:
                try:
                    print("ready", flush=True)
                    time.sleep(100)
                except KeyboardInterrupt:
                    print("swallowed", flush=True)
    """
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert time.monotonic() - asked < 3 * SLOW
        assert process.stdout.read().startswith("swallowed\n")
        assert "interrupted; the same command resumes" in process.stderr.read()


def test_without_an_interrupt_the_watch_leaves_nothing_behind() -> None:
    before = signal.set_wakeup_fd(-1)
    with leaving_in_time():
        pass
    assert signal.set_wakeup_fd(before) == -1


def test_an_interrupted_evaluation_goes_on_where_it_stopped(looked: Looked, tmp_path: Path) -> None:
    """The record is that of an undisturbed run, whatever the moment."""
    words = [sys.executable, "-m", "harness", "run", "--aligner", "base", *looked.options, "--store", str(tmp_path)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("evaluate base"):
                break
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(60) in (130, 0), "it may have ended before"
    assert call(*words[3:]) == 0
    [again] = [Record.model_validate_json(path.read_bytes()) for path in tmp_path.glob("[!.]*/record.json")]
    assert (again.id, again.scores) == (looked.base.id, looked.base.scores)
    assert Store(tmp_path).samples(again) == Store(looked.store).samples(looked.base)
