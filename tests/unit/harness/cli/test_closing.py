"""The command at the end of a run: more of what limits its table, and otherwise the same study."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import harness.cli.run
import harness.run.cells
from harness.cli import app
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
    found = command(tmp_path / "c", limit=64)
    assert found[found.index("--limit") + 1] == "64", "64 were asked for and there are 40"


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


class Asked:
    """What a command line comes to: its cells, the word on controls, and the options that no cell keeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cells: list[RunConfig] = []
        self.control: bool | None = None
        self.beside: list[str] = []

        def every_cell(configs: Any, registry: Any, *, control: bool | None = None) -> Any:
            self.control = control
            return configs

        def report(records: Any, wanted: Any, *, as_json: bool, beside: Any) -> None:
            self.cells, self.beside = list(wanted), list(beside)

        monkeypatch.setattr(harness.run.cells, "every_cell", every_cell)
        monkeypatch.setattr(harness.cli.run, "execute", lambda *a, **k: [])
        monkeypatch.setattr(harness.cli.run, "report", report)

    def by(self, words: list[str]) -> tuple[list[dict[str, Any]], bool | None, list[str]]:
        """The cells less the seed and the limit, which the next command raises."""
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        cells_ = [
            config.model_dump(mode="json", exclude={"seed", *(["limit"] if config.limit else [])})
            for config in self.cells
        ]
        return list({str(cell): cell for cell in cells_}.values()), self.control, self.beside


OWN = "--aligner dpo --task preference --train-on pairs --data my.csv --no-plugins"


@pytest.mark.parametrize(
    "typed",
    [
        f"{OWN} --columns 'prompt=the question,chosen=good one,rejected=bad one' --folds 2 --budget 8 --no-control "
        "--set budget.min_steps=8 --set budget.batch=2 --set aligner.learning_rate=2e-4",
        f"{OWN} --split-file held.txt --draw-seed 3 --judge similarity --budget 8,23 --no-texts --set lora.r=4",
        f"{OWN} --budget max --set lengths.completion=24 --set checkpoint_steps=4 --limit 5",
        "--aligner sft,dpo,gem[weights=random,k=3],dpo[labels=shuffled] --task medqa --control --no-plugins",
        "--aligner sft --task alpaca_eval --judge local --baseline base --tune 2 --budget 32 --fast-paths off "
        "--no-plugins",
        "--aligner sft --task medqa --track labels+compute --cap-flops 1e15 --set lora.r=3 "
        "--set lengths.sample_prompts=3",
        "--aligner sft --task medqa --device cpu --set limit=null",
        "--aligner sft --task medqa --device cpu --precision fp32 --trust-remote-code --shuffle-labels --limit 7",
        "--aligner icl --task medqa --budget 8 --num-fewshot 2 --backend hf --model hub/name --model-revision abc",
        "--config cells.yaml --aligner sft --budget 32 --include-path own_tasks --no-plugins",
    ],
)
def test_the_next_command_asks_for_the_same_cells_whatever_decided_them(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("HARNESS_LM_EVAL_TASKS", "put back after the test")
    Path("cells.yaml").write_text("task: [medqa, pubmedqa]\nlimit: 5\nset: {budget.min_steps: 3}\n")
    asked = Asked(monkeypatch)
    before = asked.by(["run", *shlex.split(typed)])
    next_ = shlex.split(more(table_of(tmp_path), asked.cells, asked.beside))
    assert next_[:4] == ["python", "-m", "harness", "run"]
    assert asked.by(next_[3:]) == before
    assert {cell.seed for cell in asked.cells} == {0, 1, 2}


def test_a_limit_that_every_fold_keeps_below_is_asked_for_again(tmp_path: Path) -> None:
    table = table_of(tmp_path)  # 40 units
    folded = replace(table, setting=replace(table.setting, folds=5))
    config = RunConfig(aligner="sft", task="medqa", limit=24, folds=5)
    assert "--limit 24" in more(folded, [config]), "8 items a fold"
    assert "--limit 20" in more(folded, [config.model_copy(update={"limit": 5})])
    assert "--limit" not in more(folded, [config.model_copy(update={"profile": "cpu-demo"})]), "the profile says it"
