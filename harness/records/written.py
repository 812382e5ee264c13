"""Answers that were generated to be read: kept beside a run, by its id, and scored by nobody."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.contracts import HarnessError
from harness.records.seals import read_sealed, write_sealed
from harness.records.store import Store


def written_file(store: Store, run_id: str) -> Path:
    """Where a run's answers are kept."""
    return store.root / ".shown" / f"{run_id}.json"


def written_answers(store: Store, run_id: str) -> dict[str, str]:
    """Answers by item; empty where none were written, or where the file is not what was written."""
    try:
        found = read_sealed(written_file(store, run_id))
    except HarnessError:
        return {}
    answers = (found or {}).get("answers", {})
    return {str(name): str(text) for name, text in answers.items()} if isinstance(answers, dict) else {}


def write_answers(store: Store, run_id: str, answers: Mapping[str, str]) -> None:
    """Keep answers by item, whole or not at all."""
    write_sealed(written_file(store, run_id), {"run": run_id, "answers": dict(answers)})
