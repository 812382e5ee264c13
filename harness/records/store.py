"""The folder of runs: records, fits, answers, locks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from harness.contracts import HarnessError, SampleRow
from harness.records.samples import write_samples
from harness.records.schema import Record
from harness.util.files import HALF, read_json, storage, sweep, write_atomic
from harness.util.locks import held


class Store:
    """A folder of runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._swept = False

    def run_dir(self, run_id: str) -> Path:
        """Where a finished cell lives."""
        return self.root / run_id

    def fit_dir(self, fit_id: str) -> Path:
        """Where a fit lives, finished or not."""
        return self.root / ".fits" / fit_id

    def eval_dir(self, run_id: str) -> Path:
        """Where an unfinished evaluation keeps its answers."""
        return self.root / ".evals" / run_id

    def answers_dir(self, answers_id: str) -> Path:
        """Where answers that were judged stay, so that another judge or baseline asks for no new ones: a cache."""
        return self.root / ".answers" / answers_id

    @property
    def judge_caches(self) -> Path:
        """Where judges keep what they were told in evaluations: caches, which may be deleted at any time."""
        return self.root / ".judges"

    def record(self, run_id: str) -> Record | None:
        """The record of a cell, or None."""
        path = self.run_dir(run_id) / "record.json"
        value = read_json(path)
        if value is None:
            return None
        try:
            return Record.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise HarnessError(f"{path} is not a record of this version: {place}: {first['msg']}") from error

    @contextmanager
    def lock(self, name: str, waiting: Callable[[], None]) -> Iterator[int]:
        """Hold a cell or fit for this process; calls `waiting` once when another process has it.

        Gives the lock's file descriptor: a child that inherits it holds the lock as long as it lives.
        """
        folder = self.root / ".locks"
        with storage(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                sweep(self.root, 2)
                self._swept = True
        with held(folder / name, waiting) as descriptor:
            yield descriptor

    def publish(self, record: Record, samples: Sequence[SampleRow], fit: Path | None) -> None:
        """Put a finished cell in its place, whole; replaces a failed one of the same id."""
        with storage(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(dir=self.root, prefix=f"{HALF}{record.id}-"))
            try:
                self._fill(staging, record, samples, fit)
                final = self.run_dir(record.id)
                if final.exists():
                    shutil.rmtree(final)
                staging.rename(final)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
        shutil.rmtree(self.eval_dir(record.id), ignore_errors=True)

    def _fill(self, folder: Path, record: Record, samples: Sequence[SampleRow], fit: Path | None) -> None:
        folder.chmod(0o755)
        write_samples(folder / "samples.parquet", samples)
        log = fit / "log.jsonl" if fit is not None else None
        (folder / "log.jsonl").write_bytes(log.read_bytes() if log is not None and log.exists() else b"")
        if fit is not None and (fit / "result").exists():
            shutil.copytree(fit / "result", folder / "adapter", copy_function=_link)
        else:
            (folder / "adapter").mkdir()
        write_atomic(folder / "record.json", (record.model_dump_json(indent=1) + "\n").encode())

    def find(self, prefix: str) -> Path:
        """The folder of the run whose id begins with `prefix`. Raises HarnessError when none or several do."""
        names = sorted(p.name for p in self.root.glob("[!.]*") if (p / "record.json").exists())
        hits = [name for name in names if name.startswith(prefix)]
        if len(hits) == 1:
            return self.root / hits[0]
        if hits:
            raise HarnessError(f"run id {prefix!r} is ambiguous in {self.root}: {', '.join(hits)}")
        known = ", ".join(names[:8]) or "none"
        raise HarnessError(f"no run {prefix!r} in {self.root}; runs there: {known}")


def _link(source: str, target: str) -> None:
    """Share the file where the file system can, else copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
