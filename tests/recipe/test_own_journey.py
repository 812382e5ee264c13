"""From a file of forty pairs in somebody's own columns to a row that can be printed, on a tiny model."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from harness.cli import app
from leaderboards import FORMATS, load, tables
from tests.recipe.conftest import asked_again, contradictions
from tests.tiny import tiny_folder

pytestmark = pytest.mark.recipe

COLUMNS = "prompt=frage,chosen=gut,rejected=schlecht"
CLOSING = "Write again at any time."


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and a file whose good answers close with a sentence, so that length tells them."""
    folder = tmp_path_factory.mktemp("journey")
    tiny_folder(folder / "model")
    with (folder / "pairs.csv").open("w", newline="") as file:
        lines = csv.writer(file, delimiter=";")
        lines.writerow(["frage", "gut", "schlecht"])
        lines.writerows(
            [f"How do I keep {n} goats?", f"Feed {n} goats. {CLOSING}", f"Feed {n} goats."] for n in range(40)
        )
    return folder


def call(place: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(app, [*arguments, "--no-plugins"] if arguments[0] in ("run", "data") else [*arguments])
    assert done.exit_code == 0, done.output
    return done


def run(place: Path, *more: str) -> Result:
    settings = ("budget.min_steps=2", "budget.prompts=0", "lengths.completion=24", "lengths.new_tokens=6", "lora.r=2")
    return call(
        place,
        *("run", "--aligner", "dpo", "--task", "preference", "--train-on", "pairs", "--folds", "2"),
        *("--data", str(place / "pairs.csv"), "--columns", COLUMNS, "--budget", "8", "--device", "cpu"),
        *("--model", str(place / "model"), "--store", str(place / "runs"), "--quiet"),
        *(part for setting in settings for part in ("--set", setting)),
        *more,
    )


@pytest.fixture(scope="module")
def ran(place: Path) -> Result:
    """The run that all tests look at; two processes of tests may each have some of them."""
    return run(place)


def assert_the_page_has_the_columns(printed: str) -> None:
    """Each table of docs/own-pairs.md is as it is printed, less the columns that the page says it leaves out."""
    page = (Path(__file__).parents[2] / "docs" / "own-pairs.md").read_text()
    [columns] = [cells(line) for line in printed.splitlines() if line.startswith("| aligner |")]
    tables = re.findall(r"without the columns ([^.]+?)[.:].*?\n(\| aligner \|[^\n]*)", page, flags=re.DOTALL)
    assert len(tables) == page.count("\n| aligner |") > 0, "a table of the page does not say what it leaves out"
    for left_out, heads in tables:
        gone = {without_unit(name) for name in re.findall("`(.+?)`", left_out)}
        assert [name for name in columns if name not in gone] == cells(heads)
        assert gone <= set(columns)


def cells(line: str) -> list[str]:
    return [without_unit(cell.strip().replace("\\", "")) for cell in line.strip().strip("|").split("|")]


def without_unit(column: str) -> str:
    """TFLOPs and GFLOPs are one column: a tiny model needs fewer."""
    return column[1:] if column.endswith("FLOPs") else column


def test_from_a_file_to_a_decision(place: Path, ran: Result) -> None:
    check = call(
        place,
        *("data", "check", str(place / "pairs.csv"), "--columns", COLUMNS, "--model", str(place / "model"), "--json"),
    )
    held = json.loads(check.stdout)
    assert (held["train"], held["folds"]) == (32, 5)
    lines = ran.stdout.splitlines()
    assert sum(", fold " in line for line in lines) == 4, "two folds, each with its control"
    assert sum("labels shuffled" in line and ", fold " in line for line in lines) == 2
    [row] = [line for line in lines if line.startswith("| dpo | 1 |")]
    [control] = [line for line in lines if line.startswith("| dpo \\[labels=shuffled\\]")]
    assert control.rstrip(" |").endswith("control")
    assert row.rstrip(" |").split("|")[-1].strip() in ("better", "worse", "cannot tell")
    text = ran.stdout
    assert_the_page_has_the_columns(text)
    assert "pref_written" in text.replace("\\", "")
    assert "a row is the mean of 2 fits a seed" in text
    assert "These pairs are told apart without reading, by length alone (1.00)" in text
    assert "The smallest difference in pref_gain" in text
    assert "--columns prompt=frage,chosen=gut,rejected=schlecht --folds 2" in text, "what to run next is whole"
    records = [entry.record for entry in load(place / "runs") if entry.record.aligner.name == "dpo"]
    assert len({pair for record in records for pair in record.data.pair_ids}) > 8, "each fold has labels of its own"
    [one] = [record for record in records if record.data.shuffled_labels and record.data.fold.index == 1]
    typed = call(place, "plan", *asked_again(one), "--store", str(place / "runs"), "--no-plugins", "--json")
    assert json.loads(typed.stdout)["cells"][-1]["run_id"] == one.id, "its command asks for this fold alone"
    assert [contradictions(place / "runs", record) for record in records] == [[]] * len(records)
    again = run(place, "--json")
    assert {found["id"] for found in json.loads(again.stdout)} == {record.id for record in records}, (
        "nothing runs twice"
    )


@pytest.mark.usefixtures("ran")
def test_the_row_can_be_taken_along(place: Path) -> None:
    """Every form of the table has the method and its control."""
    for form in FORMATS:
        printed = call(place, "leaderboard", "--store", str(place / "runs"), "--format", form).stdout
        assert "dpo" in printed, form
        assert "shuffled" in printed, form


@pytest.mark.usefixtures("ran")
def test_answers_can_be_compared_and_the_adapter_has_a_card(place: Path, tmp_path: Path) -> None:
    """One fold beside base on the same pairs, as a page, and its card."""
    records = [entry.record for entry in load(place / "runs")]
    dpo = next(one for one in records if one.aligner.name == "dpo" and not one.data.shuffled_labels)
    base = next(one for one in records if one.aligner.name == "base" and one.data.fold == dpo.data.fold)
    page = tmp_path / "compare.html"
    call(place, "compare", dpo.id, base.id, "--store", str(place / "runs"), "--html", str(page))
    shown = page.read_text()
    assert "dpo, 8 labels, seed 0, fold " in shown
    assert " of 2, preference against base, 8 labels, seed 0, fold " in shown
    assert "goats" in shown
    call(place, "export", dpo.id, "--as", "card", "--out", str(tmp_path / "card"), "--store", str(place / "runs"))
    card = (tmp_path / "card" / "README.md").read_text()
    assert "pref_written" in card
    [table] = tables(place / "runs")
    found = table.row("dpo")
    score, versus = found.metrics["pref_gain"].score, found.versus_control
    assert (score.n, found.verdict is None, versus is None) == (40, False, False)
    assert score.ci95 is not None
    limits = f"[{score.ci95[0]:.3f}, {score.ci95[1]:.3f}]"
    assert f"| pref_gain | {score.mean:.3f} {limits} (n 40) |" in card.replace("\\", ""), "the mean of both folds"
    assert dpo.data.fold is not None
    assert f"held out fold {dpo.data.fold.index + 1}. The figures are those of all 2 fits together" in card
    assert f"Less the same method on shuffled labels: {versus.difference:+.3f}" in card
    assert f"Verdict, of this method alone: {found.verdict}." in card


@pytest.mark.usefixtures("ran")
def test_a_card_of_a_fold_whose_other_folds_are_missing_says_so(place: Path, tmp_path: Path) -> None:
    """A single fold's figures are of other pairs than the row's."""
    records = [entry.record for entry in load(place / "runs")]
    dpo = next(one for one in records if one.aligner.name == "dpo" and not one.data.shuffled_labels)
    alone = tmp_path / "runs"
    shutil.copytree(place / "runs" / dpo.id, alone / dpo.id)
    call(place, "export", dpo.id, "--as", "card", "--out", str(tmp_path / "card"), "--store", str(alone))
    card = (tmp_path / "card" / "README.md").read_text()
    assert dpo.data.fold is not None
    assert f"fold {2 - dpo.data.fold.index} has no score" in card
    assert "| pref_gain |" not in card.replace("\\", "")


@pytest.mark.usefixtures("ran")
def test_a_table_reads_several_stores(place: Path, tmp_path: Path) -> None:
    """Methods and base in one store, controls in another, one run in both."""
    for folder in (place / "runs").glob("[!.]*"):
        record = json.loads((folder / "record.json").read_text())
        control, base = record["data"]["shuffled_labels"], record["aligner"]["name"] == "base"
        for name in ("methods", "controls") if base else ("controls",) if control else ("methods",):
            shutil.copytree(folder, tmp_path / name / folder.name)
    stores = ("--store", str(tmp_path / "methods"), "--store", str(tmp_path / "controls"))
    together = call(place, "leaderboard", *stores, "--format", "json").stdout
    whole = call(place, "leaderboard", "--store", str(place / "runs"), "--format", "json").stdout
    assert json.loads(together)["tables"] == json.loads(whole)["tables"]
    apart = call(place, "leaderboard", *stores[:2], "--format", "json").stdout
    assert json.loads(apart)["tables"] != json.loads(whole)["tables"]
