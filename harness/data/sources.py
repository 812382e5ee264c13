"""Where rows come from: the shipped sample, a folder, a file, the hub."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from harness.contracts import Dataset, DatasetAbsent, HarnessError, NotHere, SourceKind, SplitAbsent
from harness.data.files import SHOWN_ENDINGS, Row, ending_of, filled, parse_lines, read_file
from harness.data.folders import all_files, shard, split_files, split_names
from harness.util.files import expanded
from harness.util.names import nearest

EVERYTHING = "*"
"""The split that is every file of a folder whose files name no splits."""
REACH_S = 3.0
"""How long `auto` and `hub` wait for the hub before they take it as unreachable."""


@dataclass(slots=True)
class SampleSource:
    """The original rows that ship in the wheel, below `tasks/samples/<folder>/<split>.jsonl`."""

    note: str = ""
    """Why the sample is used, where nobody asked for it."""
    _rows: dict[tuple[str | None, ...], list[Row]] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> SourceKind:
        """Always `sample`."""
        return "sample"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Row]:
        """All rows of one split. Raises HarnessError when no sample of it ships."""
        key = (dataset.folder, split)
        if key not in self._rows:
            self._rows[key] = list(self._read(dataset, split))
        return self._rows[key]

    def describe(self) -> str:
        """The record's name for this source: the same however it came to be chosen."""
        return "sample"

    def announce(self) -> str:
        """One line for people: the source, and why it was chosen where nobody asked for it."""
        return f"the sample that ships with align-harness{f' ({self.note})' if self.note else ''}"

    def _read(self, dataset: Dataset, split: str) -> Iterator[Row]:
        root = resources.files("tasks") / "samples"
        folder = root / dataset.folder
        if not folder.is_dir():
            shipped = [entry.name for entry in root.iterdir() if entry.is_dir()]
            hint = nearest(dataset.folder, shipped)
            raise DatasetAbsent(
                f"no sample of {dataset.folder!r} ships with align-harness ({hint}); use --data PATH or hub"
            )
        entry = folder / f"{split}.jsonl"
        if not entry.is_file():
            splits = [item.name.removesuffix(".jsonl") for item in folder.iterdir()]
            raise HarnessError(f"the sample of {dataset.folder!r} has no split {split!r}; {nearest(split, splits)}")
        return parse_lines(entry.read_text("utf-8").split("\n"), f"sample {dataset.folder}/{split}.jsonl")


@dataclass(slots=True)
class FolderSource:
    """A folder of data sets, `<root>/<folder>`, each with its splits in one of the ways of `harness.data.folders`.

    The folder of a user's own pairs may be `root` itself.
    """

    root: Path
    _rows: dict[tuple[str | None, ...], list[Row]] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> SourceKind:
        """Always `folder`."""
        return "folder"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Row]:
        """All rows of one split. Raises HarnessError naming the file that is missing, empty or broken, and the line."""
        name = dataset.splits.get(split, split)
        key = (dataset.folder, dataset.config, dataset.hub_folder, name)
        if key not in self._rows:
            files = self._files(dataset, name)
            self._rows[key] = [row for path in files for row in read_file(path)]
        return self._rows[key]

    def describe(self) -> str:
        """The record's name for this source; where the folder lies on this machine is left out."""
        return f"folder {self.root.resolve().name}"

    def announce(self) -> str:
        """One line for people."""
        return f"folder {self.root}"

    def _files(self, dataset: Dataset, split: str) -> list[Path]:
        folder = self._folder(dataset)
        more = [name for name in (dataset.config, dataset.hub_folder) if name]
        if files := all_files(folder) if split == EVERYTHING else split_files(folder, split, more):
            return files
        known = split_names((folder / split).parent)
        raise SplitAbsent(
            f"{folder / split} is missing (with ending {SHOWN_ENDINGS}); {nearest(Path(split).name, known)}"
        )

    def _folder(self, dataset: Dataset) -> Path:
        for name in (dataset.folder, Path(dataset.hub).name):  # ours, and the hub's own
            if name and (self.root / name).is_dir():
                return self.root / name
        held = [entry.name for entry in self.root.iterdir() if entry.is_dir()]
        if dataset.own and (split_files(self.root, "train") or all_files(self.root)):
            return self.root
        raise DatasetAbsent(
            f"data folder {self.root} has no folder {dataset.folder!r}; {nearest(dataset.folder, held)}"
        )


