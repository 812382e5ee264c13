"""Folds of a user's own pairs: every pair held out once, and labels that every fold can give."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config import RunConfig
from harness.contracts import Dataset, HarnessError, Pair, Reading, budget_for, every_label, user
from harness.data.sources import open_source
from harness.plugins.registry import load
from harness.run.cells import every_cell
from harness.run.folds import chosen_fold
from harness.run.labels import draw_labels
from tasks.datasets.division import fold_of
from tasks.pools.own import OwnPairsPool
from tasks.preference import PreferenceTask

pytestmark = pytest.mark.core

ASKED: dict[str, Any] = {"aligner": "dpo", "task": "preference", "train_on": "pairs"}


class File:
    """A user's file, without a disk."""

    kind = "file"

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = rows

    def describe(self) -> str:
        return "file rows.jsonl"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        return self._rows


def many(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"question {n}?", "chosen": f"good {n}", "rejected": f"bad {n}", **more} for n in range(count)]


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def labels_of(source: Any, fold: int, budget: Any, of: int = 5) -> Any:
    pool = OwnPairsPool(Reading(fold=(fold, of)))
    config = RunConfig(**ASKED, folds=of, fold=fold, budget=budget)
    return draw_labels(config, PreferenceTask(pool), pool, True, from_pool=source, from_task=source)


def random_file(spread: random.Random) -> list[dict[str, Any]]:
    """Forty pairs: prompts that repeat, that differ in case alone, that share long passages, and clusters of them."""
    kinds = spread.choice((40, 40, 30, 12))
    passage = " ".join(f"word{n}" for n in range(14)) if spread.random() < 0.3 else ""
    rows = []
    for n in range(40):
        k = spread.randrange(kinds)
        prompt = f"{passage if spread.random() < 0.1 else ''} question {k}"
        row = {
            "prompt": prompt.upper() if spread.random() < 0.2 else prompt,
            "chosen": f"good {n}",
            "rejected": f"bad {n}",
        }
        rows.append(row | ({"cluster": f"c{k % 9}"} if kinds == 30 else {}))
    return rows


def test_every_pair_is_held_out_once_and_folds_are_equal() -> None:
    pairs = [Pair(f"p{n}", user(f"question {n}"), "a", "b") for n in range(43)]
    folds = [fold_of(pairs, index, 5) for index in range(5)]
    assert sorted(map(len, folds)) == [8, 8, 9, 9, 9]
    assert set().union(*folds) == {pair.id for pair in pairs}
    twins = [Pair(f"{n}{form}", user(f"{form} {n}"), "a", "b") for n in range(10) for form in ("Why", "why,")]
    assert all(
        f"{n}Why" in fold if f"{n}why," in fold else f"{n}Why" not in fold
        for n in range(10)
        for fold in [fold_of(twins, 0, 5)]
    )
    with pytest.raises(HarnessError, match="3 different prompts cannot be divided into 5 folds; use --folds 3"):
        fold_of(pairs[:3], 0, 5)


def test_every_random_file_can_use_the_labels_that_its_folds_offer() -> None:
    spread, used = random.Random(0), []
    for _ in range(1_000):
        source: Any = File(random_file(spread))
        found = labels_of(source, spread.randrange(5), every_label())
        assert len(found.few_shot.pairs) == found.budget.labels, "max is what this fold, too, can give"
        used.append(found.budget.labels)
    assert max(used) == 32
    assert min(used) >= 8


def test_all_folds_have_the_budget_of_the_smallest() -> None:
    source: Any = File([*many(41), {**many(1)[0], "chosen": "better 0"}])
    found = [labels_of(source, fold, every_label()) for fold in range(5)]
    assert {labels.budget.labels for labels in found} == {33}, "42 pairs in folds of 8, 8, 8, 9 and 9"
    assert len({tuple(pair.id for pair in labels.few_shot.pairs) for labels in found}) == 5
    with pytest.raises(HarnessError, match="the smallest of 5 folds has 33 pairs to learn from, 34 labels were asked"):
        labels_of(source, 0, budget_for(34))


