"""Runs in a data set of the model hub: a folder for every run, as in a store.

    hub:OWNER/NAME              the data set as it is now
    hub:OWNER/NAME@REVISION     a branch, a tag or a commit of it

What comes from the hub is checked like any foreign run (`harness.records.foreign`) before it is taken over.
`HF_ENDPOINT` names another hub than the public one, `HF_TOKEN` the account.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.contracts import HarnessError
from harness.records.foreign import KINDS
from harness.util.safe_text import cut

PREFIX = "hub:"
_ADDRESS = re.compile(r"hub:/*(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set of the hub."""

    name: str
    revision: str | None


def data_set(address: str) -> DataSet | None:
    """The data set that `hub:OWNER/NAME[@REVISION]` names; None for a folder. Raises HarnessError for a bad address."""
    if not address.startswith(PREFIX):
        return None
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise HarnessError(
            f"{cut(address)} names no data set of the hub; expected hub:OWNER/NAME or hub:OWNER/NAME@REVISION"
        )
    return DataSet(found["name"], found["revision"])


@contextmanager
def fetched(source: DataSet) -> Iterator[Path]:
    """A data set's files in a folder of their own, which is gone afterwards; the hub's cache keeps what was fetched.

    The cache holds links, and a foreign run may hold none. Raises HarnessError where the files cannot be had.
    """
    with tempfile.TemporaryDirectory() as place:
        yield Path(shutil.copytree(_snapshot(source), Path(place) / "runs"))


def _snapshot(source: DataSet) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [f"*{ending}" for ending in sorted(KINDS)]
    try:
        folder = snapshot_download(
            source.name, repo_type="dataset", revision=source.revision, allow_patterns=patterns, library_name="harness"
        )
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        raise HarnessError(f"data set {_named(source)} is neither cached nor to be had: {_reason(error)}") from error
    return Path(folder)


def sent(target: DataSet, runs: Sequence[Path], beside: Mapping[str, Path]) -> str:
    """Put run folders, and files beside them by name, into a data set, in one commit; returns the commit's address.

    The data set is made, private, where it does not exist. Raises HarnessError where the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    files = [(f"{run.name}/{path.relative_to(run).as_posix()}", path) for run in runs for path in _files(run)]
    operations = [CommitOperationAdd(name, str(path)) for name, path in (*files, *beside.items())]
    try:
        api = HfApi(library_name="harness")
        api.create_repo(target.name, repo_type="dataset", private=True, exist_ok=True)
        made = api.create_commit(
            target.name,
            operations,
            commit_message=f"{len(runs)} runs of align-harness",
            repo_type="dataset",
            revision=target.revision,
        )
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        raise HarnessError(f"data set {_named(target)} could not be written: {_reason(error)}") from error
    return str(made.commit_url)


def _files(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file() and path.suffix in KINDS)


def _named(found: DataSet) -> str:
    return found.name if found.revision is None else f"{found.name} at revision {found.revision}"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
