"""Trackers are told of a run and write it down; one that is not installed is named with its extra."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from harness.contracts import HarnessError
from harness.study.observers import open_observer

RECORD = {"scores": {"accuracy": {"mean": 0.5}}}


def test_tensorboard_has_every_figure_and_the_scores(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    observer = open_observer("tensorboard", tmp_path)
    observer.started("run1", {"config": {"aligner": "dpo"}})
    for step in (1, 2):
        observer.logged("run1", {"step": step, "loss": 1.0 / step, "phase": "train"})
    observer.finished("run1", RECORD)
    found = EventAccumulator(str(tmp_path / ".tensorboard" / "run1")).Reload()
    assert [(event.step, event.value) for event in found.Scalars("fit/loss")] == [(1, 1.0), (2, 0.5)]
    assert found.Scalars("score/accuracy")[0].value == 0.5


def test_trackio_keeps_its_files_below_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("trackio") is None:
        pytest.skip("trackio is not installed")
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)
    observer = open_observer("trackio", tmp_path)
    observer.started("run1", {"config": {"aligner": "dpo"}})
    observer.logged("run1", {"step": 1, "loss": 0.5})
    observer.finished("run1", RECORD)
    assert any((tmp_path / ".trackio").rglob("*"))


def test_an_unknown_tracker_and_a_missing_package_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HarnessError, match="did you mean 'tensorboard'"):
        open_observer("tensorbord", tmp_path)
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(HarnessError, match=r"pip install 'align-harness\[trackio\]'"):
        open_observer("trackio", tmp_path)
