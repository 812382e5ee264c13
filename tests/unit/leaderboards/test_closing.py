"""A table in plain words: findings, their limit, rows that are no results, draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.stats.crossed import crossed_difference
from leaderboards.closing import closing
from tests.unit.leaderboards.test_leaderboards import add, answers, one_table

pytestmark = pytest.mark.core


def said(store: Path) -> str:
    return "\n".join(closing(one_table(store)))


def test_where_nothing_can_be_told_apart_it_says_so_and_how_much_it_could_have_seen(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "sft", answers(11))
    mdd = one_table(tmp_path).mdd
    assert mdd is not None
    text = said(tmp_path)
    assert "Nothing in this table can be told apart from base: sft may be better, worse or the same." in text
    assert f"would have seen four times in five is {mdd:.3f}, on 40 independent items" in text
    assert "better than base" not in text


def test_what_is_found_is_named_with_its_difference_and_the_rest_stays_open(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(20))
    for name, right in (("dpo", 38), ("sft", 2), ("gem", 21)):
        add(tmp_path, name, answers(right))
    text = said(tmp_path)
    assert "On accuracy, better than base: dpo (+0.450)." in text
    assert "On accuracy, worse than base: sft (-0.450)." in text
    assert "The table cannot tell gem from base." in text
    assert "Nothing" not in text


@pytest.mark.parametrize(("reached", "falls"), [(38, True), (37, False)])
def test_a_gain_falls_where_a_control_does_as_well(tmp_path: Path, reached: int, *, falls: bool) -> None:
    add(tmp_path, "base", answers(20))
    add(tmp_path, "dpo", answers(38))
    add(tmp_path, "random", answers(reached))
    sentence = (
        "random, a control, does as well on accuracy, and dpo has no control of its own here: what it gains over base "
        "is not shown to come from its labels."
    )
    assert (sentence in said(tmp_path)) is falls


def test_a_method_without_a_part_says_nothing_of_the_labels_of_others(tmp_path: Path) -> None:
    """gem without its second phase is sft: it learns from the labels, and is no control of sft."""
    add(tmp_path, "base", answers(20))
    add(tmp_path, "sft", answers(38))
    add(tmp_path, "gem", answers(37))
    for part, reached in ({"optimise": "none"}, 38), ({"weights": "random"}, 36):
        add(tmp_path, "gem", answers(reached), aligner__changed=part, aligner__config=part)
    text = said(tmp_path)
    for part, difference in ("optimise=none", "-0.025"), ("weights=random", "+0.025"):
        assert f"gem is not shown to be better on accuracy than gem [{part}] ({difference} [" in text
    assert text.count("nothing that it gains is shown to come from the part left out") == 2
    assert "from its labels" not in text
    shuffled = {"optimise": "none", "labels": "shuffled"}
    add(tmp_path, "gem", answers(38), aligner__changed=shuffled, aligner__config=shuffled, data__shuffled_labels=True)
    assert "sft has no control of its own here: what it gains over base is not shown" in said(tmp_path)


def test_an_own_control_falls_only_where_the_test_on_the_same_items_says_so(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(5))
    shuffled = {"aligner__changed": {}, "data__shuffled_labels": True}
    for name, own, exchanged in (("dpo", 35, 12), ("sft", 30, 29)):
        add(tmp_path, name, answers(own))
        add(tmp_path, name, answers(exchanged), **shuffled)
    text = said(tmp_path)
    assert "better than an own control (paired, p not adjusted): dpo than dpo [labels=shuffled] (+0.575)." in text
    assert "sft is not shown to be better on accuracy than sft [labels=shuffled] (+0.025 [" in text
    assert "dpo is not shown" not in text
    swapped = {"context": "swapped"}
    add(tmp_path, "gpo", answers(31))
    add(tmp_path, "gpo", answers(30), aligner__changed=swapped, aligner__config=swapped)
    sentence = "what it gains over base is not shown to come from its own context."
    assert any(one.startswith("gpo is not") and one.endswith(sentence) for one in said(tmp_path).splitlines())
    assert "does as well" not in text, "another method's control says nothing beside a test of the own one"


def test_methods_are_told_apart_from_each_other(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(5))
    add(tmp_path, "dpo", answers(35))
    add(tmp_path, "sft", answers(34))
    assert "dpo and sft cannot be told apart on accuracy." in said(tmp_path)
    other = tmp_path / "other"
    for name, right in (("base", 5), ("dpo", 35), ("sft", 15)):
        add(other, name, answers(right))
    assert "dpo and sft differ on accuracy by more than chance (paired): dpo over sft (+0.500)." in said(other)
    add(tmp_path, "gem", answers(12))
    assert (
        "Of the 3 pairs of methods, 2 differ on accuracy by more than chance (paired, Holm's method over the pairs): "
        "dpo over gem (+0.575), sft over gem (+0.550); not told apart: dpo and sft."
    ) in said(tmp_path)
    assert "For new draws" not in said(tmp_path), "one draw says nothing of others"


@pytest.mark.parametrize(
    ("sft", "told"),
    [
        ((30, 31, 29), "leaves out 0 for sft over dpo (+0.500)"),
        ((38, 12, 31), "For none of these differences"),
    ],
)
def test_whether_methods_differ_on_new_draws_is_said_beside_it(tmp_path: Path, sft: tuple[int, ...], told: str) -> None:
    add(tmp_path, "base", answers(5))
    for draw, right in enumerate(sft):
        seeds = {"seed__draw": draw, "seed__training": draw}
        add(tmp_path, "sft", answers(right), **seeds)
        add(tmp_path, "dpo", answers(10), **seeds)
    assert told in said(tmp_path)


def test_too_few_items_for_any_difference_are_called_so(tmp_path: Path) -> None:
    few = [f"q{i:02}" for i in range(4)]
    add(tmp_path, "base", answers(1, of=few))
    add(tmp_path, "sft", answers(3, of=few))
    assert "No difference in accuracy, however large, would have been seen reliably on 4 independent" in said(tmp_path)


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("33% of the scored samples were split by the marker, 80% are needed", "--set lengths.new_tokens"),
        ("both answers of all 32 labelled pairs are equal once cut to the study's length", "--set lengths.completion"),
        ("60% of the samples were cut off, at most 25% may be", "--set lengths.new_tokens"),
        ("the loss did not fall: 1.0 at the start, 1.1 at the end", "raise --budget"),
    ],
)
def test_a_degenerate_row_says_why_and_what_to_change(tmp_path: Path, reason: str, advice: str) -> None:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "gem", answers(38), status="degenerate", reason=reason)
    text = said(tmp_path)
    assert f"gem: degenerate (draw 0, seed 0): {reason}. Such a run is no result of its method; to change" in text
    assert advice in text
    assert "No method in this table is compared with base" in text
    assert "smallest difference" not in text


def test_one_draw_says_nothing_of_others_nor_one_seed(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "sft", answers(11))
    assert "one draw of the labels: it says nothing of other draws, and one training seed nothing of" in said(tmp_path)
    add(tmp_path, "sft", answers(12), seed__training=1)
    assert "one draw of the labels: it says nothing of other draws." in said(tmp_path)
    for seed in (0, 1):
        add(tmp_path, "sft", answers(12), seed__training=seed, seed__draw=1, data__pair_ids=["c", "d"])
    assert "one draw" not in said(tmp_path)


def test_seeds_that_are_left_out_are_no_seeds_that_a_score_is_of(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "gem", answers(20))
    for seed in (1, 2):
        add(tmp_path, "gem", answers(20), seed__training=seed, status="degenerate", reason="flat")
    assert "and one training seed nothing of other seeds" in said(tmp_path)


def test_the_spread_of_degenerate_runs_is_no_spread_of_a_method(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    for draw, right in enumerate((10, 40)):
        add(tmp_path, "sft", answers(20 + draw), seed__draw=draw)
        add(tmp_path, "gem", answers(right), seed__draw=draw, status="degenerate", reason="flat")
    assert "varies most for sft (0.018), by its standard deviation" in said(tmp_path)


def test_where_no_row_is_tested_nothing_is_said_of_what_a_test_would_have_seen(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    add(tmp_path, "gem", answers(30), status="degenerate", reason="flat")
    assert "have seen" not in said(tmp_path)
    assert "have been seen" not in said(tmp_path)


def test_where_less_is_better_the_ends_of_the_scale_change_places(tmp_path: Path) -> None:
    for right, told in (
        (0, "base has 0.000 on accuracy, the floor: at most 0.000 is left to be gained here"),
        (40, "base has 1.000 on accuracy, the ceiling: nothing can be worse here"),
    ):
        store = tmp_path / str(right)
        for name, count in (("base", right), ("sft", 20)):
            add(store, name, answers(count), task__lower_is_better=("accuracy",))
        assert told in said(store)


def test_base_alone_shows_nothing_about_methods(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    assert said(tmp_path) == "No method in this table is compared with base, so that it shows nothing about methods."


def test_several_draws_say_what_their_intervals_are_of_and_how_far_runs_differ(tmp_path: Path) -> None:
    """An interval over questions is narrow also where one draw has twice the score of another."""
    add(tmp_path, "base", answers(10))
    for draw, right in enumerate((30, 14, 20)):
        add(tmp_path, "sft", answers(right), seed__draw=draw, seed__training=draw)
        add(tmp_path, "orpo", answers(20), seed__draw=draw, seed__training=draw)
    assert (
        "Intervals and p are for new questions on these 3 draws of the labels, not for new draws. From run to run, "
        "accuracy varies most for sft (0.202), by its standard deviation."
    ) in said(tmp_path).splitlines()
    (sft,) = [row for row in one_table(tmp_path).rows if row.label == "sft"]
    values = [{f"q{i}": float(i < right) for i in range(40)} for right in (30, 14, 20)]
    base = {f"q{i}": float(i < 10) for i in range(40)}
    expected = crossed_difference(values, [base], {name: name for name in base}).ci95
    assert sft.new_draws_ci95 == pytest.approx(expected)
    assert expected is not None
    assert expected[0] < 0 < expected[1], "while the questions alone leave no doubt"
    assert (
        f"For new draws and questions, the 95 % interval of the difference in accuracy to base is [{expected[0]:+.3f}, "
        f"{expected[1]:+.3f}] for sft"
    ) in said(tmp_path)


def test_one_draw_has_no_interval_for_new_ones(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    for seed in (0, 1):
        add(tmp_path, "sft", answers(30 + seed), seed__training=seed)
    assert [row.new_draws_ci95 for row in one_table(tmp_path).rows] == [None, None]
    assert "For new draws" not in said(tmp_path)


def test_many_methods_are_counted_and_reasons_stay_on_their_line(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(10))
    for name in ("a", "b", "c", "d"):
        add(tmp_path, name, answers(11))
    add(tmp_path, "e", answers(11), status="degenerate", reason="two\nlines")
    table = one_table(tmp_path)
    assert "4 methods may be better, worse or the same" in "\n".join(closing(table))
    assert all("\n" not in sentence for sentence in closing(table))
