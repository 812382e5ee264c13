"""Anybody's own pairs as a source of labels: a file, a folder, or a data set of the hub; see `tasks.datasets.own`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

from harness.contracts import Dataset, HarnessError, Pair, Pool, Reading, Source, SplitAbsent
from harness.data.texts import cut
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.datasets.division import EVAL, TRAIN
from tasks.datasets.own import DividedPairs, contradictions, read_own
from tasks.datasets.pairs import OWN_PAIRS, Labelled
from tasks.pools.pairs import PairPool

Row = Mapping[str, Any]

EVERYTHING = "*"
"""The split of a folder whose files name no splits (`harness.data.sources.EVERYTHING`)."""


class OwnPairsPool(PairPool):
    """Your own pairs; data without a held-out split are divided into training and held-out pairs."""

    name: ClassVar[str] = "pairs"
    licence: ClassVar[str] = "that of the data you point at"
    dataset: ClassVar[Dataset] = OWN_PAIRS

    def __init__(self, how: Reading | None = None) -> None:
        super().__init__()
        self._how = how or Reading()
        self._whole: dict[int, tuple[Sequence[Row], DividedPairs]] = {}

    def reading(self, how: Reading) -> OwnPairsPool:
        """The same pool, its rows read as `how` says."""
        return OwnPairsPool(how)

    @property
    def folds(self) -> int | None:
        """How many folds it is read in; None where its pairs are divided once."""
        return None if self._how.fold is None else self._how.fold[1]

    def holding_out(self, fold: int) -> OwnPairsPool:
        """The same pool, read in as many folds, with another one held out. Raises HarnessError without folds."""
        if self._how.fold is None:
            raise HarnessError("pool 'pairs' is read without folds, so that none can be held out; use --folds")
        other = (fold, self._how.fold[1])
        pool = OwnPairsPool(replace(self._how, fold=other))
        pool._whole = {key: (rows, whole.holding_out(other)) for key, (rows, whole) in self._whole.items()}
        return pool

    def every(self, source: Source) -> Sequence[Pair]:
        """All pairs: those to train on and those held out, in the order of their ids."""
        both = (*self.labelled(source).pairs, *self.labelled(source, "eval").pairs)
        return sorted(both, key=lambda pair: pair.id)

    def undivided(self, source: Source) -> int | None:
        """How many pairs there are where neither the user nor the data say which are held out; else None."""
        rows, apart = self._rows(source, "pool")
        whole = self._read_whole(source, rows, divided=not apart)
        return None if apart or whole.given else len(whole.found.pairs)

    def revision(self, source: Source) -> str:
        """Hash of every training pair, and of the columns that the user named; of folds, the same for all of them."""
        pairs = [asdict(pair) for pair in (self.every(source) if self.folds else self.pairs(source))]
        plain = content_hash(pairs, "folds", self.folds) if self.folds else content_hash(pairs)
        return content_hash(plain, dict(self._how.columns)) if self._how.columns else plain

    def labelled(self, source: Source, split: str = "pool") -> Labelled:
        """Pairs and reasons of a split. Raises HarnessError where there are no rows, no columns or no pairs."""
        rows, apart = self._rows(source, split)
        if apart and self.folds:
            raise HarnessError(
                "the data have a held-out split of their own, so that there are no folds; leave out --folds"
            )
        whole = self._read_whole(source, rows, divided=not apart)
        if apart:
            return whole.found
        kept = whole.division.held_out if split == "eval" else whole.division.train
        return replace(whole.found, pairs=kept)

    def notes(self, source: Source) -> Sequence[str]:
        """How many pairs train and are held out, by what; contradictions, and control tokens inside texts."""
        train, held = self.labelled(source).pairs, self.labelled(source, "eval").pairs
        rows, apart = self._rows(source, "pool")
        how = "as the data are divided" if apart else self._read_whole(source, rows).division.how
        lines = [f"{len(train) + len(held)} pairs: {len(train)} to train, {len(held)} held out ({how})"]
        if contrary := contradictions([*train, *held]):
            lines.append(f"{contrary} pairs contradict another pair: the same two answers, the other one better")
        inside = [
            pair for pair in (*train, *held) if any(t in text for text in _texts(pair) for t in self._how.control)
        ]
        if inside:
            shown = cut(inside[0].prompt[-1].content)
            lines.append(f"{len(inside)} pairs hold control tokens of the tokenizer inside their texts, as {shown!r}")
        return lines

    def _rows(self, source: Source, split: str) -> tuple[Sequence[Row], bool]:
        """(rows, whether they are this split alone): a file, and data without a held-out split, are divided here."""
        if source.kind == "file":
            return source.rows(self.dataset, "pool"), False
        held_out = self._of_names(source, "eval", EVAL)
        if split == "eval" and held_out is not None:
            return held_out, True
        rows = self._of_names(source, "pool", TRAIN)
        if rows is None and held_out is None and source.kind == "folder":
            rows = self._of_names(source, EVERYTHING, ())
        return source.rows(self.dataset, "pool") if rows is None else rows, held_out is not None

    def _of_names(self, source: Source, split: str, others: Sequence[str]) -> Sequence[Row] | None:
        """The rows of a split, under its usual name or the first of the others that is there."""
        ways = [(self.dataset, split), *((replace(self.dataset, splits={name: name}), name) for name in others)]
        for dataset, name in ways:
            try:
                return source.rows(dataset, name)
            except SplitAbsent:
                continue
        return None

    def _read_whole(self, source: Source, rows: Sequence[Row], *, divided: bool = True) -> DividedPairs:
        known = self._whole.get(id(rows))
        if known is None or known[0] is not rows:
            known = self._whole[id(rows)] = (rows, read_own(rows, source.describe(), self._how, divided=divided))
        return known[1]


def _texts(pair: Pair) -> list[str]:
    return [*(turn.content for turn in pair.prompt), pair.chosen, pair.rejected]


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pool of this module."""
    return [OwnPairsPool]
