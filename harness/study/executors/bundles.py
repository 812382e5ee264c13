"""Runs and fits as bytes, for executors without a shared disk: what a cell needs goes out, what it left comes back."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from harness.contracts import HarnessError
from harness.records.store import Store
from harness.util.files import HALF

WORKING = frozenset({"work", "judges", "stderr.log"})
"""What of a fit's folder is of use only where the fit runs."""


def pack(store: Path, runs: Iterable[str], fits: Iterable[str] = ()) -> bytes:
    """Finished runs and fits of a store that are there, packed."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
        for name in [*runs, *(f".fits/{fit}" for fit in fits)]:
            if (store / name / "record.json").exists() or (store / name / "fit.json").exists():
                archive.add(store / name, arcname=name, filter=_kept)
    return content.getvalue()


def unpack(content: bytes, store: Path) -> None:
    """Put packed runs and fits into a store, each whole or not at all; what is there already stays.

    A run whose files are not those of its record is left out: the cell then counts as lost.
    """
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix=HALF) as folder:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            archive.extractall(folder, filter="data")
        for found in [*Path(folder).glob("[!.]*"), *Path(folder).glob(".fits/*")]:
            target = store / found.relative_to(folder)
            if _believed(found, Path(folder)) and not _finished(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(target, ignore_errors=True)
                found.rename(target)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(member.name).parts
    return None if parts[0] == ".fits" and len(parts) > 2 and parts[2] in WORKING else member


def _believed(found: Path, folder: Path) -> bool:
    if found.parent.name == ".fits":
        return (found / "fit.json").exists()
    try:
        return Store(folder).verified(found.name) is not None
    except HarnessError:
        return False


def _finished(target: Path) -> bool:
    if target.parent.name == ".fits":
        return (target / "fit.json").exists()
    try:
        record = Store(target.parent).record(target.name)
    except HarnessError:
        return False
    return record is not None and record.status != "failed"
