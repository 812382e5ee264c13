"""Which files of a folder are a split: one, or several shards, in the ways that people and tools lay them out.

train.jsonl                                  one file, of any ending of `READERS`
train-00000-of-00002.parquet, train_1.csv    shards
data/train-00000-of-00002.parquet            as the hub's client leaves a data set
train/0000.parquet, default/train/0.parquet  a folder for each split
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.contracts import HarnessError
from harness.data.files import READERS, ending_of, stem_of

PLACES = (".", "data", "default")
"""Where a data set's files are looked for, below its folder."""
NOTES = frozenset({"dataset_info", "dataset_infos", "dataset_dict", "state", "package", "config"})
"""Stems of files that say something of the data and hold no rows."""
_SHARD = re.compile(r"[-_.](?P<number>\d+)([-_.]of[-_.](?P<count>\d+)(-[0-9a-f]{16})?)?")
_NUMBERED = re.compile(r"(?P<name>.+?)[-_.](?P<number>\d+)[-_.]of[-_.](?P<count>\d+)(-[0-9a-f]{16})?")


def split_files(folder: Path, split: str, more: Sequence[str] = ()) -> list[Path]:
    """The files of a split, in order; empty where there is none. Raises HarnessError where a shard is missing.

    `more` are folders below `folder` that are looked into after the usual ones: a configuration's name.
    """
    for place in (*PLACES, *more):
        inside = (folder / place / split).parent
        name = Path(split).name
        files = row_files(inside)
        exact = [path for path in files if stem_of(path.name) == name]
        if exact:
            return [min(exact, key=_rank)]
        shards = [path for path in files if _shard_of(path, name)]
        if shards:
            return _complete(_of_one_kind(shards))
        if found := row_files(inside / name):
            return _complete(_of_one_kind(found))
    return []


def split_names(folder: Path) -> list[str]:
    """The splits that a folder seems to hold, for messages."""
    names: set[str] = set()
    for place in PLACES:
        inside = folder / place
        names |= {_plain(path) for path in row_files(inside)}
        if inside.is_dir():
            folders = [entry for entry in inside.iterdir() if entry.is_dir() and entry.name not in PLACES]
            names |= {entry.name for entry in folders if row_files(entry)}
    return sorted(names)


def row_files(folder: Path) -> list[Path]:
    """The files of a folder that hold rows, by name; hidden ones and notes are left out."""
    if not folder.is_dir():
        return []
    held = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith((".", "_")))
    return sorted(path for path in held if ending_of(path.name) and stem_of(path.name) not in NOTES)


def all_files(folder: Path) -> list[Path]:
    """Every file of rows in a folder that names no splits, shards checked. Raises HarnessError where one is missing."""
    return _complete(next((files for place in PLACES if (files := row_files(folder / place))), []))


def shard(path: Path) -> tuple[int, int] | None:
    """(number, count) where a file's name says that it is a part of a whole."""
    found = _NUMBERED.fullmatch(stem_of(path.name))
    return (int(found["number"]), int(found["count"])) if found else None


def _plain(path: Path) -> str:
    found = _NUMBERED.fullmatch(stem_of(path.name))
    return found["name"] if found else stem_of(path.name)


def _shard_of(path: Path, split: str) -> bool:
    stem = stem_of(path.name)
    return stem.startswith(split) and _SHARD.fullmatch(stem[len(split) :]) is not None


def _rank(path: Path) -> int:
    return list(READERS).index(ending_of(path.name) or "")


def _of_one_kind(paths: Iterable[Path]) -> list[Path]:
    """Those of the first ending, numbers in order: a folder may hold the same shards in two formats."""
    paths = list(paths)
    kind = ending_of(min(paths, key=_rank).name)
    return sorted((path for path in paths if ending_of(path.name) == kind), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name) if part]


def _complete(paths: Sequence[Path]) -> list[Path]:
    """`paths`, unless their names speak of shards that are not there. Raises HarnessError naming the first."""
    numbered = {path: found for path in paths if (found := shard(path))}
    for name in {_plain(path) for path in numbered}:
        have = {number for path, (number, _) in numbered.items() if _plain(path) == name}
        count = max(count for path, (_, count) in numbered.items() if _plain(path) == name)
        first = 0 if 0 in have or count not in have else 1
        if missing := sorted(set(range(first, first + count)) - have):
            example = next(path for path in numbered if _plain(path) == name)
            raise HarnessError(
                f"{example.parent} holds {len(have)} of {count} shards of {name!r}: number {missing[0]} is missing; "
                "fetch the data set again"
            )
    return list(paths)
