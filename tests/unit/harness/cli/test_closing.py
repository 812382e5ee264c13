"""The command at the end of a run: more of what limits its table, and otherwise the same study."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.cli.closing import more, words
from harness.cli.resolve import Options, cells
from harness.config import RunConfig
from harness.contracts import AskedLengths
from tests.unit.harness.test_config import make_registry
from tests.unit.leaderboards.test_leaderboards import add, answers, one_table

pytestmark = pytest.mark.core


def table_of(tmp_path: Path) -> Any:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "sft", answers(11))
    return one_table(tmp_path)  # 40 units


def command(tmp_path: Path, **fields: Any) -> list[str]:
    config = RunConfig(**{"aligner": "sft", "task": "medqa", "limit": 40, "profile": "cpu-demo", **fields})
    return shlex.split(more(table_of(tmp_path), [config]))


def test_more_items_and_seeds_of_the_default_run(tmp_path: Path) -> None:
    text = "python -m harness run --aligner sft --task medqa --limit 160 --seed 0,1,2"
    assert command(tmp_path) == shlex.split(text)


def test_items_that_are_all_used_cannot_be_more(tmp_path: Path) -> None:
    assert "--limit" not in command(tmp_path / "a", limit=None)
    assert "--limit" not in command(tmp_path / "b", limit=64), "64 were asked for and there are 40"


def test_what_was_asked_for_is_asked_for_again(tmp_path: Path) -> None:
    found = command(
        tmp_path,
        profile=None,
        data="some folder",
        num_fewshot=2,
        draw_seed=3,
        store=Path("else where"),
        shuffle_labels=True,
        lengths=AskedLengths(prompt=99),
        aligner_config={"epochs": 2},
    )
    for part in (
        ["--budget", "32"],
        ["--data", "some folder"],
        ["--num-fewshot", "2"],
        ["--draw-seed", "3"],
        ["--store", "else where"],
        ["--set", "lengths.prompt=99"],
        ["--set", "aligner.epochs=2"],
    ):
        place = found.index(part[1])
        assert found[place - 1 : place + 1] == part
    assert "--shuffle-labels" in found


def test_the_command_gives_the_same_cells_with_more_seeds(tmp_path: Path) -> None:
    asked = Options(aligner="method,other_method", task="quiz", budget="8,32", limit=40, seeds=(4, 7))
    before = cells(asked, make_registry())
    typed = shlex.split(more(table_of(tmp_path), before))
    given = dict(zip(typed[4::2], typed[5::2], strict=True))
    seeds = tuple(int(seed) for seed in given["--seed"].split(","))
    again = Options(
        aligner=given["--aligner"], task=given["--task"], budget=given["--budget"], limit=int(given["--limit"]),
        seeds=seeds,
    )  # fmt: skip
    after = cells(again, make_registry())
    assert [c.model_copy(update={"limit": 40}) for c in after] == before
    assert int(given["--limit"]) == 160


def test_each_table_has_its_sentences_and_all_have_one_command(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    config = RunConfig(aligner="sft", task="medqa")
    found = list(words([table, table], [config]))
    assert sum(sentence.startswith("Nothing in this table") for sentence in found) == 2
    assert [sentence for sentence in found if "python -m harness" in sentence] == found[-1:]
    assert list(words([], [config])) == []
