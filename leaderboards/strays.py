"""What lies beside published records and belongs to none of them: it would be published unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.contracts import HarnessError
from harness.judging.calibration import FOLDER
from harness.records.measured import measured_of
from harness.records.schema import Record
from harness.records.verify import RECORD, read_record
from leaderboards.planned import PLAN

README = "README.md"


def strays(records: Path) -> Iterator[str]:
    """A sentence for everything below `records/` that is of no board, no run and no judge of one."""
    for path in sorted(records.iterdir()):
        if (path / PLAN).is_file() and not path.is_symlink():
            yield from (f"{path.name}/{found}" for found in _of_board(path))
        elif path.name != README:
            yield f"{path.name} belongs to no board: it has no {PLAN}"


def _of_board(folder: Path) -> Iterator[str]:
    runs: list[Record] = []
    for path in sorted(folder.iterdir()):
        if path.name in (PLAN, FOLDER) and not path.is_symlink():
            continue
        if not (path / RECORD).is_file() or path.is_symlink():
            yield f"{path.name} belongs to no record"
            continue
        try:
            record = read_record(path)
        except HarnessError:  # which is a fault of the record itself, and told as one
            continue
        if record is not None:
            runs.append(record)
            yield from _beside(path, record)
    yield from _judges(folder, runs)


def _beside(run: Path, record: Record) -> Iterator[str]:
    known = {run / RECORD, *(run / name for name in record.manifest.files)}
    yield from (f"{path.relative_to(run.parent)} belongs to no record" for path in _files(run) if path not in known)


def _judges(folder: Path, runs: list[Record]) -> Iterator[str]:
    try:
        known = measured_of(folder, runs)
    except HarnessError as error:
        yield f"{FOLDER}: {error}"
        return
    for path in _files(folder / FOLDER):
        if path not in known:
            yield f"{path.relative_to(folder)} belongs to no judge of the board's runs"
        elif known[path].git_dirty:
            yield f"{path.relative_to(folder)} was measured from a checkout with changes that no commit holds"


def _files(folder: Path) -> list[Path]:
    """Everything below a folder that is no plain folder: files, and links to either."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
