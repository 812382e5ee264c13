"""Whether what lies in a run's folder is what was put there: read by the store, tables and `show` alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError
from harness.records.schema import FORMAT, Record
from harness.records.seals import check_seal
from harness.util.hashes import file_hash, folder_hashes
from harness.util.own_json import modelled, other_format

RECORD = "record.json"
REMEDY = "look at it with that version, or compute the run again with this one"
"""What to do about a record that another version wrote."""


def read_record(folder: Path) -> Record | None:
    """The record of a run's folder; None where there is none.

    Raises HarnessError for a record of another run, and for one that is damaged or was changed; of a kind of its own
    (`OtherVersion`) for one that another version wrote, with another format or other fields.
    """
    path = folder / RECORD
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HarnessError(f"{RECORD} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{RECORD} is not valid JSON: {error}") from error
    _check_format(value)
    check_seal(value, RECORD)
    record = modelled(Record, value, RECORD, REMEDY)
    if record.id != folder.name:
        raise HarnessError(f"{RECORD} is of run {record.id}")
    return record


def _check_format(value: Any) -> None:
    """A record of another format has fields that mean something else: it is refused before it is parsed."""
    manifest = value.get("manifest") if isinstance(value, dict) else None
    found = manifest.get("format", FORMAT) if isinstance(manifest, dict) else FORMAT
    if found != FORMAT:
        raise other_format(RECORD, found, FORMAT, REMEDY)


def check_files(folder: Path, record: Record, *names: str) -> None:
    """Compare files beside a record (all of them, or those of these names) with their hashes in it.

    Raises HarnessError naming the first that is missing, cut, changed, or that nobody put there.
    """
    expected = record.manifest.files
    if names:
        found = {name: file_hash(folder / name) for name in names if (folder / name).is_file()}
    else:
        found = folder_hashes(folder)
    for name in names or sorted({*expected, *found} - {RECORD}):
        if found.get(name) != expected.get(name):
            what = "missing" if name not in found else "not what was written" if name in expected else "no file of it"
            raise HarnessError(f"{name} is {what}")
