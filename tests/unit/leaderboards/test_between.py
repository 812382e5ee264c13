"""Rows of a table against each other, each figure against the one function that tests two rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.stats import holm, paired_test
from harness.stats.crossed import crossed_difference
from leaderboards import between as rooms
from leaderboards import closing as sentences
from leaderboards.closing import closing
from tests.unit.leaderboards.test_leaderboards import add, answers, one_table

pytestmark = pytest.mark.core

RIGHT = {"dpo": (30, 22, 26), "sft": (25, 25, 20), "gem": (12, 14, 9)}
UNITS = {item: item for item in answers(1)}


def fill(store: Path) -> dict[str, list[dict[str, float]]]:
    """Three methods on three draws, dpo with a run on shuffled labels and one with another setting."""
    add(store, "base", answers(5))
    values: dict[str, list[dict[str, float]]] = {}
    rows = {**RIGHT, "dpo [labels=shuffled]": (11, 20, 15), "dpo [beta=0.5, labels=shuffled]": (3, 3, 3)}
    for label, counts in rows.items():
        for draw, right in enumerate(counts):
            run = answers(right)
            more = {"seed__draw": draw, "seed__training": draw, "data__shuffled_labels": "shuffled" in label}
            changed = {"beta": 0.5} if "beta" in label else {}
            add(store, label.partition(" ")[0], run, **more, aligner__changed=changed, aligner__config=changed)
            values.setdefault(label, []).append(run)
    return values


def mean(runs: list[dict[str, float]]) -> dict[str, float]:
    return {item: sum(run[item] for run in runs) / len(runs) for item in runs[0]}


def test_every_figure_is_that_of_the_paired_test(tmp_path: Path) -> None:
    values = fill(tmp_path)
    found = {(one.first, one.second): one for one in one_table(tmp_path).between}
    assert set(found) == {
        ("dpo", "dpo [labels=shuffled]"),
        ("dpo", "sft"),
        ("dpo", "gem"),
        ("sft", "gem"),
    }
    for (first, second), one in found.items():
        wanted = paired_test(mean(values[first]), mean(values[second]), UNITS)
        assert one.versus.difference == pytest.approx(wanted.difference)
        assert one.versus.p == pytest.approx(wanted.p)
        assert one.versus.ci95 == pytest.approx(wanted.ci95, abs=0.02)  # other random draws of the same items
        assert one.new_draws_ci95 == pytest.approx(crossed_difference(values[first], values[second], UNITS).ci95)
    pairs = [one for one in found.values() if not one.own_control]
    assert [one.p_holm for one in pairs] == holm([one.versus.p for one in pairs if one.versus.p is not None])
    own = found["dpo", "dpo [labels=shuffled]"]
    assert (own.own_control, own.p_holm) == (True, None)


def test_rows_are_compared_on_the_draws_that_both_have(tmp_path: Path) -> None:
    """The same answers on every draw; the one on which all learn more is degenerate for one of the two."""
    add(tmp_path, "base", answers(5))
    for draw, right in enumerate((38, 8, 8)):
        seeds = {"seed__draw": draw, "seed__training": draw}
        add(tmp_path, "sft", answers(right), **seeds)
        add(tmp_path, "dpo", answers(right), **seeds, status="degenerate" if draw == 0 else "ok")
    (found,) = one_table(tmp_path).between
    assert (found.draws, found.versus.difference, found.versus.p) == ((1, 2), 0.0, 1.0)
    assert "-0" not in f"{found.versus.difference:+.3f}"


def test_less_is_better_where_the_task_says_so(tmp_path: Path) -> None:
    for name, right in (("base", 30), ("dpo", 5), ("sft", 35)):
        add(tmp_path, name, answers(right), task__lower_is_better=("accuracy",))
    add(tmp_path, "dpo", answers(28), task__lower_is_better=("accuracy",), data__shuffled_labels=True)
    table = one_table(tmp_path)
    assert [one.versus.difference for one in table.between] == pytest.approx([-0.575, -0.75])
    text = " ".join(closing(table))
    assert "better than an own control (paired, p not adjusted): dpo than dpo [labels=shuffled] (-0.575)." in text
    assert "dpo and sft differ on accuracy by more than chance (paired): dpo over sft (-0.750)." in text


def test_what_did_not_answer_the_same_items_or_is_degenerate_meets_nobody(tmp_path: Path) -> None:
    add(tmp_path, "base", answers(5))
    add(tmp_path, "dpo", answers(30))
    add(tmp_path, "sft", dict(list(answers(30).items())[:-1]))
    add(tmp_path, "gem", answers(30), status="degenerate")
    assert one_table(tmp_path).between == ()


def test_beyond_a_number_of_methods_only_own_controls_are_held_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    for room in rooms, sentences:
        monkeypatch.setattr(room, "MOST_METHODS", 2)
    assert "With more than 2 methods, they are not tested against each other." in closing(one_table(tmp_path))
    assert [one.own_control for one in one_table(tmp_path).between] == [True]


def test_labels_that_change_another_figure_are_named(tmp_path: Path) -> None:
    """The main metric is that of the control; one other figure is not, one is nearly, and one has no items."""
    runs = {"base": (5, 5, 20), "dpo": (30, 31, 22), "shuffled": (30, 4, 20)}
    for name, (accuracy, urgency, length) in runs.items():
        figures = {"accuracy": answers(accuracy), "urgency": answers(urgency), "long": answers(length)}
        add(tmp_path, "dpo" if name == "shuffled" else name, figures, data__shuffled_labels=name == "shuffled")
    table = one_table(tmp_path)
    found = {one.metric: one.between for one in table.on_other_figures}
    assert set(found) == {"urgency", "long"}
    wanted = {name: paired_test(answers(a), answers(b), UNITS) for name, a, b in (("urgency", 31, 4), ("long", 22, 20))}
    for name, one in found.items():
        assert (one.first, one.second) == ("dpo", "dpo [labels=shuffled]")
        assert one.versus.difference == pytest.approx(wanted[name].difference)
        assert one.versus.p == pytest.approx(wanted[name].p)
    tested = [wanted[name].p for name in found]
    assert [one.p_holm for one in found.values()] == holm([p for p in tested if p is not None])
    text = " ".join(closing(table))
    assert "what it gains over base is not shown to come from its labels" in text
    told = "differ by more than chance on other figures (Holm's method over 2 of them): urgency (+0.675)."
    assert f"dpo and dpo [labels=shuffled] {told}" in text