@dataclass(slots=True)
class FileSource:
    """One file of a user's own rows, for the pools that are on no hub; it has no splits, so a pool divides the rows."""

    path: Path
    _rows: list[Row] = field(default_factory=list, repr=False)

    @property
    def kind(self) -> SourceKind:
        """Always `file`."""
        return "file"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Row]:
        """All rows, whatever the split. Raises HarnessError for a broken file and for a data set with an address."""
        if dataset.hub:
            raise HarnessError(
                f"data {self.path} is one file of your own, and {dataset.folder!r} is a public data set; "
                "use --train-on pairs --task preference, or --data with a folder"
            )
        if not self._rows:
            self._rows = read_file(self.path)
        return self._rows

    def describe(self) -> str:
        """The record's name for this source; where the file lies on this machine is left out."""
        return f"file {self.path.name}"

    def announce(self) -> str:
        """One line for people; a file that is one shard of several is said to be."""
        part = shard(self.path)
        several = f" (one of {part[1]} shards; name its folder to read them all)" if part and part[1] > 1 else ""
        return f"file {self.path}{several}"


@dataclass(slots=True)
class HubSource:
    """Data sets of the hub, through `datasets`; what is cached serves offline. Remembers the revision of each.

    A split whose name ends like a file (`df_gamed.csv`) is that file of the repository: some data sets there consist of
    plain files behind a loading script, which `datasets` no longer runs.
    """

    hub: str
    """The data set whose revision stands in the record: that of the cell's pool."""
    note: str = ""
    own: Dataset | None = None
    """The user's own data set there: what a pool that is on no hub reads."""
    revisions: dict[str, str] = field(default_factory=dict)
    """Hub id to the commit that was read, where it is known."""
    _rows: dict[tuple[str | None, ...], list[Row]] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> SourceKind:
        """Always `hub`."""
        return "hub"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Row]:
        """All rows of one split. Raises HarnessError when it is neither cached nor to be had, or is on no hub."""
        if not dataset.hub and self.own is not None:
            dataset = self.own
        if not dataset.hub:
            raise HarnessError(
                f"{dataset.folder!r} is on no hub; use --data PATH with a folder {dataset.folder!r} below it, "
                "or --data hub:OWNER/NAME for a data set of your own"
            )
        name = dataset.hub_splits.get(split) or dataset.splits.get(split, split)
        key = (dataset.hub, dataset.config, dataset.hub_folder, name)
        if key not in self._rows:
            self._rows[key] = self._load(dataset, name)
        return self._rows[key]

    def describe(self) -> str:
        """The record's name for this source, with the revision once the data set was read."""
        revision = self.revisions.get(self.hub)
        return f"hub {self.hub}@{revision}" if revision else f"hub {self.hub}"

    def announce(self) -> str:
        """One line for people: the source, and why it was chosen where nobody asked for it."""
        return f"{self.describe()}{f' ({self.note})' if self.note else ''}"

    def _load(self, dataset: Dataset, split: str) -> list[Row]:
        from datasets import load_dataset

        if ending_of(split):
            return self._file(dataset, split)
        with _hub_errors(f"split {split!r} of {dataset.hub}"):
            loaded = load_dataset(dataset.hub, dataset.config, data_dir=dataset.hub_folder, split=split)
        for address in loaded.info.download_checksums or ():
            if found := re.search(r"@([0-9a-f]{40})/", str(address)):
                self.revisions[dataset.hub] = found.group(1)
        return filled(loaded.to_list(), f"split {split!r} of {dataset.hub}")

    def _file(self, dataset: Dataset, name: str) -> list[Row]:
        from huggingface_hub import hf_hub_download

        with _hub_errors(f"file {name!r} of {dataset.hub}"):
            path = Path(hf_hub_download(dataset.hub, name, repo_type="dataset"))
        if found := re.search(r"/snapshots/([0-9a-f]{40})/", path.as_posix()):
            self.revisions[dataset.hub] = found.group(1)
        return read_file(path)


