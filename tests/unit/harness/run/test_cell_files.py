"""What a cell's process is told and tells, between versions of this program that are not the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.config import RunConfig
from harness.contracts import HarnessError
from harness.run.cell_files import CellEnd, CellFile, outcome_file, read_cell, read_outcome, write_cell, write_outcome
from harness.study.cell import compute_file
from harness.study.index import INDEX, read_index
from harness.util.own_json import OtherVersion

pytestmark = pytest.mark.core


def cell_of_another_version(folder: Path) -> Path:
    file = folder / "abc.json"
    write_cell(file, CellFile(run_id="abc", config=RunConfig(aligner="sft", task="medqa"), threads=1))
    file.write_text(json.dumps({**json.loads(file.read_text()), "colour": "red"}))
    return file


def test_a_cell_of_another_version_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    """On a node with another commit it ended with a traceback, and counted as lost."""
    file = cell_of_another_version(tmp_path)
    with pytest.raises(OtherVersion, match="it has colour, which this version does not know"):
        read_cell(file)
    assert compute_file(file).kind == "refused"
    told = read_outcome(file)
    assert told is not None
    assert told.kind == "refused"
    assert "was written by another version of harness" in told.reason
    assert "install the same commit" in told.reason


def test_a_machine_without_the_tracker_refuses_the_cell_and_does_not_die_of_it(tmp_path: Path) -> None:
    """A worker that ends counts as lost: three starts, and a failed record for a word in the file."""
    file = tmp_path / "abc.json"
    config = RunConfig(aligner="sft", task="medqa", store=tmp_path)
    write_cell(file, CellFile(run_id="abc", config=config, threads=1, observe=("tensorbord",), plugins=False))
    end = compute_file(file)
    assert end == read_outcome(file)
    assert (end.kind, "did you mean 'tensorboard'" in end.reason) == ("refused", True)


def test_an_outcome_of_another_version_is_a_refusal_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    file = tmp_path / "abc.json"
    write_outcome(file, CellEnd(kind="recorded"))
    assert read_outcome(file) == CellEnd(kind="recorded")
    outcome_file(file).write_text('{"kind": "recorded", "score": 1}')
    told = read_outcome(file)
    assert told is not None
    assert (told.kind, "it has score" in told.reason) == ("refused", True)
    outcome_file(file).write_text('{"kind": ')
    assert read_outcome(file) is None


def test_a_study_index_says_whether_it_is_damaged_or_of_another_version(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text('{"study": "s", "cells": [], "colour": "red"}')
    with pytest.raises(OtherVersion, match=r"cells\.json was written by another version .*it has colour"):
        read_index(tmp_path)
    (tmp_path / INDEX).write_text('{"study"')
    with pytest.raises(HarnessError, match=r"cells\.json is damaged .*run the study again"):
        read_index(tmp_path)
