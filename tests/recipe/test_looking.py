"""Looking before and after a run: forecasts, samples side by side, labels, pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli import app
from harness.cli.samples import label, paired_over
from harness.records.schema import FoldInfo
from harness.records.shown import Shown, compared
from harness.records.store import Store
from tests.recipe.conftest import Looked

pytestmark = pytest.mark.recipe


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app(list(arguments), prog_name="harness")
    code = ended.value.code
    assert isinstance(code, int | None)
    return code or 0


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert call(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_names_what_is_there_what_is_new_and_what_cannot_run(
    looked: Looked, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(looked.store.rglob("*"))
    found = as_json(capsys, "plan", "--aligner", "sft,dpo,grpo", *looked.options)
    cells = {cell["aligner"]: cell for cell in found["cells"]}
    assert list(cells) == ["base", "sft", "dpo"]
    assert (cells["base"]["run_id"], cells["sft"]["run_id"]) == (looked.base.id, looked.sft.id)
    assert [cell["state"] for cell in cells.values()] == ["done", "done", "new"]
    [refused] = found["refused"]
    assert (refused["aligner"], "verifier" in refused["reason"]) == ("grpo", True)
    assert cells["dpo"]["labels"] == 8
    seconds = [run.spent.seconds.evaluate for run in (looked.base, looked.sft)]
    assert cells["dpo"]["cost"]["evaluate_s"] == pytest.approx(sum(seconds) / 2)
    assert "at the speed of 2 records" in cells["dpo"]["cost"]["basis"]
    assert found["total"]["seconds"] > 0
    [shows] = found["shows"]
    assert (shows["units"], shows["comparisons"]) == (8, 2)
    assert shows["needed"] > 100
    assert sorted(looked.store.rglob("*")) == before, "a plan writes nothing"


def test_a_dry_run_is_the_plan_in_words(looked: Looked, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--dry-run", "--aligner", "sft", "--seed", "0,1", *looked.options) == 0
    out = capsys.readouterr().out
    assert f"sft on preference, seed 0\t{looked.sft.id}\t8\tis there already" in out
    assert "sft on preference, seed 1" in out
    assert "1 of 3 cells are to be computed" in out
    assert "records of sft (1) and of preference (1)" in out
    assert "A difference of .05 would take" in out


def test_a_plan_of_nothing_that_can_run_is_a_mistake(looked: Looked, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "--aligner", "grpo", *looked.options) == 2
    assert "cannot run\tgrpo on preference, seed 0" in capsys.readouterr().out


def test_answers_to_read_are_written_where_a_task_asks_for_choices(
    looked: Looked, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = ("--store", str(tmp_path))
    options = ("--task", "medqa", "--data", "sample", "--limit", "2", "--device", "cpu", "--no-plugins", "--quiet")
    lengths = ("--set", "lengths.prompt=64", "--set", "lengths.completion=16", "--set", "lengths.new_tokens=8")
    model = ("--model", looked.base.model.name, "--budget", "8", *lengths)
    made = as_json(capsys, "run", "--aligner", "base", *options, *model, *store, "--show", "1")
    items = as_json(capsys, "samples", made["id"], *store)
    written = [item["beside"].get("written") for item in items]
    assert sum(text is not None for text in written[:2]) == 1
    assert made["spent"]["inference"]["generated_tokens"] == 0
    again = as_json(capsys, "run", "--aligner", "base", *options, *model, *store, "--show", "1")
    assert again == made


def test_samples_have_prompt_answer_and_what_it_is_held_against(
    looked: Looked, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store", str(looked.store))
    items = as_json(capsys, "samples", looked.sft.id[:6], *store)
    assert len(items) == 8
    assert all(item["answer"] is not None for item in items), "the task has every answer written"
    assert items[0]["prompt"].startswith("Question ")
    assert set(items[0]["beside"]) == {"chosen", "rejected"}
    assert call("samples", looked.sft.id, *store, "--limit", "1") == 0
    out = capsys.readouterr().out
    assert f"run {looked.sft.id}, sft, 8 labels, seed 0, preference: 1 of 8 items" in out


def test_compare_counts_filters_and_writes_a_page(
    looked: Looked, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = ("compare", looked.sft.id, looked.base.id, "--store", str(looked.store))
    found = as_json(capsys, *runs)
    outcomes = [item["outcome"] for item in found["items"]]
    for option, outcome in (("--wins", "win"), ("--losses", "loss")):
        kept = as_json(capsys, *runs, option)["items"]
        assert [item["outcome"] for item in kept] == [outcome] * outcomes.count(outcome)
    assert call(*runs, "--html", str(tmp_path / "page.html")) == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("<details") == len(outcomes)
    assert "Question " in page
    assert call(*runs) == 0
    out = capsys.readouterr().out
    assert f"of {len(outcomes)} items that both have" in out
    assert f"The first less the second: {found['difference']['difference']:+.3f}" in out


def test_compare_tests_the_difference_of_the_two_runs(looked: Looked, capsys: pytest.CaptureFixture[str]) -> None:
    """Right on all of eight units where the other is wrong: 2 of 2**8 patterns of signs are as extreme."""
    store = Store(looked.store)
    rows = {record.id: {row.id: row for row in store.samples(record)} for record in (looked.sft, looked.base)}
    found = as_json(capsys, "compare", looked.sft.id, looked.base.id, "--store", str(looked.store))
    metric = found["metric"]
    mine, base = ([row.values[metric] for row in rows[record.id].values()] for record in (looked.sft, looked.base))
    assert found["difference"]["difference"] == pytest.approx(sum(mine) / len(mine) - sum(base) / len(base))
    same = as_json(capsys, "compare", looked.sft.id, looked.sft.id, "--store", str(looked.store))["difference"]
    assert (same["difference"], same["p"]) == (0.0, 1.0)
    either = [Shown(f"i{n}", "", None, {}, {"acc": float(right)}) for right in (1, 0) for n in range(8)]
    items = compared(either[:8], either[8:], "acc")
    tested = paired_over(items, "acc", {f"i{n}": f"u{n}" for n in range(8)})
    assert (tested.difference, tested.n_units) == (1.0, 8)
    assert tested.p == pytest.approx(2 / 2**8)


def test_a_run_and_its_control_have_other_names(looked: Looked) -> None:
    shuffled = looked.sft.data.model_copy(update={"shuffled_labels": True, "fold": FoldInfo(index=1, of=5)})
    drawn = looked.sft.seed.model_copy(update={"draw": 3})
    control = looked.sft.model_copy(update={"data": shuffled, "seed": drawn})
    assert label(looked.sft) == "sft, 8 labels, seed 0, preference"
    assert label(control) == "sft, labels shuffled, 8 labels, draw 3, seed 0, fold 2 of 5, preference"


def test_runs_that_share_nothing_are_refused(looked: Looked, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ("compare", looked.sft.id, looked.base.id, "--store", str(looked.store))
    assert call(*runs, "--metric", "accurracy") == 2
    assert "share no item that has 'accurracy'" in capsys.readouterr().err


def test_labels_are_the_pairs_that_the_method_was_handed(looked: Looked, capsys: pytest.CaptureFixture[str]) -> None:
    store = ("--store", str(looked.store))
    pairs = as_json(capsys, "labels", looked.sft.id, *store)
    assert [pair["id"] for pair in pairs] == list(looked.sft.data.pair_ids)
    assert all(pair["chosen"].startswith("yes") and pair["rejected"].startswith("no") for pair in pairs)
    assert call("labels", looked.base.id, *store) == 0
    assert "base was handed no labels" in capsys.readouterr().out


def test_labels_without_texts_say_so(looked: Looked, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / looked.sft.id).symlink_to(looked.store / looked.sft.id)
    assert call("labels", looked.sft.id, "--store", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "only their ids were kept" in out
    assert looked.sft.data.pair_ids[0] in out


def test_two_stores_are_read_together(looked: Looked, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("show", looked.sft.id[:8], "--store", str(tmp_path), "--store", str(looked.store)) == 0
    assert looked.sft.id in capsys.readouterr().out
    assert call("show", "nothing", "--store", str(tmp_path), "--store", str(looked.store)) == 2
