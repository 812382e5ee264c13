"""Every split that is asked for leaves the hash of its rows."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness.contracts import Dataset, SourceKind
from harness.data.reading import SplitRead, WatchedSource, rows_hash

pytestmark = pytest.mark.core

DATASET = Dataset("mine", "someone/mine", config="main")


class Rows:
    kind: SourceKind = "folder"

    def describe(self) -> str:
        return "folder mine"

    def announce(self) -> str:
        return "folder mine, because"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        return [{"id": 1, "split": split}]


def test_views_know_what_was_read_through_them() -> None:
    source = WatchedSource(Rows())
    pool, task = source.view(), source.view()
    assert list(pool.rows(DATASET, "pool")) == [{"id": 1, "split": "pool"}]
    task.rows(DATASET, "eval")
    assert set(pool.hashes()) == {"mine/main/pool"}
    assert set(task.hashes()) == {"mine/main/eval"}
    assert source.read == {}
    assert (source.kind, source.describe(), source.announce()) == ("folder", "folder mine", "folder mine, because")
    read = task.read["mine/main/eval"]
    assert SplitRead.from_json(read.as_json()) == read


def test_rows_are_hashed_by_content_and_order() -> None:
    rows = [{"a": 1, "b": "é"}, {"a": 2.0, "b": None}]
    assert rows_hash(rows) == rows_hash([dict(reversed(row.items())) for row in rows])
    others = [rows[::-1], rows[:1], [{**rows[0], "c": 0}, rows[1]], [{"a": 1, "b": "e"}, rows[1]], []]
    assert len({rows_hash(rows), *map(rows_hash, others)}) == 6


def test_odd_values_have_hashes_too() -> None:
    day = datetime.date(2024, 7, 26)
    assert rows_hash([{"day": day}]) == rows_hash([{"day": day}]) != rows_hash([{"day": day.replace(day=27)}])
    assert rows_hash([{"b": b"\x00"}]) != rows_hash([{"b": b"\x01"}])
    assert rows_hash([{"s": "\ud800"}]) != rows_hash([{"s": "\ud801"}])
