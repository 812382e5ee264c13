"""Which of a user's pairs are held out: those that the user names, else exactly a fifth."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError, Pair
from harness.data.files import ending_of, read_file
from harness.data.texts import read_text
from harness.util.hashes import content_hash
from harness.util.words import comparable

TRAIN = ("train", "train_prefs", "training")
EVAL = (
    "test",
    "test_prefs",
    "eval",
    "evaluation",
    "validation",
    "valid",
    "val",
    "dev",
    "held_out",
    "heldout",
    "holdout",
)
HELD = 5
"""One of this many pairs is held out."""

Marks = Mapping[str, tuple[object, object]]
"""What a pair's row says of its split, and its id, by the pair's id."""


@dataclass(frozen=True, slots=True)
class Division:
    """Pairs to learn from and pairs to be asked about, and a word on what decided."""

    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    how: str


def divide(
    pairs: Sequence[Pair], marks: Marks, listed: Collection[str] | None, fold: tuple[int, int] | None = None
) -> Division:
    """By the listed names, else by the rows' own column, else by `fold`, else exactly by `held_out`.

    Raises HarnessError where nothing, or everything, is listed, and for a fold of what is divided already.
    """
    if fold is not None and (listed is not None or by_column(pairs, marks)):
        what = "a split file" if listed is not None else "the column 'split'"
        raise HarnessError(f"{what} says which pairs are held out, so that there are no folds; leave out --folds")
    if listed is not None:
        held = {pair.id for pair in pairs if _names(pair, marks) & set(listed)}
        if not 0 < len(held) < len(pairs):
            raise HarnessError(
                f"the split file names {len(held)} of {len(pairs)} pairs as held out; expected some, and not all: "
                "ids of rows or prompts, one a line, or rows with 'id' or 'prompt'"
            )
        return _parted(pairs, held, "as the split file says")
    if column := by_column(pairs, marks):
        return _parted(pairs, column, "as the column 'split' says")
    if fold is not None:
        index, of = fold
        return _parted(pairs, fold_of(pairs, index, of), f"fold {index + 1} of {of}, by a hash of the prompts")
    return _parted(pairs, held_out(pairs), "by a hash of the prompts")


def by_column(pairs: Sequence[Pair], marks: Marks) -> set[str]:
    """Ids of the pairs that the rows' own column holds out; none where it does not say so of every row."""
    column = {pair.id: str(marks.get(pair.id, (None, None))[0]).strip().lower() for pair in pairs}
    told = {*column.values()} <= {*TRAIN, *EVAL}
    return {name for name, split in column.items() if split in EVAL} if told else set()


def fold_of(pairs: Sequence[Pair], index: int, of: int) -> set[str]:
    """Ids of the pairs of one of `of` folds: every pair is in one, and the folds are as equal as whole units allow.

    Raises HarnessError where there are fewer units than folds.
    """
    units = _units(pairs)
    if len(units) < of:
        raise HarnessError(
            f"{len(units)} different prompts cannot be divided into {of} folds; "
            f"use --folds {max(len(units), 1)} or a smaller number"
        )
    order = sorted(units, key=lambda unit: (-len(units[unit]), content_hash("held out", unit)))
    folds: list[set[str]] = [set() for _ in range(of)]
    for unit in order:
        min(folds, key=len).update(units[unit])
    return folds[index]


def held_out(pairs: Sequence[Pair]) -> set[str]:
    """Ids of a fifth of the pairs, rounded down: whole units in the order of a hash, as many as fit.

    Pairs of one unit, and pairs whose prompts differ by case and punctuation alone, stay together. At least one unit is
    held out where there are two.
    """
    units = _units(pairs)
    order = sorted(units, key=lambda unit: content_hash("held out", unit))
    wanted, held = len(pairs) // HELD, set[str]()
    for unit in order:
        if len(held) + len(units[unit]) <= wanted:
            held |= {*units[unit]}
    if not held and len(order) > 1:
        held = {*min((units[unit] for unit in order), key=len)}
    return held


def _units(pairs: Sequence[Pair]) -> dict[str, list[str]]:
    """Ids of the pairs that stay together, by their unit."""
    units: dict[str, list[str]] = {}
    first: dict[tuple[str, ...], str] = {}
    for pair in pairs:
        words = comparable("\n".join(turn.content for turn in pair.prompt))
        units.setdefault(first.setdefault(words, pair.unit), []).append(pair.id)
    return units


def named_in(path: Path) -> frozenset[str]:
    """What a split file names as held out: lines of a text; rows' `id` or `prompt`; an object's list under `test`.

    Rows may have a column `split`; those to train on are then no names. Raises HarnessError for an unreadable file.
    """
    if ending_of(path.name) is None:
        return frozenset(line.strip() for line in read_text(path).splitlines() if line.strip())
    rows = read_file(path)
    lists = {str(key).lower(): value for key, value in rows[0].items()} if len(rows) == 1 else {}
    for name in EVAL:
        if isinstance(lists.get(name), list):
            return frozenset(str(item).strip() for item in lists[name])
    columns = [name for name in rows[0] if str(name).lower() in EVAL]  # an object's lists of equal length are columns
    if columns:
        return frozenset(str(row[columns[0]]).strip() for row in rows if row.get(columns[0]) is not None)
    held = [row for row in rows if str(row.get("split", EVAL[0])).strip().lower() in EVAL]
    return frozenset(
        str(row[key]).strip() for row in held for key in ("id", "prompt", "question") if _is_text(row.get(key))
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _names(pair: Pair, marks: Marks) -> set[str]:
    identity = marks.get(pair.id, (None, None))[1]
    return {pair.id, pair.prompt[-1].content, *([] if identity is None else [str(identity).strip()])}


def _parted(pairs: Sequence[Pair], held: Collection[str], how: str) -> Division:
    return Division(
        tuple(pair for pair in pairs if pair.id not in held), tuple(pair for pair in pairs if pair.id in held), how
    )
