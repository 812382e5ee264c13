"""Where rows come from, which of them a budget buys, and which must go because the evaluation holds them too."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from harness.config import PRESETS, Budget, GroupSplit, nearest
from harness.contracts import (
    Dataset,
    DatasetAbsent,
    FewShot,
    HarnessError,
    Messages,
    Pair,
    Pool,
    Prompt,
    Ratings,
    Source,
    SourceKind,
)
from harness.text import content_hash, normalise

REACH_S = 3.0
"""How long `auto` and `hub` wait for the hub before they take it as unreachable."""
NGRAM = 13
COMMON = 3
"""n-grams that stand in so many pool items are stock phrases and prove nothing."""

Row = Mapping[str, Any]


# ---------------------------------------------------------------- sources


@dataclass(slots=True)
class SampleSource:
    """The original rows that ship in the wheel, below `tasks/samples/<folder>/<split>.jsonl`."""

    note: str = ""
    """Why the sample is used, where nobody asked for it."""
    _rows: dict[tuple[str, str], list[Row]] = field(default_factory=dict, repr=False)

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
        return _parse(entry.read_text("utf-8").splitlines(), f"sample {dataset.folder}/{split}.jsonl")


@dataclass(slots=True)
class FolderSource:
    """A folder of data sets: `<root>/<folder>/<split>` as a file of one of `_READERS`, with the hub's fields."""

    root: Path
    _rows: dict[tuple[str, str], list[Row]] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> SourceKind:
        """Always `folder`."""
        return "folder"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Row]:
        """All rows of one split. Raises HarnessError naming the file that is missing, empty or broken, and the line."""
        name = dataset.splits.get(split, split)
        key = (dataset.folder, name)
        if key not in self._rows:
            self._rows[key] = _read_file(self._file(dataset.folder, name))
        return self._rows[key]

    def describe(self) -> str:
        """The record's name for this source; where the folder lies on this machine is left out."""
        return f"folder {self.root.resolve().name}"

    def announce(self) -> str:
        """One line for people."""
        return f"folder {self.root}"

    def _file(self, dataset: str, split: str) -> Path:
        folder = self.root / dataset
        if not folder.is_dir():
            held = [entry.name for entry in self.root.iterdir() if entry.is_dir()]
            raise DatasetAbsent(f"data folder {self.root} has no folder {dataset!r}; {nearest(dataset, held)}")
        for ending in _READERS:
            if (folder / f"{split}{ending}").is_file():
                return folder / f"{split}{ending}"
        beside = (folder / split).parent
        files = beside.iterdir() if beside.is_dir() else ()
        splits = {entry.name.split(".")[0] for entry in files if entry.name.endswith(tuple(_READERS))}
        endings = ", ".join(_READERS)
        raise HarnessError(f"{folder / split} is missing (with ending {endings}); {nearest(Path(split).name, splits)}")


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
            self._rows = _read_file(self.path)
        return self._rows

    def describe(self) -> str:
        """The record's name for this source; where the file lies on this machine is left out."""
        return f"file {self.path.name}"

    def announce(self) -> str:
        """One line for people."""
        return f"file {self.path}"


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
    _rows: dict[tuple[str, str], list[Row]] = field(default_factory=dict, repr=False)

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
        key = (dataset.hub, name)
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

        if split.endswith(tuple(_READERS)):
            return self._file(dataset, split)
        with _hub_errors(f"split {split!r} of {dataset.hub}"):
            loaded = load_dataset(dataset.hub, dataset.config, data_dir=dataset.hub_folder, split=split)
        for address in loaded.info.download_checksums or ():
            if found := re.search(r"@([0-9a-f]{40})/", str(address)):
                self.revisions[dataset.hub] = found.group(1)
        return _filled(loaded.to_list(), f"split {split!r} of {dataset.hub}")

    def _file(self, dataset: Dataset, name: str) -> list[Row]:
        from huggingface_hub import hf_hub_download

        with _hub_errors(f"file {name!r} of {dataset.hub}"):
            path = Path(hf_hub_download(dataset.hub, name, repo_type="dataset"))
        if found := re.search(r"/snapshots/([0-9a-f]{40})/", path.as_posix()):
            self.revisions[dataset.hub] = found.group(1)
        return _read_file(path)


