"""The folder of runs: records, fits, answers, locks."""

from __future__ import annotations

import datetime
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.contracts import HarnessError, SampleRow
from harness.records.samples import read_samples, write_samples
from harness.records.schema import Record
from harness.records.seals import sealed
from harness.records.verify import RECORD, check_files, read_record
from harness.util.checked import Damaged, read_checked_json, write_checked_json
from harness.util.files import HALF, all_to_disk, storage, sweep, to_disk, write_atomic
from harness.util.hashes import folder_hashes
from harness.util.locks import held, is_held
from harness.util.own_json import OtherVersion

SAMPLES = "samples.parquet"
_FICLONE = 0x40049409
"""Linux's request to share the blocks of one file with another until one of them is changed."""


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
        """The record of a cell, or None. Raises HarnessError for one that is not what was written."""
        with self._doubting(run_id):
            return read_record(self.run_dir(run_id))

    def verified(self, run_id: str) -> Record | None:
        """`record`, and every file beside it compared with its hash there. Raises HarnessError naming what differs."""
        record = self.record(run_id)
        if record is not None:
            with self._doubting(run_id):
                check_files(self.run_dir(run_id), record)
        return record

    def samples(self, record: Record) -> list[SampleRow]:
        """The rows of a record's evaluation. Raises HarnessError where they are not what was written."""
        folder = self.run_dir(record.id)
        with self._doubting(record.id):
            check_files(folder, record, SAMPLES)
        return read_samples(folder / SAMPLES)

    @contextmanager
    def _doubting(self, run_id: str) -> Iterator[None]:
        try:
            yield
        except OtherVersion as error:
            raise OtherVersion(f"run {run_id} in {self.root} cannot be read: {error.what}", error.remedy) from error
        except HarnessError as error:
            raise HarnessError(f"run {run_id} in {self.root} cannot be believed: {error}") from error

    def set_aside(self, run_id: str, fit_id: str, answers_id: str) -> Path | None:
        """Move what a cell left out of the way, to be computed again; where to, or None where there is nothing.

        To be called under the cell's lock.
        """
        moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%f")
        aside = self.root / ".aside" / f"{run_id}-{moment}"
        parts = {
            "run": self.run_dir(run_id),
            "fit": self.fit_dir(fit_id),
            "evaluation": self.eval_dir(run_id),
            "answers": self.answers_dir(answers_id),
        }
        there = {name: folder for name, folder in parts.items() if folder.exists()}
        if not there:
            return None
        with storage(self.root):
            aside.mkdir(parents=True)
            for name, folder in there.items():
                folder.rename(aside / (run_id if name == "run" else name))
        return aside

    def threads_of(self, start_id: str) -> int | None:
        """The number of threads that an unfinished start of this cell used; None where there is none."""
        try:
            noted = read_checked_json(self._start(start_id))
        except Damaged:
            return None
        return int(noted["threads"]) if noted is not None else None

    def begin(self, start_id: str, threads: int) -> None:
        """Note that a cell was begun, and with how many threads: it is resumed with as many."""
        write_checked_json(self._start(start_id), {"threads": threads})

    def end(self, start_id: str) -> None:
        """Forget a start: its cell is finished."""
        self._start(start_id).unlink(missing_ok=True)

    def _start(self, start_id: str) -> Path:
        return self.root / ".starts" / f"{start_id}.json"

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

    def is_locked(self, name: str) -> bool:
        """Whether a process is at work on a cell or fit at this moment."""
        return (self.root / ".locks" / name).exists() and is_held(self.root / ".locks" / name)

    def publish(self, record: Record, samples: Sequence[SampleRow], fit: Path | None) -> Record:
        """Put a finished cell in its place, whole, and give its record as it was written: with hashes and seal.

        Replaces a failed one of the same id, and one that is not believed.
        """
        with storage(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            staging = self.root / f"{HALF}{record.id}-{uuid.uuid4().hex[:8]}"
            staging.mkdir()  # a temporary folder of the library is for its user alone, whatever the umask
            try:
                record = self._fill(staging, record, samples, fit)
                all_to_disk(staging)
                final = self.run_dir(record.id)
                if final.exists():
                    shutil.rmtree(final)
                staging.rename(final)
                to_disk(self.root)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
        shutil.rmtree(self.eval_dir(record.id), ignore_errors=True)
        return record

    def _fill(self, folder: Path, record: Record, samples: Sequence[SampleRow], fit: Path | None) -> Record:
        write_samples(folder / SAMPLES, samples)
        log = fit / "log.jsonl" if fit is not None else None
        (folder / "log.jsonl").write_bytes(log.read_bytes() if log is not None and log.exists() else b"")
        if fit is not None and (fit / "result").exists():
            shutil.copytree(fit / "result", folder / "adapter", copy_function=copy_file)
        else:
            (folder / "adapter").mkdir()
        manifest = record.manifest.model_copy(update={"files": folder_hashes(folder)})
        value = sealed(record.model_copy(update={"manifest": manifest}).model_dump(mode="json"))
        write_atomic(folder / RECORD, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())
        return Record.model_validate(value)

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


def copy_file(source: str, target: str) -> None:
    """A copy that shares no byte with its source once either is written to: a reflink where the file system can."""
    with Path(source).open("rb") as old, Path(target).open("wb") as new:
        try:
            from fcntl import ioctl

            ioctl(new.fileno(), _FICLONE, old.fileno())
        except (ImportError, OSError):
            shutil.copyfileobj(old, new, 1 << 22)
