"""Which rows make a claim: what is degenerate, what is a control, what a family is, what could have been seen."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import leaderboards
from harness.stats import holm, paired_test
from leaderboards.best import best_of
from leaderboards.pareto import unbeaten
from tests.unit.leaderboards.test_leaderboards import ITEMS, UNITS, add, answers, one_table

pytestmark = pytest.mark.core

FAR, NEAR = answers(38), answers(14)


def lines_of(store: Path) -> dict[str, dict[str, str]]:
    text = leaderboards.render(leaderboards.tables(store), "csv")
    return {line["label"]: line for line in csv.DictReader(io.StringIO(text)) if line["is_main"] == "True"}


# ---------------------------------------------------------------- degenerate rows


def test_a_forged_degenerate_winner_gets_no_p_and_no_verdict_and_stands_last(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "gem", FAR, status="degenerate", reason="marker rate 0.01")
    add(tmp_path, "sft", answers(2))
    table = one_table(tmp_path)
    row = table.row("gem")
    versus = row.metrics["accuracy"].versus_base
    assert versus is not None
    assert (row.verdict, row.p_holm, versus.p, versus.mdd) == (None, None, None, None)
    assert versus.difference == pytest.approx(28 / 40), "the difference is no secret"
    assert [r.label for r in table.rows] == ["base", "sft", "gem"]
    line = lines_of(tmp_path)["gem"]
    assert (line["p"], line["p_holm"], line["verdict"], line["mdd"]) == ("", "", "", "")
    cells = next(x for x in leaderboards.render([table]).splitlines() if x.startswith("| gem"))
    assert "better" not in cells
    assert "| degenerate |" in cells


def test_degenerate_rows_and_controls_are_no_part_of_the_family(tmp_path: Path) -> None:
    base = answers(10)
    add(tmp_path, "base", base)
    add(tmp_path, "sft", answers(17))
    alone = one_table(tmp_path).row("sft")
    add(tmp_path, "gem", FAR, status="degenerate", reason="no marker")
    add(tmp_path, "random", NEAR)
    add(tmp_path, "uniform", NEAR)
    add(tmp_path, "sft", NEAR, data__shuffled_labels=True)
    table = one_table(tmp_path)
    row = table.row("sft")
    assert (row.p_holm, row.metrics["accuracy"]) == (alone.p_holm, alone.metrics["accuracy"])
    assert row.p_holm == pytest.approx(paired_test(answers(17), base, UNITS).p)
    assert table.family == 1
    add(tmp_path, "dpo", answers(18))
    two = one_table(tmp_path)
    p = {name: two.row(name).metrics["accuracy"].versus_base for name in ("sft", "dpo")}
    assert [two.row(name).p_holm for name in p] == pytest.approx(
        holm([v.p for v in p.values() if v and v.p is not None])
    )


@pytest.mark.parametrize(
    "control",
    [
        {"aligner": "random"},
        {"aligner": "uniform"},
        {"shuffled": True},
        {"context": "swapped"},
        {"weights": "random"},
        {"weights": "length"},
        {"optimise": "none"},
    ],
)
def test_a_control_has_a_p_of_its_own_and_no_verdict(control: dict[str, Any], tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    changes = {"data__shuffled_labels": control.get("shuffled", False)}
    if control.keys() & {"context", "weights", "optimise"}:
        changes |= {"aligner__config": control, "aligner__changed": control}
    add(tmp_path, control.get("aligner", "sft"), FAR, **changes)
    table = one_table(tmp_path)
    row = table.rows[1]
    versus = row.metrics["accuracy"].versus_base
    assert (row.role, row.p_holm, row.verdict) == ("control", None, None)
    assert versus is not None
    assert versus.p is not None
    assert versus.p < 0.001
    assert "| ok | control |" in leaderboards.render([table])
    assert table.family == 0
    assert "detectable" not in leaderboards.render([table])


def test_a_degenerate_seed_is_said_in_its_row_beside_a_failed_one(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "gem", FAR, seed__training=0)
    add(tmp_path, "gem", FAR, seed__training=1, status="degenerate", reason="no marker")
    add(tmp_path, "gem", None, seed__training=2, status="failed", failure={"reason": "lost", "traceback": ""})
    table = one_table(tmp_path)
    row = table.row("gem")
    assert not row.degenerate
    assert row.verdict == "better"
    assert "| degenerate 1/3, failed 1/3 | better |" in leaderboards.render([table])
    assert any("degenerate (draw 0, seed 1): no marker" in remark for remark in row.remarks)


def test_unfit_seeds_are_left_out_of_a_rows_score_where_another_is_sound(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "gem", answers(20), seed__training=0)
    add(tmp_path, "gem", answers(40), seed__training=1, status="degenerate", reason="no marker")
    add(tmp_path, "gem", answers(40), seed__training=2, status="over_cap", reason="went on")
    add(tmp_path, "dpo", answers(30), seed__training=0, status="degenerate", reason="no marker")
    add(tmp_path, "dpo", answers(20), seed__training=1, status="degenerate", reason="no marker")
    table = one_table(tmp_path)
    row = table.row("gem")
    assert (row.metrics["accuracy"].score.mean, row.metrics["accuracy"].seed_sd, row.n_scored) == (0.5, None, 1)
    assert "the score is of 1 of 3 seeds: 2 unfit are left out" in row.remarks
    assert "| gem | 1/3 |" in leaderboards.render([table])
    assert (len(row.scored), set(row.scored) <= set(row.records), len(row.records)) == (1, True, 3)
    both = table.row("dpo")
    assert both.degenerate
    assert both.scored == both.records, "where none is sound, all are shown"
    assert both.metrics["accuracy"].score.mean == pytest.approx(0.625)
    assert not any("left out" in remark for remark in both.remarks)


# ---------------------------------------------------------------- which way is up


def test_less_of_a_metric_is_better_where_the_task_says_so(tmp_path: Path) -> None:
    falling = {"task__lower_is_better": ("accuracy",)}
    for name, right in (("base", 20), ("dpo", 38), ("sft", 2), ("gem", 19)):
        add(tmp_path, name, answers(right), **falling)
    table = one_table(tmp_path)
    assert [row.label for row in table.rows] == ["base", "sft", "gem", "dpo"]
    assert [row.verdict for row in table.rows] == [None, "better", "cannot tell", "worse"]
    versus = table.row("sft").metrics["accuracy"].versus_base
    assert versus is not None
    assert versus.difference == pytest.approx(-18 / 40), "a difference is what it is"
    text = leaderboards.render([table])
    assert "`accuracy`, lower is better" in text
    assert "accuracy (lower is better)" in leaderboards.render([table], "latex")
    assert unbeaten(table)["sft"]
    assert not unbeaten(table)["dpo"], "base has a better score at less cost"
    assert {line["better"] for line in lines_of(tmp_path).values()} == {"lower"}


def test_the_best_have_the_lowest_score_where_less_is_better(tmp_path: Path) -> None:
    pytest.importorskip("arch")
    for name, right in (("base", 20), ("dpo", 38), ("sft", 2), ("gem", 19)):
        add(tmp_path, name, answers(right), task__lower_is_better=("accuracy",))
    entries = {entry.record.id: entry for entry in leaderboards.load(tmp_path)}
    assert best_of(one_table(tmp_path), entries) == {"sft"}


def test_the_direction_of_a_metric_beside_the_main_one_is_shown(tmp_path: Path) -> None:
    for name, right in (("base", 20), ("sft", 30)):
        values = {"accuracy": answers(right), "contradiction": answers(40 - right)}
        add(tmp_path, name, values, task__lower_is_better=("contradiction",))
    (table,) = leaderboards.tables(tmp_path)
    text = leaderboards.render([table])
    assert "`accuracy`, higher is better" in text
    assert "| contradiction (lower is better) | sft |" in text
    rows = list(csv.DictReader(io.StringIO(leaderboards.render([table], "csv"))))
    assert {(row["metric"], row["better"]) for row in rows} == {("accuracy", "higher"), ("contradiction", "lower")}


# ---------------------------------------------------------------- figures that are none


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_value_of_base_that_is_no_number_costs_its_comparison_alone(tmp_path: Path, value: float) -> None:
    margins = dict.fromkeys(ITEMS, 0.5)
    folder = add(tmp_path, "base", {"accuracy": answers(10), "margin": margins})
    table = pq.read_table(folder / "samples.parquet")
    place = table.schema.get_field_index("value.margin")
    pq.write_table(
        table.set_column(place, "value.margin", pa.array([value, *[0.5] * (len(ITEMS) - 1)])),
        folder / "samples.parquet",
    )
    add(tmp_path, "sft", {"accuracy": answers(38), "margin": margins})
    made = one_table(tmp_path)
    row = made.row("sft")
    assert row.verdict == "better"
    assert row.metrics["margin"].versus_base is None
    assert "margin is not compared with base, of which it has no mean" in row.remarks
    assert any(f"margin has no mean: it is {value} on item" in remark for remark in made.row("base").remarks)


# ---------------------------------------------------------------- what could have been seen


def test_the_detectable_difference_is_that_of_the_family(tmp_path: Path) -> None:
    base = answers(10)
    add(tmp_path, "base", base)
    for seed, name in enumerate(("sft", "dpo", "orpo", "kto")):
        add(tmp_path, name, answers(11 + seed))
    table = one_table(tmp_path)
    assert table.family == 4
    for row in table.rows[1:]:
        values = answers(11 + ("sft", "dpo", "orpo", "kto").index(row.label))
        versus = row.metrics["accuracy"].versus_base
        assert versus is not None
        assert versus.mdd == paired_test(values, base, UNITS, comparisons=4).mdd
        assert versus.mdd > 0.15, "one answer of 40 that differs is no measure of what could be seen"
    text = leaderboards.render([table])
    assert f"smallest detectable difference: {table.mdd:.3f} (largest of the rows; found four times in five" in text
    assert "over 4 tests" in text


def test_a_table_that_could_show_nothing_says_so(tmp_path: Path) -> None:
    few = ITEMS[:5]
    add(tmp_path, "base", answers(1, of=few))
    add(tmp_path, "sft", answers(2, of=few))
    assert "1 test on 5 units: no difference, however large, would be found" in leaderboards.render(
        [one_table(tmp_path)]
    )


# ---------------------------------------------------------------- other metrics, steps


def test_other_metrics_carry_their_difference_and_p_in_every_form(tmp_path: Path) -> None:
    add(tmp_path, "base", {"accuracy": answers(10), "style": answers(10)})
    add(tmp_path, "sft", {"accuracy": answers(12), "style": FAR})
    add(tmp_path, "gem", {"accuracy": answers(12), "style": FAR}, status="degenerate", reason="no marker")
    table = one_table(tmp_path)
    text = leaderboards.render([table])
    assert "| metric | aligner | value [95 % CI] | Δ base [95 % CI] | p (not adjusted) |" in text
    assert "| style | sft | 0.950 [" in text
    line = next(x for x in text.splitlines() if x.startswith("| style | sft"))
    assert "| +0.700 [" in line
    assert line.endswith("| <0.001 |")
    assert next(x for x in text.splitlines() if x.startswith("| style | gem")).endswith("|  |"), "degenerate: no p"
    rows = list(csv.DictReader(io.StringIO(leaderboards.render([table], "csv"))))
    (style,) = (x for x in rows if x["label"] == "sft" and x["metric"] == "style")
    assert float(style["p"]) < 0.001
    assert style["verdict"] == ""
    in_json = json.loads(leaderboards.render([table], "json"))["tables"][0]["rows"]
    (sft,) = (row for row in in_json if row["label"] == "sft")
    assert sft["metrics"]["style"]["versus_base"]["p"] == float(style["p"])


def test_optimizer_steps_have_a_column(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10), spent__optimizer_steps=0)
    add(tmp_path, "sft", answers(12), spent__optimizer_steps=48)
    head, _, base, sft = leaderboards.render([one_table(tmp_path)]).splitlines()[4:8]
    column = head.split(" | ").index("steps")
    assert [row.split(" | ")[column] for row in (base, sft)] == ["0", "48"]


# ---------------------------------------------------------------- an adapter without effect


def with_details(folder: Path, details: list[Any]) -> None:
    path = folder / "samples.parquet"
    table = pq.read_table(path)
    texts = pa.array([json.dumps(detail) for detail in details], pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index("detail"), "detail", texts), path)


def test_a_fitted_adapter_that_changes_no_answer_is_said(tmp_path: Path) -> None:
    same = [{"choice": i % 4, "loglik": [-0.1 * i, -1.5]} for i in range(40)]
    with_details(add(tmp_path, "base", answers(10)), same)
    with_details(add(tmp_path, "sft", answers(10), aligner__adapter_hash="a" * 64), same)
    moved = [{**detail, "loglik": [-0.3, -2.5]} for detail in same]
    with_details(add(tmp_path, "dpo", answers(10), aligner__adapter_hash="b" * 64), moved)
    other = [{**detail, "choice": 3} for detail in same]
    with_details(add(tmp_path, "orpo", answers(10), aligner__adapter_hash="c" * 64), other)
    with_details(add(tmp_path, "icl", answers(10)), same)
    with_details(add(tmp_path, "kto", answers(11), aligner__adapter_hash="d" * 64), same)
    table = one_table(tmp_path)
    said = "the fitted adapter of draw 0, seed 0 changes no answer: every item has the answer of base"
    assert {row.label for row in table.rows if said in row.remarks} == {"sft", "dpo"}
    assert f"- **note** sft: {said}" in leaderboards.render([table])


def test_shares_move_without_any_answer_changing(tmp_path: Path) -> None:
    letters = [{"choice": i % 4} for i in range(40)]
    shares = {item: 0.2 + i / 200 for i, item in enumerate(ITEMS)}
    moved = {item: share + 0.01 for item, share in shares.items()}
    main = {"task__main_metric": "p_gold"}
    with_details(add(tmp_path, "base", {"p_gold": shares, "acc": answers(10)}, **main), letters)
    for name, right, digest in (("sft", 10, "a"), ("dpo", 11, "b")):
        found = add(tmp_path, name, {"p_gold": moved, "acc": answers(right)}, **main, aligner__adapter_hash=digest * 64)
        with_details(found, letters)
    with_details(add(tmp_path, "orpo", {"p_gold": moved}, **main, aligner__adapter_hash="c" * 64), letters)
    rows = one_table(tmp_path).rows
    assert {row.label for row in rows if any("changes no answer" in remark for remark in row.remarks)} == {"sft"}


# ---------------------------------------------------------------- titles


def test_tables_have_titles_that_tell_them_apart(tmp_path: Path) -> None:
    judged = {"task__name": "alpaca_eval", "task__judge": "mild", "task__judge_version": "1"}
    for against in ("base", "reference"):
        add(tmp_path, "sft", answers(10), **judged, task__baseline=against)
    add(tmp_path, "gem", answers(10), budget__track="labels+compute", budget__cap_flops=1e12)
    add(tmp_path, "gem", answers(10))
    titles = [x for x in leaderboards.render(leaderboards.tables(tmp_path)).splitlines() if x.startswith("## ")]
    assert len(set(titles)) == len(titles) == 4
    assert "## alpaca_eval against base by judge mild: 32 labels, small-model" in titles
    assert "## alpaca_eval against reference by judge mild: 32 labels, small-model" in titles
    assert any("track labels+compute, cap flops 1000000000000.0" in title for title in titles)


def test_captions_name_the_opponent_too(tmp_path: Path) -> None:
    judged = {"task__name": "alpaca_eval", "task__judge": "mild", "task__judge_version": "1"}
    for against in ("base", "reference"):
        add(tmp_path / "runs", "sft", answers(10), **judged, task__baseline=against)
        add(tmp_path / "runs", "sft", answers(10), **judged, task__baseline=against, budget__min_steps=7)
    found = leaderboards.tables(tmp_path / "runs")
    captions = [x for x in leaderboards.render(found, "latex").splitlines() if x.startswith(r"\caption")]
    assert len(set(captions)) == len(captions) == 4
    assert sum("alpaca\\_eval against base by judge mild, 32 labels" in caption for caption in captions) == 2
    assert sum("(min\\_steps 7)" in caption for caption in captions) == 2


# ---------------------------------------------------------------- what a run looks at


def test_the_table_of_a_run_opens_no_samples_of_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = leaderboards.load.__globals__["_all_samples"]

    def noted(paths: Any) -> Any:
        opened.extend(path.parent.name for path in paths)
        return real(paths)

    add(tmp_path, "base", answers(10))
    mine = add(tmp_path, "sft", answers(12))
    add(tmp_path, "dpo", answers(12))
    other = add(tmp_path, "sft", answers(12), budget__labels=8)
    elsewhere = add(tmp_path, "sft", answers(12), task__name="other")
    record = next(e.record for e in leaderboards.load(tmp_path) if e.folder == mine.name)
    monkeypatch.setitem(leaderboards.load.__globals__, "_all_samples", noted)
    (table,) = leaderboards.tables(tmp_path, beside=[record])
    assert [row.label for row in table.rows] == ["base", "dpo", "sft"]
    assert not {other.name, elsewhere.name} & set(opened)
