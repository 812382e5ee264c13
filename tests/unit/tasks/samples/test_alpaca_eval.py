"""What the shipped AlpacaEval sample promises: size, kinds, whole rows of one length, no duplicates, no leak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from harness.data.leaks import find_leaks
from harness.data.sources import SampleSource
from harness.util.words import normalise
from tasks.alpaca_eval import DATASET, AlpacaEval, difficulty, read_items

pytestmark = pytest.mark.core

SOURCE = SampleSource()
SPLITS = {"pool": 72, "eval": 100}
KINDS = 16


def rows(split: str) -> list[Mapping[str, Any]]:
    return list(SOURCE.rows(DATASET, split))


@pytest.mark.parametrize(("split", "count"), SPLITS.items())
def test_every_row_is_whole(split: str, count: int) -> None:
    found = rows(split)
    assert len(found) == count
    for row in found:
        assert set(row) == {"instruction", "output", "dataset"}
        assert 40 <= len(row["output"].split()) <= 120
        assert row["instruction"] == row["instruction"].strip()
        assert row["output"] == row["output"].strip()


def test_both_splits_have_every_kind_and_none_has_too_much_of_one() -> None:
    counts = {split: Counter(row["dataset"] for row in rows(split)) for split in SPLITS}
    assert set(counts["pool"]) == set(counts["eval"])
    for split, count in SPLITS.items():
        assert len(counts[split]) == KINDS
        assert max(counts[split].values()) <= 0.12 * count
        assert min(counts[split].values()) >= 2


def test_nothing_occurs_twice() -> None:
    for field in ("instruction", "output"):
        texts = [normalise(row[field]) for split in SPLITS for row in rows(split)]
        assert len(set(texts)) == sum(SPLITS.values())


def test_no_two_answers_begin_alike_often() -> None:
    """Answers of one template would begin with the same words."""
    begins = Counter(tuple(row["output"].split()[:3]) for split in SPLITS for row in rows(split))
    assert max(begins.values()) <= 3


def test_pool_and_evaluation_do_not_leak() -> None:
    pool = {str(number): row["instruction"] for number, row in enumerate(rows("pool"))}
    assert find_leaks(pool, AlpacaEval().questions(SOURCE, None)) == ()


def test_the_task_reads_it() -> None:
    items = read_items(SOURCE)
    assert len({item.id for item in items}) == SPLITS["eval"]
    assert all(item.baseline == item.reference for item in items)
    assert difficulty(SOURCE, AlpacaEval.outputs) == ("lc_minimal", None)
