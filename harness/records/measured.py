"""What `judge check` measured of judges, taken along where their runs go: to a board, another store, the hub."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from harness.contracts import HarnessError
from harness.judging.calibration import FOLDER, Calibration, file_of, load, save
from harness.records.schema import Record


def measured_of(store: Path, records: Collection[Record]) -> dict[Path, Calibration]:
    """The calibrations in a store of the judges that scored these runs, by file.

    Raises HarnessError naming a file that cannot be read, is a link, or lies elsewhere than its content says.
    """
    for path in _links(store / FOLDER):
        raise HarnessError(f"{path} is a link")
    judged = {(record.task.judge, record.model.name) for record in records if record.task.judge is not None}
    found = {file_of(store, one): one for one in load(store) if any(one.applies(*each) for each in judged)}
    for path in found:
        if not path.is_file() or path.parent.parent != store / FOLDER:
            raise HarnessError(f"{path} is not where what it says belongs")
    return found


def take_over(store: Path, target: Path, records: Collection[Record]) -> list[Path]:
    """Copy what was measured of the judges of these runs into another store; what is there stays.

    Returns the new files. Raises HarnessError as `measured_of` does.
    """
    found = measured_of(store, records).values()
    return [save(target, one) for one in found if not file_of(target, one).exists()]


def _links(folder: Path) -> Iterator[Path]:
    return (path for path in (folder, *folder.rglob("*")) if path.is_symlink())
