"""Preference accuracy, and the task `preference` on made-up pools."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from harness.contracts import (
    Completion,
    Dataset,
    EvalContext,
    GenerateRequest,
    HarnessError,
    JudgedOnRequest,
    JudgeItem,
    NeedsControl,
    Pair,
    Preference,
    PreferRequest,
    SampleRow,
    Task,
    Verdict,
    user,
)
from tasks.measures.preference import METRICS, Margin, accuracies, base_margins, gains, margins
from tasks.pools.pairs import UltraFeedbackPool
from tasks.preference import PreferenceTask, harness_tasks

LIKELIHOODS = {"pref", "pref_sum", "pref_mean", "pref_ratio"}
READINGS = {"pref_gain", "pref_gain_token", "pref", "pref_sum", "pref_mean"}
"""Of a language model that writes nothing."""


class Rows:
    """Pairs of two splits; every third held-out pair shares its prompt with the one before."""

    kind = "folder"

    def __init__(self, folder: str = "ultrafeedback") -> None:
        self.folder = folder

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        if dataset.folder != self.folder:
            raise HarnessError(f"no folder {dataset.folder}")
        numbers = range(12) if split == "pool" else (0, 1, 1, 2, 3, 4)
        return [
            {"prompt": f"{split} question {n}?", "chosen": f"good {k}", "rejected": f"bad answer {k} " * (1 + k % 3)}
            for k, n in enumerate(numbers)
        ]


class FakeAligned:
    """Prefers by `scores` of (chosen, rejected); gives log-probabilities unless `silent`."""

    tokenizer = None
    max_length = 64

    def __init__(self, shift: float = 0.0, silent: bool = False) -> None:
        self.shift, self.silent = shift, silent

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        return [self.one(-float(len(r.a)), -len(r.b) + self.shift * int(r.b.split()[2]), r) for r in requests]

    def one(self, a: float, b: float, request: PreferRequest) -> Preference:
        p_a = 1 / (1 + math.exp(b - a))
        return Preference(p_a, None, None) if self.silent else Preference(p_a, (a, len(request.a)), (b, len(request.b)))


def context(**changes: Any) -> EvalContext:
    start = EvalContext(source=Rows(), limit=None, num_fewshot=0, seed=0, pool=UltraFeedbackPool())  # type: ignore[arg-type]
    return replace(start, **changes)


# ---------------------------------------------------------------- margins


@pytest.mark.core
@pytest.mark.parametrize(
    ("a", "b", "p_a", "base", "expected"),
    [
        ((-4.0, 2), (-6.0, 6), 0.88, ((-4.0, 2), (-6.0, 6)), (1, 1, 0, 0.5)),
        ((-6.0, 6), (-4.0, 2), 0.12, ((-9.0, 6), (-5.0, 2)), (0, 0, 1, 1)),
        ((-4.0, 2), (-4.0, 2), 0.5, ((-5.0, 2), (-4.5, 2)), (0.5, 0.5, 0.5, 1)),
    ],
)
def test_four_readings_of_a_pair(
    a: tuple[float, int], b: tuple[float, int], p_a: float, base: Any, expected: tuple[float, ...]
) -> None:
    found = accuracies(Margin("x", p_a, a, b), Margin("x", 0.5, *base))
    assert tuple(found[name] for name in METRICS) == expected


@pytest.mark.core
def test_a_re_ranker_has_its_own_rule_only() -> None:
    silent = Margin("x", 0.7, None, None)
    assert accuracies(silent, None) == accuracies(silent, Margin("x", 0.1, (-1.0, 1), (-2.0, 1))) == {"pref": 1.0}
    assert accuracies(replace(silent, p_chosen=0.5), None) == {"pref": 0.5}
    spoken = Margin("x", 0.7, (-1.0, 1), (-2.0, 1))
    assert set(accuracies(spoken, silent)) == LIKELIHOODS - {"pref_ratio"}


@pytest.mark.core
@pytest.mark.parametrize(
    ("margin", "base", "expected"),
    [
        (
            ((-4.0, 8), (-5.0, 2)),
            ((-9.0, 8), (-8.0, 2)),
            {"pref_gain": 1.0, "pref_gain_token": 0.0},
        ),  # 5 > 3, 5/8 < 3/2
        (((-4.0, 8), (-5.0, 2)), ((-4.0, 8), (-5.0, 2)), {"pref_gain": 0.5, "pref_gain_token": 0.5}),
        (((-4.0, 8), (-5.0, 2)), None, {"pref_gain": 0.5, "pref_gain_token": 0.5}),
        ((None, None), ((-4.0, 8), (-5.0, 2)), {"pref_gain": 1.0}),
        ((None, None), None, {"pref_gain": 0.5}),
    ],
)
def test_what_was_gained_on_base(margin: Any, base: Any, expected: dict[str, float]) -> None:
    assert gains(Margin("x", 0.9, *margin), base and Margin("x", 0.1, *base)) == expected


@pytest.mark.core
@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Preference(float("nan"), (-1.0, 1), (-1.0, 1)), FloatingPointError, "nan, no probability"),
        (Preference(1.5, None, None), FloatingPointError, "1.5, no probability"),
        (Preference(0.5, (-1.0, 1), None), HarnessError, "both or neither"),
        (Preference(0.5, (-math.inf, 1), (-1.0, 1)), FloatingPointError, "-inf over 1 tokens"),
        (Preference(0.5, (-1.0, 1), (-1.0, 0)), FloatingPointError, "over 0 tokens"),
    ],
)
def test_unusable_answers_raise(answer: Preference, error: type[Exception], said: str) -> None:
    aligned = FakeAligned()
    aligned.prefer = lambda requests: [answer]  # type: ignore[method-assign]
    with pytest.raises(error, match=said):
        margins(aligned, [Pair("p", user("Why?"), "a", "b")])  # type: ignore[arg-type]


# ---------------------------------------------------------------- the task


def test_one_row_per_held_out_pair_and_clusters_are_units() -> None:
    scores = PreferenceTask().evaluate(FakeAligned(), context())  # type: ignore[arg-type]
    held_out = UltraFeedbackPool().pairs(Rows(), "eval")  # type: ignore[arg-type]
    assert [row.id for row in scores.rows] == [pair.id for pair in held_out]
    assert [row.unit for row in scores.rows] == [pair.unit for pair in held_out]
    assert len({row.unit for row in scores.rows}) == 5
    assert all(set(row.values) == READINGS for row in scores.rows)
    assert all(row.values["pref"] == row.values["pref_sum"] == 1.0 for row in scores.rows)
    assert scores.rows[0].detail["prompt"] == [{"role": "user", "content": "eval question 0?"}]
    assert scores.notes["preference_pairs"] == 6


def test_rows_of_base_are_read_back_for_the_ratio() -> None:
    base = {row.id: row for row in PreferenceTask().evaluate(FakeAligned(), context()).rows}  # type: ignore[arg-type]
    found = base_margins(base) or {}
    assert [m.as_detail() for m in found.values()] == [row.detail["preferences"][0] for row in base.values()]
    liked = PreferenceTask().evaluate(FakeAligned(shift=1.0), context(base=base)).rows  # type: ignore[arg-type]
    assert [row.values["pref_gain"] for row in liked] == [0.5, *[0.0] * 5]  # of pair 0 nothing changed
    assert {row.values["pref_gain"] for row in base.values()} == {0.5}, "base gained nothing, by definition"
    silent = PreferenceTask().evaluate(FakeAligned(silent=True), context(base=base)).rows  # type: ignore[arg-type]
    assert all(row.values == {"pref": 1.0, "pref_gain": 1.0} for row in silent), "a ranker's own rule"
    assert base_margins({row.id: row for row in silent})[silent[0].id].chosen is None  # type: ignore[index]


def test_controls_chance_and_limit() -> None:
    train = tuple(UltraFeedbackPool().pairs(Rows()))  # type: ignore[arg-type]
    scores = PreferenceTask().evaluate(FakeAligned(), context(limit=2, training_pairs=train))  # type: ignore[arg-type]
    assert len(scores.rows) == len(PreferenceTask().questions(Rows(), 2)) == 2  # type: ignore[arg-type]
    assert scores.notes["bag_of_words"] == scores.notes["length_only"] == 1.0
    assert (scores.notes["chance"], scores.notes["shortcut_training_pairs"]) == (0.5, 12)


def test_held_out_pairs_of_a_training_question_are_left_out() -> None:
    train = (Pair("t", user("EVAL question 1"), "x", "y"),)
    scores = PreferenceTask().evaluate(FakeAligned(), context(training_pairs=train))  # type: ignore[arg-type]
    assert (len(scores.rows), scores.notes["held_out_leaks"]) == (4, 2)


# ---------------------------------------------------------------- what is written


class Writer(FakeAligned):
    """Answers the n-th distinct prompt by the n-th text."""

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self.texts, self.asked = texts, list[GenerateRequest]()

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        self.asked += requests
        return [[Completion(text, (1,), "stop")] for text in self.texts]


def by_letter(texts: Sequence[str]) -> Any:
    """One direction for texts about what is good, one for the others, one between."""
    import numpy as np

    places = {"good": (1.0, 0.0), "bad": (0.0, 1.0)}
    return np.array([places.get(text.split()[0], (0.6, 0.6)) for text in texts])


def test_answers_are_held_against_both_sides() -> None:
    writer: Any = Writer("good one", "bad one", "so so", "", "good two")
    scores = PreferenceTask(embed=by_letter).evaluate(writer, context(new_tokens=7))
    assert [row.values["pref_written"] for row in scores.rows] == [1, 0, 0, 0.5, 0.5, 1], "one answer to each prompt"
    assert [request.max_new_tokens for request in writer.asked] == [7] * 5
    assert (scores.rows[0].detail["output"], scores.rows[0].detail["finish"]) == ("good one", "stop")
    assert "win_rate" not in scores.rows[0].values


class Shorter:
    """A judge for whom the shorter answer wins; of the answer `good two` it says nothing."""

    name, version = "shorter", "1"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        self.items = items
        return [
            Verdict(float(len(i.a) < len(i.b)), (), "", 3, 0.5, "unjudged" if i.a == "good two" else "ok")
            for i in items
        ]


def test_a_judge_compares_answers_with_the_chosen_one_or_the_baselines() -> None:
    writer: Any = Writer("good one", "good 1", "x", "", "good two")
    judge = Shorter()
    scores = PreferenceTask(embed=by_letter).evaluate(writer, context(judge=judge))
    assert [row.values.get("win_rate") for row in scores.rows] == [0, 0.5, 0, 1, 1, None], "an equal answer is a tie"
    assert {item.b for item in judge.items} <= {f"good {n}" for n in range(6)}
    assert (scores.notes["judge_failed"], scores.notes["judge_cost"]) == (1, 2.5)
    rows = {row.id: SampleRow(row.id, row.unit, {}, {"output": "a very long answer"}) for row in scores.rows}
    against = PreferenceTask(embed=by_letter).evaluate(writer, context(judge=judge, baseline=rows))
    assert [row.values.get("win_rate") for row in against.rows] == [1, 1, 1, 1, 1, None]
    with pytest.raises(HarnessError, match="has no answer among the baseline's rows"):
        PreferenceTask(embed=by_letter).evaluate(writer, context(judge=judge, baseline={}))


class PoemPool(UltraFeedbackPool):
    name: ClassVar[str] = "poems"
    dataset: ClassVar[Dataset] = Dataset(folder="poems", hub="x/poems")


def test_the_pool_of_the_cell_is_the_one_that_is_scored() -> None:
    source: Any = Rows("poems")
    ctx = context(source=source, pool=PoemPool())
    assert len(PreferenceTask().evaluate(FakeAligned(), ctx).rows) == 6  # type: ignore[arg-type]
    task = PreferenceTask().for_pool(PoemPool())
    assert next(iter(task.questions(source, None).values())) == "eval question 0?"
    with pytest.raises(HarnessError, match="no folder ultrafeedback"):
        PreferenceTask().questions(source, None)


def test_a_pool_without_held_out_pairs_is_named() -> None:
    class Bare(PoemPool):
        def pairs(self, source: Any, split: str = "pool") -> Sequence[Pair]:
            return ()

    with pytest.raises(HarnessError, match="pool 'poems' has no held-out pairs"):
        PreferenceTask().evaluate(FakeAligned(), context(pool=Bare()))  # type: ignore[arg-type]


def test_revision_follows_the_held_out_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    source: Any = Rows()
    first = PreferenceTask().revision(source)
    assert first == PreferenceTask().revision(source)
    monkeypatch.setattr(Rows, "rows", lambda *_: [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    assert first != PreferenceTask().revision(source)


@pytest.mark.core
def test_registered() -> None:
    assert harness_tasks() == [PreferenceTask]
    assert isinstance(PreferenceTask(), Task)
    assert PreferenceTask.main_metric == next(iter(PreferenceTask.metrics)) == "pref_gain"
    assert isinstance(PreferenceTask(), JudgedOnRequest) and isinstance(PreferenceTask(), NeedsControl)
