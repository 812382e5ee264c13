"""Own pairs through the whole loop on a tiny model: what is said, what is recorded, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.config import Lengths, Lora, RunConfig
from harness.contracts import HarnessError, budget_for, every_label
from harness.plugins.registry import load
from harness.records.schema import Record
from harness.run import engine
from tests.tiny import tiny_folder

pytestmark = pytest.mark.recipe

START = "Let us go through this slowly, one thing after the other, and look at both sides of it. "


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model"))


def many(count: int, start: str = "", **more: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Question {n}?", "chosen": f"{start}yes, {n} goats", "rejected": f"{start}no {n}", **more}
        for n in range(count)
    ]


class Notes:
    """What the engine says on the way."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        pass

    def advance(self, done: int, total: int | None = None, **figures: Any) -> None:
        pass

    def note(self, line: str) -> None:
        self.lines.append(line)


def run(
    model: Path, folder: Path, rows: Sequence[Mapping[str, Any]] | Path, aligner: str = "base", **changes: Any
) -> tuple[Record, list[str]]:
    path = rows if isinstance(rows, Path) else folder / "rows.jsonl"
    if not isinstance(rows, Path):
        path.write_text("\n".join(map(json.dumps, rows)))
    settings: dict[str, Any] = {
        "aligner": aligner,
        "task": "preference",
        "train_on": "pairs",
        "data": str(path),
        "model": str(model),
        "budget": budget_for(8).model_copy(update={"min_steps": 2, "prompts": 0}),
        "lora": Lora(r=2),
        "lengths": Lengths(prompt=64, completion=32, new_tokens=8),
        "store": folder / "runs",
        "device": "cpu",
    }
    notes = Notes()
    record = engine.run(RunConfig(**{**settings, **changes}), registry=load(plugins=False), observer=notes)
    return record, notes.lines


def test_what_is_left_out_is_said_and_recorded(model: Path, tmp_path: Path) -> None:
    odd = [{"prompt": "Why?", "chosen": "same", "rejected": "same"}] * 4 + [{**many(1)[0], "rejected": None}]
    record, said = run(model, tmp_path, [*many(20), *odd])
    assert "20 pairs: 16 to train, 4 held out (by a hash of the prompts)" in said
    [line] = [line for line in said if "rows left out" in line]
    assert line.startswith("pairs: 5 of 25 rows left out: identical 4, null 1 (the first: file rows.jsonl row 21: ")
    assert (record.data.rows, record.data.dropped) == (25, {"identical": 4, "null": 1})
    assert any(line.startswith("more than a tenth of the rows") for line in record.data.warnings)


def test_signs_tell_questions_apart(model: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"What is {a} {sign} {b}?", "chosen": f"It is {a} {sign} {b}.", "rejected": "No idea."}
        for a in range(2, 6) for b in range(2, 5) for sign in "+-*/"
    ]  # fmt: skip
    record, _ = run(model, tmp_path, rows)
    assert record.data.dropped_leaks == ()
    assert record.scores["pref"].n == len(rows) // 5


