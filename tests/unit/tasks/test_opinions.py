"""The opinion tasks on made-up groups: measures, what is asked, seen and unseen, swapped context."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from harness.contracts import ChooseRequest, EvalContext, HarnessError, Rating, Ratings, Task, user
from tasks.datasets.opinions import rating
from tasks.opinions import GlobalOpinions, OpinionQA, harness_tasks, jensen_shannon, places, wasserstein
from tasks.pools.opinions import OpinionQAPool

pytestmark = pytest.mark.core

OPTIONS = ("Often", "Sometimes", "Never")
SHARES = {
    "a": {"q0": (0.5, 0.3, 0.2), "q1": (0.1, 0.1, 0.8), "q2": (0.2, 0.2, 0.6), "q3": (0.3, 0.3, 0.4)},
    "b": {"q0": (0.2, 0.2, 0.6), "q1": (0.6, 0.2, 0.2), "q2": (0.9, 0.1, 0.0), "q3": (0.4, 0.5, 0.1)},
    "c": {"q0": (0.1, 0.2, 0.7), "q2": (0.3, 0.4, 0.3)},
}


def made(question: str, shares: Sequence[float]) -> Rating:
    return replace(rating(f"Question: {question}?", OPTIONS, shares, "made"), question=question)


GROUPS: Ratings = {g: tuple(made(q, s) for q, s in by.items()) for g, by in SHARES.items()}


class FakePool(OpinionQAPool):
    name: ClassVar[str] = "made"

    def groups(self, source: Any) -> Ratings:
        return GROUPS


class Oracle:
    """Answers with what the group itself said; counts what it is asked."""

    tokenizer = None
    max_length = 64

    def __init__(self) -> None:
        self.asked: list[ChooseRequest] = []

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        self.asked += requests
        return [[math.log(p) if p else -math.inf for p in self.shares(request)] for request in requests]

    def shares(self, request: ChooseRequest) -> Sequence[float]:
        question = request.prompt[-1].content.removeprefix("Question: ").removesuffix("?")
        assert request.group is not None
        return SHARES[request.group].get(question, (0.2, 0.3, 0.5))


class Uniform(Oracle):
    def shares(self, request: ChooseRequest) -> Sequence[float]:
        return [1 / len(request.options)] * len(request.options)


def context(**changes: Any) -> EvalContext:
    """Targets a and b with q0 as context; c is auxiliary and knows q2: q1 and q3 are unseen."""
    shown = {group: GROUPS[group][:1] for group in ("a", "b")}
    auxiliary = {"c": GROUPS["c"]}
    start = EvalContext(source=None, limit=None, num_fewshot=0, seed=0)  # type: ignore[arg-type]
    return replace(start, **{"pool": FakePool(), "groups": shown, "auxiliary": auxiliary, **changes})


def evaluate(ctx: EvalContext, aligned: Any = None, task: Any = OpinionQA) -> Any:
    return task().evaluate(aligned or Oracle(), ctx)


# ---------------------------------------------------------------- measures


def test_wasserstein_by_hand() -> None:
    assert wasserstein(OPTIONS, (1, 0, 0), (0, 0, 1)) == 0.0
    assert wasserstein(OPTIONS, (1, 0, 0), (0, 1, 0)) == 0.5
    assert wasserstein(OPTIONS, (0.2, 0.3, 0.5), (0.2, 0.3, 0.5)) == 1.0
    gold, predicted = (0.5, 0.25, 0.25), (0.1, 0.4, 0.5)
    moved = np.abs(np.cumsum(gold) - np.cumsum(predicted)).sum() / 2
    assert wasserstein(OPTIONS, gold, predicted) == pytest.approx(1 - moved)


def test_options_off_the_scale_leave_both_distributions() -> None:
    options = ("Good", "Bad", "DK/Refused")
    assert wasserstein(options, (0.3, 0.1, 0.6), (0.75, 0.25, 0.0)) == pytest.approx(1.0)
    assert wasserstein(options, (0.0, 0.0, 1.0), (0.5, 0.5, 0.0)) is None
    assert wasserstein(options, (0.5, 0.5, 0.0), (0.0, 0.0, 1.0)) == 0.0
    assert wasserstein(("Yes", "Not sure"), (0.5, 0.5), (0.5, 0.5)) is None
    assert jensen_shannon((0.3, 0.1, 0.6), (0.75, 0.25, 0.0)) < 0.6


@pytest.mark.parametrize(
    "option",
    ["DK/Refused", "Don't know", "Not sure", "No answer", "Missing; Not available", "Depends (VOL)",
     "Other missing; Multiple answers Mail (EVS)"],
)  # fmt: skip
def test_no_place_for_no_answer(option: str) -> None:
    assert places(("Yes", option, "No")) == (0, 2)


@pytest.mark.parametrize("option", ["Not a problem", "None at all", "Not mentioned", "No", "Neither", "Volatile"])
def test_answers_that_only_look_like_none_keep_their_place(option: str) -> None:
    assert places(("Yes", option)) == (0, 1)


def test_jensen_shannon_is_scipys_and_never_no_number() -> None:
    rng = np.random.default_rng(0)
    for p, q in zip(rng.dirichlet(np.ones(5), 50), rng.dirichlet(np.ones(5), 50), strict=True):
        assert jensen_shannon(list(p), list(q)) == pytest.approx(1 - float(jensenshannon(p, q)), abs=1e-12)
        assert jensen_shannon(list(p), list(p + 1e-17 * q)) == pytest.approx(1.0, abs=1e-7)
    assert jensen_shannon((1, 0), (0, 1)) == pytest.approx(1 - math.sqrt(math.log(2)))


def test_broken_distributions_raise() -> None:
    with pytest.raises(FloatingPointError, match="sums to 0"):
        jensen_shannon((0.5, 0.5), (0.0, 0.0))
    with pytest.raises(FloatingPointError, match="nan"):
        jensen_shannon((0.5, 0.5), (math.nan, 0.5))


# ---------------------------------------------------------------- what is asked


def test_every_rating_but_the_context_is_asked_and_unseen_questions_lead() -> None:
    scores = evaluate(context())
    assert [row.id for row in scores.rows] == [f"{group}: {q}" for group in "ab" for q in ("q1", "q2", "q3")]
    assert [row.unit for row in scores.rows] == ["q1", "q2", "q3"] * 2
    for row in scores.rows:
        part = "seen" if row.unit == "q2" else "unseen"
        assert {f"wasserstein_{part}", f"jensen_shannon_{part}", "wasserstein"} <= set(row.values)
        assert ("similarity" in row.values) == ("similarity_swapped" in row.values) == (part == "unseen")
        assert row.values["jensen_shannon"] == pytest.approx(1.0)
        assert set(row.values) <= set(OpinionQA.metrics)
    assert scores.notes["unseen_questions"] == 2
    assert (scores.notes["groups"], scores.notes["context_labels"]) == (2, 1)
    assert (scores.notes["auxiliary_groups"], scores.notes["auxiliary_labels"]) == (1, 2)


def test_requests_carry_labels_options_and_group() -> None:
    aligned = Oracle()
    evaluate(context(), aligned)
    first = aligned.asked[0]
    assert first == ChooseRequest(user("Question: q1?"), ("A", "B", "C"), OPTIONS, "a")
    assert len(aligned.asked) == len(set(aligned.asked)) == 6  # a swapped question is asked anyway


def test_without_unseen_questions_all_rows_lead() -> None:
    scores = evaluate(context(auxiliary={"c": (*GROUPS["c"], *GROUPS["a"])}))
    assert all("similarity" in row.values and "wasserstein_seen" in row.values for row in scores.rows)
    assert "uniform_unseen" not in scores.notes


def test_swapped_context_tells_the_groups_apart() -> None:
    rows = [row for row in evaluate(context()).rows if "similarity" in row.values]
    assert all(row.values["similarity"] > row.values["similarity_swapped"] for row in rows)
    expected = wasserstein(OPTIONS, SHARES["a"]["q1"], SHARES["b"]["q1"])
    assert rows[0].values["similarity_swapped"] == pytest.approx(expected)
    same = [row for row in evaluate(context(), Uniform()).rows if "similarity" in row.values]
    assert all(row.values["similarity"] == row.values["similarity_swapped"] for row in same)
    alone = evaluate(context(groups={"a": GROUPS["a"][:1]}))
    assert not any("similarity_swapped" in row.values for row in alone.rows)


@pytest.mark.parametrize("task", [OpinionQA, GlobalOpinions])
def test_each_task_has_its_own_measure_and_reports_uniforms_score(task: Any) -> None:
    scores = evaluate(context(), Uniform(), task)
    own = "wasserstein" if task is OpinionQA else "jensen_shannon"
    unseen = [row for row in scores.rows if "similarity" in row.values]
    assert all(row.values["similarity"] == row.values[own] for row in unseen)
    assert scores.notes["uniform"] == pytest.approx(np.mean([row.values[own] for row in scores.rows]))
    assert scores.notes["uniform_unseen"] == pytest.approx(np.mean([row.values[own] for row in unseen]))


@pytest.mark.parametrize("task", [OpinionQA, GlobalOpinions])
def test_the_mean_of_the_auxiliary_groups_stands_beside_the_scores(task: Any) -> None:
    told = {"c": GROUPS["c"], "d": (made("q2", (0.9, 0.1, 0.0)),)}
    scores = evaluate(context(auxiliary=told), Uniform(), task)
    mean = (0.6, 0.25, 0.15)
    measure = jensen_shannon if task is GlobalOpinions else functools.partial(wasserstein, OPTIONS)
    expected = [measure(SHARES[group]["q2"], mean) for group in "ab"]
    assert scores.notes["mean_of_groups_seen"] == pytest.approx(np.mean(expected))
    assert "mean_of_groups_seen" not in evaluate(context(auxiliary={}), Uniform(), task).notes


def test_limit_counts_questions() -> None:
    assert {row.unit for row in evaluate(context(limit=2)).rows} == {"q1", "q2"}


def test_a_row_without_a_scale_has_the_other_measure() -> None:
    bare = replace(made("q9", (0.0, 0.0, 1.0)), options=("Yes", "No", "Not sure"))

    class Pool(FakePool):
        def groups(self, source: Any) -> Ratings:
            return {"a": (*GROUPS["a"], bare)}

    scores = evaluate(context(pool=Pool(), groups={"a": GROUPS["a"][:1]}), Uniform())
    assert set(scores.rows[-1].values) == {"jensen_shannon", "jensen_shannon_unseen"}
    assert scores.notes["without_scale"] == 1


def test_cells_without_groups_are_refused() -> None:
    with pytest.raises(HarnessError, match=r"no target groups; .* the pool is 'made'"):
        evaluate(context(groups={}))
    with pytest.raises(HarnessError, match="nothing is left to ask"):
        evaluate(context(groups={"a": GROUPS["a"], "b": GROUPS["b"]}))


@pytest.mark.parametrize("answer", [[-1.0, -1.0, -1.0], [math.nan, -1.0, -1.0], [0.0, 0.0, 0.0]])
def test_answers_that_are_no_distribution_raise(answer: list[float]) -> None:
    aligned = Oracle()
    aligned.choose = lambda requests: [answer for _ in requests]  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match="group 'a', question 'q1'"):
        evaluate(context(), aligned)


def test_registered() -> None:
    assert harness_tasks() == [OpinionQA, GlobalOpinions]
    for task in harness_tasks():
        assert isinstance(task(), Task)
        assert task.main_metric in task.metrics
        assert task().questions(None, None) == {}  # type: ignore[arg-type]