def test_folds_are_one_set_of_pairs_and_one_revision() -> None:
    source: Any = File(many(40))
    pools = [OwnPairsPool(Reading(fold=(index, 5))) for index in range(5)]
    held = [{pair.id for pair in pool.pairs(source, "eval")} for pool in pools]
    assert (sum(map(len, held)), len(set().union(*held))) == (40, 40)
    others = [OwnPairsPool(Reading(fold=(0, 4))), OwnPairsPool()]
    for revisions in (
        [pool.revision(source) for pool in (*pools, *others)],
        [PreferenceTask(pool).revision(source) for pool in (*pools, *others)],
    ):
        assert len({*revisions[:5]}) == 1
        assert len({*revisions[4:]}) == 3
    assert pools[1].notes(source) == ["40 pairs: 32 to train, 8 held out (fold 2 of 5, by a hash of the prompts)"]
    assert pools[0].holding_out(1).pairs(source, "eval") == pools[1].pairs(source, "eval")
    with pytest.raises(HarnessError, match="is read without folds"):
        OwnPairsPool().holding_out(1)


def test_which_cells_a_file_comes_to(tmp_path: Path) -> None:
    registry = load(plugins=False)
    few, enough = (written(tmp_path / f"{n}.jsonl", many(n)) for n in (40, 200))
    parted = written(tmp_path / "parted.jsonl", [*many(30, split="train"), *many(33, split="test")[30:]])

    def cells(data: str, control: bool | None = None, **asked: Any) -> list[tuple[int | None, int | None, bool]]:
        found = every_cell([RunConfig(**{**ASKED, "data": data, **asked})], registry, control=control)
        return [(cell.fold, cell.folds, cell.shuffle_labels) for cell in found]

    assert cells(few) == [(fold, 5, shuffled) for fold in range(5) for shuffled in (False, True)]
    assert cells(enough) == cells(parted) == cells(few, folds=1) == [(None, None, False), (None, None, True)]
    assert cells(few, control=False, folds=3) == [(fold, 3, False) for fold in range(3)]
    assert cells(few, fold=2, folds=5, control=False) == [(2, 5, False)], "one fold that was asked for is one cell"
    assert cells(few, aligner="random", folds=1) == cells(few, aligner="base", folds=1) == [(None, None, False)]
    assert cells("sample", train_on="ultrafeedback") == [(None, None, False)], "shipped pools keep their splits"
    assert cells("sample", True, train_on="ultrafeedback") == [(None, None, False), (None, None, True)]
    for data, more in ((parted, {}), ("sample", {"train_on": "ultrafeedback"}), (few, {"task": "medqa"})):
        with pytest.raises(HarnessError, match=r"leave (it )?out"):
            cells(data, folds=5, **more)


def test_a_fold_that_is_not_there_is_refused() -> None:
    config = RunConfig(**ASKED)
    assert chosen_fold(config) is None
    assert chosen_fold(config.model_copy(update={"folds": 1})) is None
    assert chosen_fold(config.model_copy(update={"folds": 5, "fold": 4})) == (4, 5)
    for wrong in ({"folds": 5}, {"folds": 5, "fold": 5}, {"fold": 0}):
        with pytest.raises(HarnessError, match="from 0 to"):
            chosen_fold(config.model_copy(update=wrong))


def test_data_that_say_what_is_held_out_have_no_folds(tmp_path: Path) -> None:
    how = Reading(fold=(0, 5))
    parted: Any = File([*many(30, split="train"), *many(33, split="test")[30:]])
    (tmp_path / "held.txt").write_text("question 3?\n")
    named: Any = File(many(10))
    folder = tmp_path / "folder"
    folder.mkdir()
    for split, count in (("train", 12), ("test", 3)):
        written(folder / f"{split}.jsonl", many(count))
    apart = open_source(str(folder), OwnPairsPool.dataset)
    for source, reading in ((parted, how), (named, replace(how, split_file=str(tmp_path / "held.txt"))), (apart, how)):
        with pytest.raises(HarnessError, match="there are no folds; leave out --folds"):
            OwnPairsPool(reading).pairs(source)
        assert OwnPairsPool(replace(reading, fold=None)).undivided(source) is None
    assert OwnPairsPool().undivided(named) == 10
