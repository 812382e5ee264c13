"""Rows of a table against each other, each figure against the one function that tests two rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.stats import holm, paired_test
from harness.stats.crossed import crossed_difference
from leaderboards import between as rooms
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
    monkeypatch.setattr(rooms, "MOST_METHODS", 2)
    assert [one.own_control for one in one_table(tmp_path).between] == [True]
