"""Runs that others made: checked in every part before they are copied into a store."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.contracts import HarnessError
from harness.records.provenance import digest
from harness.records.samples import read_samples
from harness.records.schema import Record
from harness.records.store import SAMPLES, Store
from harness.records.verify import RECORD, check_files, read_record
from harness.util.files import HALF, storage

KINDS = frozenset({".json", ".jsonl", ".parquet", ".safetensors", ".md", ".jinja"})
"""Endings of files that hold data alone: nothing that is run when it is read."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a folder: a run that is now in the store, or why it is not."""

    folder: Path
    run_id: str | None
    said: str


def run_folders(place: Path) -> list[Path]:
    """The run folders of a store, or the folder itself where it is a run. Raises HarnessError where there are none."""
    if (place / RECORD).is_file():
        return [place]
    found = sorted(path.parent for path in place.glob(f"[!.]*/{RECORD}"))
    if not found:
        raise HarnessError(
            f"{str(place)[:80]!r} holds no run; a store, or a run's folder with its {RECORD}, was expected"
        )
    return found


def check_foreign(folder: Path) -> Record:
    """The record of a foreign run. Raises HarnessError naming what is wrong with it.

    Nothing may be a link or of a kind that is run when read; record and files must be what was written; the ids must
    follow from what the record says decided them; a run that did not fail must have scores for its samples.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise HarnessError(f"{path.relative_to(folder)} is a link or no plain file")
        if path.is_file() and path.suffix not in KINDS:
            raise HarnessError(f"{path.relative_to(folder)} is of a kind that is not taken over ({', '.join(KINDS)})")
    record = read_record(folder)
    if record is None:
        raise HarnessError(f"it has no {RECORD}")
    check_files(folder, record)
    _check_ids(record)
    if record.status != "failed":
        rows = read_samples(folder / SAMPLES)
        missing = {name for name, score in record.scores.items() if not score.whole} - {
            n for r in rows for n in r.values
        }
        if missing:
            raise HarnessError(f"its samples have no values of {', '.join(sorted(missing))}")
    return record


def _check_ids(record: Record) -> None:
    decisive: Mapping[str, Mapping[str, object]] = record.manifest.decisive
    sections = ("fit", "answers", "judgement")
    if any(name not in decisive for name in sections):
        raise HarnessError("it does not say what decided its id")
    expected = {digest(record.manifest.decisive, *sections): record.id}
    expected[digest(record.manifest.decisive, "fit")] = record.aligner.fit_id
    for follows, found in expected.items():
        if follows != found:
            raise HarnessError(f"its id {found} does not follow from what decided it, which gives {follows}")


def import_runs(place: Path, store: Store) -> Iterator[Imported]:
    """Copy every run of `place` that holds good into the store; those there already stay as they are."""
    for folder in run_folders(place):
        try:
            record = check_foreign(folder)
            yield Imported(folder, record.id, _taken(folder, record, store))
        except HarnessError as error:
            yield Imported(folder, None, str(error))


def _taken(folder: Path, record: Record, store: Store) -> str:
    final = store.run_dir(record.id)
    if final.exists():
        before = store.record(record.id)
        same = before is not None and before.seal == record.seal
        return "is there already" if same else "is there already, computed elsewhere; the one that is there stays"
    with storage(store.root):
        store.root.mkdir(parents=True, exist_ok=True)
        staging = store.root / f"{HALF}{record.id}-{uuid.uuid4().hex[:8]}"
        staging.mkdir()
        try:
            copied = staging / record.id
            shutil.copytree(folder, copied)
            check_foreign(copied)  # what was checked is what was copied
            copied.rename(final)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return "taken over"