def test_rows_that_the_model_cannot_take_are_left_out(model: Path, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "insists")
    template = (folder / "chat_template.jinja").read_text()
    check = (
        "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
    )
    (folder / "chat_template.jinja").write_text(check + template)
    greeted = [{"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "Greeted?"}]
    rows = [*many(20), {"prompt": greeted, "chosen": "yes", "rejected": "no"}, *many(1, START * 3, prompt="Long?")]
    record, said = run(folder, tmp_path, rows)
    assert record.data.dropped == {"equal_once_cut": 1, "template": 1}
    assert any("the pair that asks 'Greeted?'" in line for line in said)
    assert run(model, tmp_path, rows)[0].data.dropped == {"equal_once_cut": 1}


def test_labels_without_a_difference_are_degenerate(model: Path, tmp_path: Path) -> None:
    record, said = run(model, tmp_path, many(20, START * 3), "dpo")
    assert record.status == "degenerate"
    assert record.reason == "both answers of all 8 labelled pairs are equal once cut to the study's length"
    assert record.data.clipped.items() >= {"prompts": 0.0, "answers": 1.0, "equal_pairs": 1.0}.items()
    assert any("8 of 8 pairs are equal once cut to 32 tokens and teach nothing" in line for line in said)


def test_all_labels_are_a_budget(model: Path, tmp_path: Path) -> None:
    rows = [{"frage": row["prompt"], "gut": row["chosen"], "schlecht": row["rejected"]} for row in many(40)]
    columns = {"prompt": "frage", "chosen": "gut", "rejected": "schlecht"}
    budget = every_label().model_copy(update={"min_steps": 2, "prompts": 0})
    record, said = run(model, tmp_path, rows, "sft", columns=columns, budget=budget)
    assert "40 pairs: 32 to train, 8 held out (by a hash of the prompts)" in said
    assert (record.budget.labels, record.budget.preset, record.budget.batch) == (32, "32", 4)
    assert (record.budget.min_steps, record.budget.prompts) == (2, 0), "what was asked for beside max stays"
    assert len(record.data.pair_ids) == record.spent.labels == 32
    with pytest.raises(HarnessError, match="'pairs' has 32 pairs to learn from, 33 labels were asked for"):
        run(model, tmp_path, rows, "sft", columns=columns, budget=budget_for(33))


def test_a_split_file_decides_what_is_scored(model: Path, tmp_path: Path) -> None:
    (tmp_path / "held.txt").write_text("Question 3?\nQuestion 5?\n")
    record, said = run(model, tmp_path, many(12), split_file=tmp_path / "held.txt")
    assert "12 pairs: 10 to train, 2 held out (as the split file says)" in said
    assert record.scores["pref"].n == 2


def test_columns_are_for_ones_own_pairs(model: Path, tmp_path: Path) -> None:
    for changes in ({"columns": {"prompt": "question"}}, {"split_file": tmp_path / "held.txt"}):
        with pytest.raises(HarnessError, match="pool 'ultrafeedback' has columns and splits of its own; --"):
            run(model, tmp_path, [], train_on="ultrafeedback", data="sample", **changes)


# ---------------------------------------------------------------- data check


def test_data_check_tells_it_before_anybody_trains(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = [f"Question {n}?;{'yes ' * 9}{n};no {n}" for n in range(20)]
    turned = [f"Question {n}?;no {n};{'yes ' * 9}{n}" for n in range(2)]
    path.write_text("\n".join(["question;better;worse", *lines, *turned, "Why?;same;same"]))
    done = CliRunner().invoke(app, ["data", "check", str(path), "--model", str(model), "--json", "--no-plugins"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["rows"], found["train"] + found["held_out"], found["left_out"]) == (23, 22, {"identical": 1})
    assert (found["contradictions"], found["units"], found["repeated_prompts"]) == (4, 20, 2)
    assert found["lengths"]["chosen"]["longest"] >= found["lengths"]["rejected"]["median"]
    assert found["shortcuts"]["chosen_longer"] > 0.8
    assert any("length alone tells" in line for line in found["warnings"])
    shown = CliRunner().invoke(app, ["data", "check", str(path), "--model", str(model), "--no-plugins"])
    assert "left out\tidentical\t1\tfile rows.csv row 23: 'chosen' and 'rejected' are equal" in shown.output
    cut = ["--set", "lengths.completion=4", "--columns", "prompt=question"]
    short = CliRunner().invoke(app, ["data", "check", str(path), "--model", str(model), "--no-plugins", *cut, "--json"])
    assert json.loads(short.stdout)["clipping"]["answers"] == 44


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.jsonl"], "is neither auto, hub, sample, a folder nor a file"),
        (["sample", "--pool", "ultrafeedbak"], "did you mean 'ultrafeedback'"),
        (["sample", "--pool", "ultrafeedback", "--columns", "prompt=x"], "has columns of its own"),
        (["sample", "--set", "budget.batch=2"], "data check takes --set lengths.prompt=N"),
        (["sample", "--columns", "prompt"], "--columns takes ours=yours"),
        (["sample", "--model", "no-such-model"], "no-such-model"),
    ],
)
def test_mistakes_of_data_check_are_one_line(model: Path, arguments: list[str], says: str) -> None:
    more = [] if "--model" in arguments else ["--model", str(model)]
    done = CliRunner().invoke(app, ["data", "check", *arguments, *more, "--no-plugins"])
    assert done.exit_code == 2
    assert says in " ".join(done.output.split())


def test_data_check_leaves_out_what_a_run_leaves_out_for_its_model(model: Path, tmp_path: Path) -> None:
    strict = tmp_path / "strict"
    shutil.copytree(model, strict)
    template = strict / "chat_template.jinja"
    refusal = "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('alternate') }}{% endif %}"
    template.write_text(refusal + template.read_text())
    greeting = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Why?"}]
    rows = [*many(20), {"prompt": greeting, "chosen": "So.", "rejected": "No."}]
    for name, some in (("one", rows), ("all", rows[-1:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, some)))
    asked = ["--model", str(strict), "--json", "--no-plugins"]
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path / "one.jsonl"), *asked])
    found = json.loads(done.stdout)
    assert (found["left_out"], found["train"] + found["held_out"]) == ({"template": 1}, 20)
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path / "all.jsonl"), *asked])
    assert (done.exit_code, "ends 'Why?': alternate" in done.stderr) == (2, True), done.stderr


def test_data_check_of_a_public_pool(model: Path) -> None:
    arguments = ["data", "check", "sample", "--pool", "ultrafeedback", "--model", str(model), "--json", "--no-plugins"]
    found = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert (found["train"], found["held_out"], found["left_out"], found["warnings"][:1]) == (102, 102, {}, [])
