"""How `compare` names two runs, tests their difference, and says what else differs between them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.cli.find import Found
from harness.cli.two_runs import as_figures, difference, in_words, label, names_of, other_differences
from harness.records.store import Store
from harness.stats import paired_test
from tests.unit.leaderboards.site_store import put

EIGHT: Mapping[str, Any] = {"budget__labels": 8, "budget__preset": "8"}


def found(store: Path, aligner: str, level: float = 0.5, **changes: Any) -> Found:
    record = Store(store).record(put(store, aligner, 60, level, 0, {**EIGHT, **changes}).name)
    assert record is not None
    return Found(record, Store(store))


def test_a_control_is_not_called_by_its_methods_name(tmp_path: Path) -> None:
    method = found(tmp_path / "a", "gem").record
    control = found(tmp_path / "b", "gem", data__shuffled_labels=True, aligner__changed={"weights": "random"}).record
    assert label(method) == "gem, 8 labels, seed 0, medqa"
    assert label(control) == "gem [labels=shuffled, weights=random], 8 labels, seed 0, medqa"


def test_a_draw_that_is_not_the_seed_is_named(tmp_path: Path) -> None:
    assert label(found(tmp_path, "sft", seed__training=1).record) == "sft, 8 labels, seed 1, draw 0, medqa"


def test_runs_of_one_name_are_told_apart_by_their_ids_and_by_what_differs(tmp_path: Path) -> None:
    first = found(tmp_path / "a", "sft").record
    second = found(tmp_path / "b", "sft", model__precision="bf16").record.model_copy(update={"id": "other"})
    assert names_of(first, second) == (f"{label(first)} ({first.id})", f"{label(first)} (other)")
    assert (
        other_differences(first, second)
        == "The two runs differ in more than their names say: precision (fp32 and bf16)."
    )
    assert other_differences(first, first) is None


def test_the_difference_is_the_paired_one(tmp_path: Path) -> None:
    good, poor = found(tmp_path / "a", "sft", 0.9), found(tmp_path / "b", "dpo", 0.4)
    told = difference(good, poor, "accuracy")
    a, b = ({row.id: row.values["accuracy"] for row in one.store.samples(one.record)} for one in (good, poor))
    assert told.paired == paired_test(a, b, {name: name for name in a})
    _, _, figures, verdict, limits = in_words(told, ("x", "y"))
    assert f"a difference of {told.means[0] - told.means[1]:+.3f} [" in figures
    assert "60 independent items, p < 0.001 by a sign-flip test." in figures
    assert verdict == "On these items A is better, by more than chance explains."
    assert "other draws of the labels" in limits
    assert list(in_words(difference(poor, good, "accuracy"), ("x", "y")))[3].startswith("On these items B is better")


def test_less_is_better_where_the_task_says_so(tmp_path: Path) -> None:
    falling = {"task__lower_is_better": ("accuracy",)}
    often, seldom = found(tmp_path, "sft", 0.95, **falling), found(tmp_path, "dpo", 0.1, **falling)
    told = difference(often, seldom, "accuracy")
    _, _, figures, verdict, _ = in_words(told, ("x", "y"))
    assert figures.startswith("On accuracy (lower is better), A has 0.9")
    assert verdict == "On these items B is better, by more than chance explains."
    assert list(in_words(difference(seldom, often, "accuracy"), ("x", "y")))[3].startswith("On these items A is better")
    assert as_figures(told)["lower_is_better"] is True
    ids = (often.record.id, seldom.record.id)
    said = CliRunner().invoke(app, ["compare", *ids, "--store", str(tmp_path), "--losses", "--json"])
    items = json.loads(said.stdout)["items"]
    assert items
    for item in items:
        assert item["first"]["values"]["accuracy"] > item["second"]["values"]["accuracy"]


def test_the_wins_of_a_run_are_those_of_the_metrics_direction(tmp_path: Path) -> None:
    falling = {"task__lower_is_better": ("accuracy",)}
    base = found(tmp_path, "base", 0.5, **falling).record
    against = {"manifest__compared": {"base": {"run": base.id, "answers": "x"}}}
    run = found(tmp_path, "sft", 0.5, **falling, **against).record
    said = CliRunner().invoke(app, ["samples", run.id, "--store", str(tmp_path), "--wins", "--json"])
    wins = json.loads(said.stdout)
    assert wins
    assert {item["values"]["accuracy"] for item in wins} == {0.0}, "where base has one and the run has none"


def test_runs_that_agree_cannot_be_told_apart(tmp_path: Path) -> None:
    one = found(tmp_path / "a", "sft")
    assert list(in_words(difference(one, one, "accuracy"), ("x", "y")))[3].startswith(
        "These items cannot tell A and B apart"
    )


def test_a_degenerate_run_is_not_tested(tmp_path: Path) -> None:
    good, dead = (
        found(tmp_path / "a", "sft", 0.9),
        found(tmp_path / "b", "dpo", 0.4, status="degenerate", reason="dead"),
    )
    told = difference(good, dead, "accuracy")
    assert told.paired is None
    last = list(in_words(told, ("x", "y")))[-1]
    assert last.endswith(f"The difference is not tested: run {dead.record.id} is degenerate.")


def test_a_figure_that_is_not_finite_is_not_tested(tmp_path: Path) -> None:
    one, other = found(tmp_path / "a", "sft"), found(tmp_path / "b", "dpo")
    with pytest.MonkeyPatch.context() as patch:
        rows = other.store.samples(other.record)
        broken = [rows[0].__class__(rows[0].id, rows[0].unit, {"accuracy": float("nan")}), *rows[1:]]
        patch.setattr(type(other.store), "samples", lambda self, record: broken if record is other.record else rows)
        told = difference(one, other, "accuracy")
    assert told.paired is None
    assert "expected finite numbers" in str(told.why_untested)