@contextmanager
def _hub_errors(wanted: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub's clients raise a dozen unrelated kinds
        reason = " ".join(str(error).split())[:200]
        kind = SplitAbsent if "unknown split" in reason.lower() else NotHere
        raise kind(
            f"{wanted} is neither cached nor to be had from the hub "
            f"({type(error).__name__}: {reason}); use --data PATH or sample"
        ) from error


DescribedSource = SampleSource | FolderSource | FileSource | HubSource


def open_source(spec: str, dataset: Dataset, *others: Dataset) -> DescribedSource:
    """The source that `--data spec` means: `auto`, `hub`, `sample`, a folder or a file; nothing is read yet.

    `hub:OWNER/NAME` (or `hub:OWNER/NAME:FOLDER`) is the hub with a data set of the user's own, for the pool `pairs`.
    `auto` is the hub where `dataset` (the pool's) and the `others` (the task's) are cached or the hub answers within
    three seconds; else, and for a pool that is on no hub, the sample. `announce()` of the result says which, and why.
    Raises HarnessError for an unknown word and for a path that is not there or is no file of rows.
    """
    if spec == "sample":
        return SampleSource()
    if spec == "hub":
        return HubSource(dataset.hub)
    if spec == "auto":
        return _auto(dataset, *others)
    if own := _OWN_HUB.fullmatch(spec):
        return HubSource(own["id"], own=Dataset(own["id"], own["id"], hub_folder=own["folder"]))
    root = expanded(spec)
    if root.is_dir():
        return FolderSource(root)
    if root.is_file() and ending_of(root.name):
        return FileSource(root)
    kind = f"a file that ends in none of {SHOWN_ENDINGS}" if root.exists() else "not there"
    words = ("auto", "hub", "sample")
    hint = nearest(spec, words) if os.sep not in spec else f"expected a folder or one of {', '.join(words)}"
    raise HarnessError(f"data {spec!r} is neither auto, hub, sample, a folder nor a file (it is {kind}); {hint}")


def refuse_absent(spec: str) -> None:
    """Raises HarnessError where `open_source` would for any data set: an unknown word, a path that is not there."""
    if spec != "auto":  # which may ask the hub, and is always a source
        open_source(spec, Dataset(folder="", hub=""))


_OWN_HUB = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+)(:(?P<folder>[\w./-]+))?")


def _auto(dataset: Dataset, *others: Dataset) -> DescribedSource:
    if not dataset.hub:
        return SampleSource(f"{dataset.folder} is on no hub; --data PATH reads your own")
    if all(_cached(needed.hub) for needed in (dataset, *others)):
        return HubSource(dataset.hub, "cached")
    if _reachable():
        return HubSource(dataset.hub, "the hub answers")
    return SampleSource("the hub is not cached and does not answer; scores are not comparable with public ones")


def _cached(hub: str) -> bool:
    """Whether `datasets` has prepared this data set before (its cache folder is `owner___name`)."""
    home = expanded(os.environ.get("HF_HOME") or "~/.cache/huggingface", "name a folder in HF_HOME")
    root = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    wanted = re.sub(r"[^a-z0-9]", "", hub.lower())
    found = root.iterdir() if root.is_dir() else ()
    return any(re.sub(r"[^a-z0-9]", "", e.name.lower()) == wanted and any(e.iterdir()) for e in found if e.is_dir())


def _reachable(limit: float = REACH_S) -> bool:
    """Whether the hub answers anything within `limit` seconds (a slow name server counts as no answer)."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    answers: list[bool] = []
    asker = threading.Thread(target=lambda: answers.append(_ask(limit)), daemon=True)
    asker.start()
    asker.join(limit)
    return bool(answers and answers[0])


def _ask(limit: float) -> bool:
    import urllib.error
    import urllib.request

    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=limit):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
