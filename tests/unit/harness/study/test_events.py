"""The events of a study: one JSON object a line, whatever kills whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.study.events import EVENTS, Events, read_events

pytestmark = pytest.mark.core


def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / EVENTS
    Events(path).tell("study_started", runs=2)
    Events(path).tell("cell_started", run="r1")
    path.write_bytes(path.read_bytes()[:-5])
    assert [event["event"] for event in read_events(path)] == ["study_started"]
    Events(path).tell("study_started", runs=2)
    assert [event["event"] for event in read_events(path)] == ["study_started", "study_started"]


def test_listeners_are_told_what_is_written(tmp_path: Path) -> None:
    told: list[dict[str, object]] = []
    events = Events(tmp_path / "deep" / EVENTS, told.append)
    events.tell("cell_done", run="r1", score=0.5)
    assert told == read_events(tmp_path / "deep" / EVENTS)
