"""Here every fit's process is forked from one that has imported torch, unless a test asks for a fresh interpreter.

Several files of tests look at one tiny store: 40 pairs in a user's own columns, base and sft on them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.plugins.registry import load
from harness.records.schema import Record
from harness.run import launch
from leaderboards.command import PLACE, PROGRAM, words
from leaderboards.validate import faults
from tests.forked import Processes
from tests.tiny import tiny_folder


@pytest.fixture(scope="package", autouse=True)
def forked_processes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "subprocess", Processes)
        yield


@pytest.fixture
def fresh_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits run in an interpreter of their own, as a user's do."""
    monkeypatch.setattr(launch, "subprocess", subprocess)


def asked_again(record: Record) -> list[str]:
    """The options of the command that makes a run again, with what it names where it lies here."""
    settings = record.manifest.settings
    there = [str(settings[name]) for name in ("data", "model", "outputs") if settings.get(name)]
    where = {f"{PLACE}/{Path(path).name}": path for path in there}
    return [where.get(word, word) for word in words(record)[len(PROGRAM) :]]


def contradictions(store: Path, record: Record) -> list[str]:
    """What `validate` says of a run of this checkout, whose changes need not be in a commit."""
    found = faults(store / record.id, installed=load(plugins=False))
    return [text for text in found if text != "it was made from a checkout with changes that no commit holds"]


@dataclass(frozen=True)
class Looked:
    """The store, the options that made it, and its two records."""

    store: Path
    options: tuple[str, ...]
    sft: Record
    base: Record


@pytest.fixture(scope="package")
def looked(forked_processes: None, tmp_path_factory: pytest.TempPathFactory) -> Looked:
    from harness.cli import app

    place = tmp_path_factory.mktemp("looked")
    rows = [{"question": f"Question {n}?", "better": f"yes, {n} goats", "worse": f"no {n}"} for n in range(40)]
    (place / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    store = place / "runs"
    options = (
        *("--task", "preference", "--train-on", "pairs", "--data", str(place / "pairs.jsonl"), "--device", "cpu"),
        *("--columns", "prompt=question,chosen=better,rejected=worse", "--model", str(tiny_folder(place / "model"))),
        *("--budget", "8", "--set", "budget.prompts=0", "--set", "budget.min_steps=2", "--set", "lora.r=2"),
        *("--set", "lengths.prompt=64", "--set", "lengths.completion=32", "--set", "lengths.new_tokens=8"),
        *("--store", str(store), "--no-plugins", "--folds", "1", "--no-control"),
    )
    with pytest.raises(SystemExit) as ended:
        app(["run", "--aligner", "sft", *options, "--quiet", "--show", "2"], prog_name="harness")
    assert not ended.value.code
    made = [Record.model_validate_json(path.read_bytes()) for path in store.glob("[!.]*/record.json")]
    records = {record.aligner.name: record for record in made}
    return Looked(store, options, records["sft"], records["base"])
