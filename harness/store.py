"""Content-addressed runs on disk. Everything is written to a temporary name and moved into place.

<root>/<id>/            record.json samples.parquet adapter/ log.jsonl     a finished cell
<root>/.fits/<fit_id>/  job.json log.jsonl work/ result/ fit.json         a fit, shared by the cells that score it
<root>/.evals/<id>/     responses.jsonl                                    an evaluation under way
<root>/.answers/<id>/   responses.jsonl                                    answers that were judged: a cache
<root>/.judges/<name>/  what a judge keeps between runs                    a cache
<root>/.locks/          one file per cell or fit, held while it is worked on
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.contracts import HarnessError, SampleRow
from harness.record import Record


@contextmanager
def storage(place: Path) -> Iterator[None]:
    """Turn a full disk, a missing permission or a bad path into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HarnessError(f"no space left below {place}; free some or pass --store with another folder") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise HarnessError(
                f"cannot write below {place}: {error.strerror}; pass --store with a writable folder"
            ) from error
        raise


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with storage(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` for a JSON value."""
    write_atomic(path, (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any | None:
    """The JSON value of a file, or None when there is none. Raises HarnessError when it is corrupt."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path} is not valid JSON ({error}); delete it and run again") from error


class Store:
    """A folder of runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

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

    def judge_dir(self, name: str) -> Path:
        """Where a judge keeps what it was told: a cache, which may be deleted at any time."""
        return self.root / ".judges" / re.sub(r"[^A-Za-z0-9._-]", "_", name)

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
            file = (folder / name).open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield file.fileno()

    def publish(self, record: Record, samples: Sequence[SampleRow], fit: Path | None) -> None:
        """Put a finished cell in its place, whole; replaces a failed one of the same id."""
        with storage(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(dir=self.root, prefix=f".new-{record.id}-"))
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


def write_samples(path: Path, rows: Sequence[SampleRow]) -> None:
    """One row per sample: id, unit, `value.<metric>` columns (null where a metric does not apply), detail as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metrics = sorted({name for row in rows for name in row.values})
    columns: dict[str, Any] = {
        "id": pa.array([row.id for row in rows], pa.string()),
        "unit": pa.array([row.unit for row in rows], pa.string()),
    }
    for name in metrics:
        columns[f"value.{name}"] = pa.array([row.values.get(name) for row in rows], pa.float64())
    details = [json.dumps(row.detail, ensure_ascii=False, sort_keys=True) for row in rows]
    columns["detail"] = pa.array(details, pa.string())
    pq.write_table(pa.table(columns), path)


def read_samples(path: Path) -> list[SampleRow]:
    """The inverse of `write_samples`. Raises HarnessError when the file is missing or corrupt."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table: list[Mapping[str, Any]] = pq.read_table(path).to_pylist()
    except (FileNotFoundError, pa.ArrowInvalid, OSError) as error:
        raise HarnessError(f"cannot read samples {path}: {error}") from error
    return [_sample(row) for row in table]


def _sample(row: Mapping[str, Any]) -> SampleRow:
    prefix = "value."
    values = {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix) and v is not None}
    return SampleRow(row["id"], row["unit"], values, json.loads(row["detail"]))