@contextmanager
def _hub_errors(wanted: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub's clients raise a dozen unrelated kinds
        reason = " ".join(str(error).split())[:200]
        raise HarnessError(
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
    root = Path(spec).expanduser()
    if root.is_dir():
        return FolderSource(root)
    if root.is_file() and root.name.endswith(tuple(_READERS)):
        return FileSource(root)
    kind = f"a file that ends in none of {', '.join(_READERS)}" if root.exists() else "not there"
    words = ("auto", "hub", "sample")
    hint = nearest(spec, words) if os.sep not in spec else f"expected a folder or one of {', '.join(words)}"
    raise HarnessError(f"data {spec!r} is neither auto, hub, sample, a folder nor a file (it is {kind}); {hint}")


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
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
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


# ---------------------------------------------------------------- reading files


def _read_gzip(path: Path) -> list[Row]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            return list(_parse(handle, str(path)))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path} is not a whole gzip file of UTF-8 text: {error}") from error


def _read_lines(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8") as handle:
            return list(_parse(handle, str(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        return list(parquet.read_table(path).to_pylist())
    except (OSError, pyarrow.ArrowException) as error:
        raise HarnessError(f"{path} is not a readable Parquet file: {error}") from error


def _read_json(path: Path) -> list[Row]:
    """A JSON array of objects."""
    try:
        rows = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path} is not a readable JSON file: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise HarnessError(f"{path}: a JSON array of objects was expected")
    return rows


def _read_csv(path: Path) -> list[Row]:
    """Rows by the names in the first line; every value is a text."""
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HarnessError(f"{path} cannot be read as CSV of UTF-8 text: {error}") from error


_READERS = {
    ".jsonl.gz": _read_gzip,
    ".jsonl": _read_lines,
    ".parquet": _read_parquet,
    ".json": _read_json,
    ".csv": _read_csv,
}


def _read_file(path: Path) -> list[Row]:
    ending = next(ending for ending in _READERS if path.name.endswith(ending))
    return _filled(_READERS[ending](path), str(path))


def _filled(rows: list[Row], place: str) -> list[Row]:
    if not rows:
        raise HarnessError(f"{place} holds no rows; at least one was expected")
    return rows


def _parse(lines: Iterable[str], place: str) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise HarnessError(f"{place}, line {number}: broken JSON ({error})") from error
        if not isinstance(row, dict):
            raise HarnessError(f"{place}, line {number}: a JSON object was expected, not {type(row).__name__}")
        yield row


# ---------------------------------------------------------------- the few-shot draw


@dataclass(frozen=True, slots=True)
class Draw:
    """What a budget bought from a pool."""

    few_shot: FewShot
    pair_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def draw(
    pool: Pool,
    source: Source,
    budget: Budget,
    draw_seed: int,
    *,
    excluded: Collection[str] = (),
    split: GroupSplit | None = None,
) -> Draw:
    """Draw labelled pairs and unlabelled prompts; the units that `excluded` ids name or belong to are never drawn.

    Scheme. Every independent unit (question) gets a place by hash(draw_seed, unit), so neither the order of rows nor
    rows of other units matter. Pairs are taken from the front, one of each unit before a second of any; prompts are
    taken from the back, one of each unit, units that hold a drawn pair left out. Hence, for one seed:

    - the pairs of a smaller budget are the first pairs of a larger one, always;
    - the prompts of a smaller budget are among those of a larger one, unless the larger labels that question;
    - a prompt of a smaller budget is a pair of a larger one only where the pool has fewer units than the labels of
      the larger and the prompts of the smaller together: there is no other choice then.

    Raises HarnessError when nothing is left to draw from, or less than `budget.labels`. A pool with fewer prompts
    than asked for gives what it has, with a warning. Of a pool of ratings, see `draw_ratings`.
    """
    pairs, prompts = _without(pool, source, frozenset(excluded))
    opinions = {} if pairs else pool.groups(source)
    ratings, auxiliary, short = draw_ratings(opinions, budget, draw_seed, split or GroupSplit())
    if not (pairs or prompts or ratings):
        left = f" once {len(excluded)} leaked items are dropped" if excluded else ""
        raise HarnessError(
            f"pool {pool.name!r} has nothing to draw from{left}; at least one pair or prompt was expected"
        )
    chosen = _draw_pairs(pool.name, pairs, budget, draw_seed) if pairs else []
    taken = {pair.unit for pair in chosen}
    free = _one_each([(unit, prompt) for unit, prompt in prompts if unit not in taken], draw_seed)
    extra = free[: budget.prompts]
    few_shot = FewShot(tuple(chosen), tuple(extra), pool.verifier(source), ratings, auxiliary)
    warnings = short if ratings else _prompt_warnings(pool.name, budget, len(extra))
    return Draw(few_shot, tuple(pair.id for pair in chosen), tuple(prompt.id for prompt in extra), warnings)


def _without(pool: Pool, source: Source, excluded: Set[str]) -> tuple[list[Pair], list[tuple[str, Prompt]]]:
    """Pairs, and prompts with their units; a unit of which anything is excluded is gone whole."""
    pairs = list(pool.pairs(source))
    units = _Units(pairs)
    prompts = [(units.of(prompt), prompt) for prompt in pool.prompts(source)]
    gone = excluded | {pair.unit for pair in pairs if pair.id in excluded}
    gone |= {unit for unit, prompt in prompts if prompt.id in excluded}
    return [p for p in pairs if p.unit not in gone], [(unit, p) for unit, p in prompts if unit not in gone]


class _Units:
    """Which independent unit a prompt belongs to: that of the pair with its id, else of a pair with its text."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._by_id = {pair.id: pair.unit for pair in pairs} | {pair.unit: pair.unit for pair in pairs}
        self._by_text: dict[Messages, str] = {pair.prompt: pair.unit for pair in pairs}

    def of(self, prompt: Prompt) -> str:
        return self._by_id.get(prompt.id) or self._by_text.get(prompt.messages) or prompt.id


def _draw_pairs(name: str, pairs: Sequence[Pair], budget: Budget, seed: int) -> list[Pair]:
    if len(pairs) < budget.labels:
        fitting = [preset for preset, b in PRESETS.items() if b.labels <= len(pairs)]
        hint = f"the largest preset that fits is {fitting[-1]}" if fitting else "no preset fits"
        raise HarnessError(f"pool {name!r} has {len(pairs)} pairs, {budget.labels} labels were asked for; {hint}")
    by_unit: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: content_hash(seed, "pair", pair.id)):
        by_unit[pair.unit].append(pair)
    order = sorted(by_unit, key=lambda unit: _place(seed, unit))
    rounds = max(map(len, by_unit.values()))
    ranked = [by_unit[unit][turn] for turn in range(rounds) for unit in order if turn < len(by_unit[unit])]
    return ranked[: budget.labels]


def _one_each(prompts: Sequence[tuple[str, Prompt]], seed: int) -> list[Prompt]:
    """One prompt of each unit, the last place first."""
    first: dict[str, Prompt] = {}
    for unit, prompt in sorted(prompts, key=lambda item: item[1].id):
        first.setdefault(unit, prompt)
    return [first[unit] for unit in sorted(first, key=lambda unit: _place(seed, unit), reverse=True)]


def draw_ratings(
    opinions: Ratings, budget: Budget, seed: int, split: GroupSplit
) -> tuple[Ratings, Ratings, tuple[str, ...]]:
    """(context of the target groups, ratings of the other groups, warnings).

    Groups and questions get places by hash(seed, name). The first `split.train` of the groups are auxiliary and give
    every rating on a seen question; the rest are targets and give `budget.labels` ratings each, on seen questions, at
    most half of those they answered (the other half is left to be predicted). The last `split.unseen` of the questions
    are shown to nobody. Raises HarnessError when there are too few groups or questions to divide.
    """
    if not opinions:
        return {}, {}, ()
    groups = sorted(opinions, key=lambda group: _place(seed, f"group {group}"))
    questions = sorted({r.question for ratings in opinions.values() for r in ratings}, key=lambda q: _place(seed, q))
    trained, shown = round(split.train * len(groups)), len(questions) - round(split.unseen * len(questions))
    if not 0 < trained < len(groups) or shown < 2:
        raise HarnessError(
            f"{len(groups)} groups and {len(questions)} questions cannot be divided {split.train:.0%} to "
            f"{1 - split.train:.0%} with {split.unseen:.0%} of the questions unseen; "
            "change groups.train or groups.unseen"
        )
    place = {question: index for index, question in enumerate(questions[:shown])}
    seen = {
        group: tuple(sorted((r for r in opinions[group] if r.question in place), key=lambda r: place[r.question]))
        for group in groups
    }
    bought = {group: seen[group][: min(budget.labels, len(seen[group]) // 2)] for group in groups[trained:]}
    context = {group: ratings for group, ratings in sorted(bought.items()) if ratings}
    auxiliary = {group: seen[group] for group in sorted(groups[:trained]) if seen[group]}
    return context, auxiliary, _context_warnings(context, budget)


def _context_warnings(context: Ratings, budget: Budget) -> tuple[str, ...]:
    least = min(map(len, context.values()), default=0)
    if least >= budget.labels:
        return ()
    return (f"some groups give {least} labels, {budget.labels} were asked for: half of what they answered is kept",)


def _place(seed: int, unit: str) -> str:
    return content_hash(seed, "unit", unit)


def _prompt_warnings(name: str, budget: Budget, found: int) -> tuple[str, ...]:
    if found >= budget.prompts:
        return ()
    return (f"pool {name!r} has {found} unlabelled prompts beside its pairs, {budget.prompts} were asked for",)


# ---------------------------------------------------------------- the leak gate


def find_leaks(pool_texts: Mapping[str, str], eval_texts: Mapping[str, str]) -> tuple[str, ...]:
    """Ids of the pool items that the evaluation holds too, sorted.

    A leak is an equal normalised text, or a shared passage: half or more of the 13-grams of an item (of either side)
    stand in the other set, n-grams of three or more pool items left out of the count as stock phrases. Where it is the
    evaluation item that is half covered, every pool item that shares a counted 13-gram with it goes.
    """
    vocabulary: dict[str, int] = {}
    pool = {key: _words(text, vocabulary) for key, text in pool_texts.items()}
    evaluation = {key: _words(text, vocabulary) for key, text in eval_texts.items()}
    equal = set(evaluation.values())
    leaks = {key for key, words in pool.items() if words and words in equal}
    pool_grams = {key: _grams(words) for key, words in pool.items()}
    eval_grams = [_grams(words) for words in evaluation.values()]
    holders: dict[int, list[str]] = defaultdict(list)
    for key, grams in pool_grams.items():
        for gram in grams:
            holders[gram].append(key)
    common = {gram for gram, keys in holders.items() if len(keys) >= COMMON}
    seen = set().union(*eval_grams)
    leaks |= {key for key, grams in pool_grams.items() if _covered(grams - common, seen)}
    for grams in eval_grams:
        counted = grams - common
        if _covered(counted, holders.keys()):
            leaks |= {key for gram in counted for key in holders.get(gram, ())}
    return tuple(sorted(leaks))


def _words(text: str, vocabulary: dict[str, int]) -> tuple[int, ...]:
    return tuple(vocabulary.setdefault(word, len(vocabulary)) for word in normalise(text).split())


def _grams(words: tuple[int, ...]) -> set[int]:
    """Hashes of the word 13-grams (of integers: equal in every process)."""
    return {hash(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)}


def _covered(grams: set[int], others: Collection[int]) -> bool:
    if not grams:
        return False
    return 2 * sum(gram in others for gram in grams) >= len(grams)
