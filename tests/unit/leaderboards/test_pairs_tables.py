"""Tables of pairs: two rivals to beat, folds as one row, and what a table says of its own limits."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import leaderboards
from harness.stats import Estimate, paired_tests, wilson
from leaderboards.closing import closing
from tests.unit.leaderboards.test_leaderboards import ITEMS, UNITS, add, answers, one_table

pytestmark = pytest.mark.core

HALF = dict.fromkeys(ITEMS, 0.5)
PAIRS: dict[str, Any] = {
    "task__name": "preference",
    "task__main_metric": "pref_gain",
    "task__null_by": "shuffled",
    "task__notes": {"chance": 0.5, "length_only": 0.5, "bag_of_words": 0.6},
}
SHUFFLED: dict[str, Any] = {"data__shuffled_labels": True}


def put(store: Path, aligner: str, gain: Mapping[str, float], written: float | None = None, **more: Any) -> Path:
    values: dict[str, Mapping[str, float]] = {"pref_gain": gain}
    if written is not None:
        values["pref_written"] = dict(
            zip(gain, answers(round(written * len(gain)), of=list(gain)).values(), strict=True)
        )
    return add(store, aligner, values, **{**PAIRS, **more})


def said(store: Path) -> str:
    return "\n".join(closing(one_table(store)))


# ---------------------------------------------------------------- two rivals


@pytest.mark.parametrize(
    ("own", "shuffled", "verdict"),
    [
        (38, 18, "better"),
        (38, 36, "cannot tell"),  # what shuffled labels reach is no finding
        (22, 4, "cannot tell"),  # far from its control, not from one half
        (2, 20, "worse"),
        (30, 40, "cannot tell"),  # above one half, below its control
    ],
)
def test_a_method_must_beat_one_half_and_its_own_shuffled_labels(
    tmp_path: Path, own: int, shuffled: int, verdict: str
) -> None:
    put(tmp_path, "base", HALF)
    put(tmp_path, "dpo", answers(own))
    put(tmp_path, "dpo", answers(shuffled), **SHUFFLED)
    table = one_table(tmp_path)
    row, control = table.row("dpo"), table.row("dpo [labels=shuffled]")
    versus = row.metrics["pref_gain"].versus_base
    assert versus is not None and row.versus_control is not None
    assert (row.verdict, control.verdict, table.family) == (verdict, None, 1)
    assert row.versus_control.difference == pytest.approx((own - shuffled) / 40)
    assert row.p_holm == max(versus.p or 0, row.versus_control.p or 0)
    assert table.mdd == max(versus.mdd or 0, row.versus_control.mdd or 0)


def test_without_its_control_a_method_has_no_verdict_and_the_table_says_what_is_missing(tmp_path: Path) -> None:
    put(tmp_path, "base", HALF)
    put(tmp_path, "dpo", answers(40))
    put(tmp_path, "sft", answers(20))
    put(tmp_path, "sft", answers(20), **SHUFFLED)
    table = one_table(tmp_path)
    assert (table.row("dpo").verdict, table.row("dpo").p_holm, table.family) == (None, None, 1)
    text = said(tmp_path)
    assert "Beside dpo there is no run on shuffled labels" in text
    assert "run again with --control" in text
    assert "The smallest difference in pref_gain" in text
    cells = next(line for line in leaderboards.render([table]).splitlines() if line.startswith("| dpo"))
    assert cells.endswith("| no control |")


@pytest.mark.parametrize("status", ["degenerate", "over_cap"])
def test_a_control_that_is_unfit_is_none(tmp_path: Path, status: str) -> None:
    put(tmp_path, "base", HALF)
    put(tmp_path, "dpo", answers(38))
    put(tmp_path, "dpo", answers(4), **SHUFFLED, status=status, reason="went on")
    table = one_table(tmp_path)
    row = table.row("dpo")
    assert (row.versus_control, row.verdict, row.p_holm, table.family) == (None, None, None, 0)
    cells = next(line for line in leaderboards.render([table]).splitlines() if line.startswith("| dpo |"))
    assert cells.endswith("| no control |")
    text = said(tmp_path)
    assert "The run of dpo on shuffled labels is no result of its method, so that there is no verdict." in text
    assert "there is no run on shuffled labels" not in text
    assert "would have seen" not in text and "would have been seen" not in text, "nothing was tested"


def test_another_configuration_is_no_control(tmp_path: Path) -> None:
    put(tmp_path, "base", HALF)
    put(tmp_path, "dpo", answers(40), aligner__changed={"beta": 0.5})
    put(tmp_path, "dpo", answers(20), **SHUFFLED)
    assert one_table(tmp_path).row("dpo [beta=0.5]").verdict is None


def test_the_headline_names_both_rivals_and_what_is_written(tmp_path: Path) -> None:
    put(tmp_path, "base", HALF, 0.5)
    put(tmp_path, "dpo", answers(38), 0.25)
    put(tmp_path, "dpo", answers(18), 0.5, **SHUFFLED)
    text = leaderboards.render([one_table(tmp_path)])
    head, dpo = (next(x for x in text.splitlines() if x.startswith(start)) for start in ("| aligner", "| dpo |"))
    assert "| Δ base [95 % CI] | Δ labels shuffled [95 % CI] | p (Holm) | pref_written [95 % CI] |" in head.replace(
        "\\", ""
    )
    assert "0.250 [" in dpo
    assert "base has 0.500 by definition" in text
    assert "On pref_gain, better than base and its own shuffled labels: dpo (+0.450 and +0.500)." in said(tmp_path)
    told = "What dpo writes scores -0.250 on pref_written against base's answers, more than chance makes it."
    assert told in said(tmp_path)
    latex = leaderboards.render([one_table(tmp_path)], "latex")
    [printed] = [x for x in latex.splitlines() if x.startswith("dpo &")]
    assert printed.count("&") == len(latex[latex.index(r"\begin{tabular}{") :].split("}", 2)[1].strip("{")) - 1
    assert "$+0.500$" in printed and "0.250" in printed and "better" in printed
    lines = csv.DictReader(io.StringIO(leaderboards.render([one_table(tmp_path)], "csv")))
    line = next(one for one in lines if one["label"] == "dpo" and one["is_main"] == "True")
    assert (float(line["control_difference"]), line["null_by"]) == (0.5, "shuffled")
    assert leaderboards.from_json(leaderboards.render([one_table(tmp_path)], "json")) == [one_table(tmp_path)]


# ---------------------------------------------------------------- folds

FOLDS = 5


def folded(store: Path, aligner: str, gain: Mapping[str, float], *, skip: int | None = None, **more: Any) -> None:
    """One run for every fold of eight items, each on other pairs."""
    for index in range(FOLDS):
        items = ITEMS[index::FOLDS]
        mine: dict[str, Any] = {"data__fold": {"index": index, "of": FOLDS}, "data__pair_ids": [f"not {index}"]}
        mine["task__notes"] = {**PAIRS["task__notes"], "bag_of_words": index / 10}
        if aligner == "base":
            mine["data__pair_ids"] = []
        if index != skip:
            put(store, aligner, {item: gain[item] for item in items}, **mine, **more)


def test_folds_are_one_row_whose_units_count_half(tmp_path: Path) -> None:
    folded(tmp_path, "base", HALF)
    folded(tmp_path, "dpo", answers(36))
    folded(tmp_path, "dpo", answers(20), **SHUFFLED)
    table = one_table(tmp_path)
    assert [row.label for row in table.rows] == ["base", "dpo", "dpo [labels=shuffled]"]
    row = table.row("dpo")
    main = row.metrics["pref_gain"]
    assert (row.seeds, row.n_scored, row.statuses) == (((0, 0),), 1, {"ok": 5})
    assert (main.score.mean, main.score.n, main.score.ci95) == (0.9, 40, wilson(0.9, 20))
    [expected] = paired_tests([answers(36)], HALF, UNITS, inflation=2.0)
    assert main.versus_base is not None and row.versus_control is not None
    assert (main.versus_base.p, main.versus_base.ci95) == (expected.p, expected.ci95)
    assert (row.verdict, table.setting.folds, len(row.records)) == ("better", 5, 5)
    text = leaderboards.render([table])
    assert "a row is the mean of 5 fits a seed" in text
    assert "on 40 items that share their models" in said(tmp_path)


def test_a_row_that_lacks_a_fold_has_no_score(tmp_path: Path) -> None:
    folded(tmp_path, "base", HALF)
    folded(tmp_path, "dpo", answers(36), skip=2)
    row = one_table(tmp_path).row("dpo")
    assert (row.n_scored, row.n_draws, row.scored, row.metrics, row.verdict) == (0, 0, (), {}, None)
    assert "fold 3 has no score (draw 0, seed 0): the seed is left out" in row.remarks


def test_base_has_one_half_without_a_doubt_and_a_method_that_ties_has_not(tmp_path: Path) -> None:
    put(tmp_path / "single", "base", HALF)
    put(tmp_path / "single", "dpo", HALF)
    folded(tmp_path / "folds", "base", HALF)
    for store in ("single", "folds"):
        assert one_table(tmp_path / store).row("base").metrics["pref_gain"].score == Estimate(0.5, (0.5, 0.5), 40)
    low, high = one_table(tmp_path / "single").row("dpo").metrics["pref_gain"].score.ci95 or (0.5, 0.5)
    assert low < 0.46 < 0.54 < high
    older: dict[str, Any] = {"scores": {"accuracy": {"mean": 0.5, "ci95": (0.5, 0.5), "n": 40}}}
    add(tmp_path / "answers", "base", answers(20))
    add(tmp_path / "answers", "dpo", HALF, **older)
    assert one_table(tmp_path / "answers").row("dpo").metrics["accuracy"].score.ci95 == (low, high), "stated before"
    add(tmp_path / "answers", "base", HALF)
    assert one_table(tmp_path / "answers").row("base").metrics["accuracy"].score.ci95 == (low, high), "measured"


def test_folds_and_single_divisions_are_two_tables(tmp_path: Path) -> None:
    folded(tmp_path, "dpo", answers(36))
    put(tmp_path, "dpo", answers(30))
    assert sorted(str(table.setting.folds) for table in leaderboards.tables(tmp_path)) == ["5", "None"]


def test_seeds_of_folds_are_averaged_first_and_notes_over_folds(tmp_path: Path) -> None:
    folded(tmp_path, "base", HALF)
    for seed, right in ((0, 30), (1, 36)):
        folded(tmp_path, "dpo", answers(right), seed__training=seed)
    table = one_table(tmp_path)
    main = table.row("dpo").metrics["pref_gain"]
    assert main.score.mean == pytest.approx(33 / 40)
    assert main.seed_sd == pytest.approx(0.106, abs=1e-3)
    assert table.notes["bag_of_words"] == pytest.approx((0.2, 0.2)), "of folds the mean"


# ---------------------------------------------------------------- what a table says of itself


@pytest.mark.parametrize(
    ("notes", "right", "expected"),
    [
        (
            {"length_only": 0.95},
            38,
            "by length alone (0.95): dpo may have learnt that and nothing else; to learn more, make",
        ),
        ({"bag_of_words": 0.9}, 22, "by a bag of words (0.90): a method that learnt it would have been seen"),
        (
            {"length_only": 0.95, "bag_of_words": 1.0},
            38,
            "by length alone (0.95) and by a bag of words (1.00): dpo may",
        ),
    ],
)
def test_pairs_that_are_told_apart_without_reading(
    tmp_path: Path, notes: dict[str, float], right: int, expected: str
) -> None:
    more = {"task__notes": {**PAIRS["task__notes"], **notes}}
    put(tmp_path, "base", HALF, **more)
    put(tmp_path, "dpo", answers(right), **more)
    put(tmp_path, "dpo", answers(20), **more, **SHUFFLED)
    assert expected in said(tmp_path)


def test_pairs_that_take_reading_are_no_remark(tmp_path: Path) -> None:
    put(tmp_path, "base", HALF, 0.5)
    put(tmp_path, "dpo", answers(38), 0.5)
    put(tmp_path, "dpo", answers(20), 0.5, **SHUFFLED)
    text = said(tmp_path)
    assert not any(words in text for words in ("without reading", "ceiling", "floor", "ties"))


def test_where_everything_ties_it_says_so_and_what_could_have_been_seen(tmp_path: Path) -> None:
    put(tmp_path, "base", HALF)
    put(tmp_path, "dpo", HALF)
    put(tmp_path, "dpo", HALF, **SHUFFLED)
    text = said(tmp_path)
    assert "Every held-out pair ties under dpo" in text
    assert "raise --budget or the learning rate" in text
    mdd = one_table(tmp_path).mdd
    assert mdd is not None
    assert f"would have seen four times in five is {mdd:.3f}" in text


@pytest.mark.parametrize(
    ("right", "expected"), [(40, "the ceiling: at most 0.000 is left"), (0, "the floor: nothing can be worse")]
)
def test_a_base_without_room_is_named(tmp_path: Path, right: int, expected: str) -> None:
    add(tmp_path, "base", answers(right))
    add(tmp_path, "sft", answers(20))
    assert f"base has {right / 40:.3f} on accuracy, {expected}" in said(tmp_path)
