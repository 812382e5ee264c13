"""The task care_protocol on made-up rows and models: what each metric sees, units, guards against collapse, pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.contracts import (
    Completion,
    Dataset,
    EvalContext,
    GenerateRequest,
    HarnessError,
    Message,
    Pair,
    Preference,
    PreferRequest,
    Scores,
    Task,
    user,
)
from harness.stats import mean_interval
from tasks import care_protocol
from tasks.care_protocol import NEW_TOKENS, CareProtocol
from tasks.datasets.care_rules import LEVELS, RULES
from tasks.measures.preference import METRICS as PREFERENCE


def answer(level: str, advice: str = "You should rest.") -> str:
    return f"Urgency: {level}\n{advice}\nWhat to watch for:\n- a fever\n- a rash\nHow do you feel?"


def row(place: int, level: str) -> dict[str, str]:
    wrong = LEVELS[(LEVELS.index(level) + 1) % len(LEVELS)]
    return {
        "id": f"eval-{place}",
        "scenario": f"s{place // 2}",
        "level": level,
        "question": f"Question {place}?",
        "chosen": answer(level, f"You should rest {place} days."),
        "rejected": answer(wrong, f"You should rest {place} days."),
    }


ROWS = [row(place, LEVELS[place // 2]) for place in range(8)]


class Rows:
    kind = "folder"

    def __init__(self, rows: Sequence[Mapping[str, Any]] = ROWS) -> None:
        self.given = rows

    def describe(self) -> str:
        return "rows"

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        assert (dataset.folder, split) == ("care_protocol", "eval")
        return self.given


def embed(texts: Sequence[str]) -> Any:
    """Equal texts are as near as can be, others at right angles."""
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    return np.eye(len(places), dtype=np.float32)[[places[text] for text in texts]]


class Silent:
    """Answers with what `says` makes of the question, and prefers nothing."""

    def __init__(self, says: Callable[[str], str], finish: Any = "stop") -> None:
        self.says, self.finish = says, finish
        self.asked: list[GenerateRequest] = []

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        self.asked += requests
        texts = [self.says(request.context[-1].content) for request in requests]  # type: ignore[union-attr]
        return [[Completion(text, tuple(range(len(text.split()))), self.finish)] for text in texts]


class Model(Silent):
    """Prefers the answers in `liked`, too."""

    def __init__(self, says: Callable[[str], str], liked: Sequence[str] = (), finish: Any = "stop") -> None:
        super().__init__(says, finish)
        self.liked = tuple(liked)

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        found = []
        for request in requests:
            a, b = (-1.0 if text in self.liked else -9.0 for text in (request.a, request.b))
            found.append(Preference(1 / (1 + math.exp(b - a)), (a, 5), (b, 5)))
        return found


class Ranker:
    """Prefers and cannot write."""

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        return [Preference(0.5, None, None) for _ in requests]


def perfect(question: str) -> str:
    return next(row["chosen"] for row in ROWS if row["question"] == question)


def context(**changes: Any) -> EvalContext:
    return replace(EvalContext(source=Rows(), limit=None, num_fewshot=0, seed=0), **changes)  # type: ignore[arg-type]


def evaluate(model: Any, **changes: Any) -> Scores:
    return CareProtocol(embed).evaluate(model, context(**changes))


def means(scores: Scores) -> dict[str, float]:
    names = {name for row in scores.rows for name in row.values}
    return {name: float(np.mean([r.values[name] for r in scores.rows if name in r.values])) for name in names}


def test_it_is_a_task_whose_metrics_are_all_explained() -> None:
    assert isinstance(CareProtocol(), Task)
    assert care_protocol.harness_tasks() == [CareProtocol]
    scores = evaluate(Model(perfect))
    assert {*means(scores), *scores.whole} == set(CareProtocol.metrics)
    assert set(RULES) < set(CareProtocol.metrics)


def test_the_reference_answers_are_perfect() -> None:
    scores = evaluate(Model(perfect, liked=[row["chosen"] for row in ROWS]))
    found = means(scores)
    for name in ("adherence", "urgency_acc", "all_rules", "closeness", "pref", *RULES):
        assert found[name] == pytest.approx(1.0), name
    assert found["truncated"] == 0.0
    assert found["answer_words"] == 19.25
    assert scores.whole["same_level"].value == 0.25


def test_a_wrong_level_keeps_the_rules_and_costs_the_level_alone() -> None:
    found = means(evaluate(Model(lambda question: answer("today"))))
    assert (found["adherence"], found["all_rules"]) == (1.0, 1.0)
    assert found["urgency_acc"] == 0.25


def test_one_broken_rule_costs_a_sixth() -> None:
    scores = evaluate(Model(lambda question: answer("today").replace("How do you feel?", "Get well soon.")))
    found = means(scores)
    assert found["adherence"] == pytest.approx(5 / 6)
    assert (found["all_rules"], found["closing_question"], found["watch_list"]) == (0.0, 0.0, 1.0)


def test_an_empty_answer_is_worth_nothing() -> None:
    scores = evaluate(Silent(lambda question: " "))
    found = means(scores)
    assert {name: found[name] for name in ("adherence", "urgency_acc", "all_rules", "closeness", "answer_words")} == {
        "adherence": 0.0,
        "urgency_acc": 0.0,
        "all_rules": 0.0,
        "closeness": 0.0,
        "answer_words": 0.0,
    }
    assert scores.whole["distinct_2"].value == 0.0
    assert scores.whole["same_level"].value == 1.0


def test_the_same_answer_to_everybody_shows_in_the_guards() -> None:
    varied, same = (evaluate(Model(says)) for says in (perfect, lambda question: answer("today")))
    assert same.whole["distinct_2"].value == pytest.approx(1 / 8)
    assert varied.whole["distinct_2"].value > 2 * same.whole["distinct_2"].value
    assert same.whole["same_level"].value == 1.0
    for scores in (varied, same):
        for whole in scores.whole.values():
            assert whole.n == 4
            assert whole.ci95 is not None
            assert 0.0 <= whole.ci95[0] <= whole.value <= whole.ci95[1] <= 1.0
    assert evaluate(Model(perfect), limit=2).whole["distinct_2"].ci95 is None, (
        "a single scenario says nothing of others"
    )


def test_scenarios_are_the_units() -> None:
    rows = evaluate(Model(perfect)).rows
    written = [row for row in rows if "adherence" in row.values]
    assert mean_interval([row.values["adherence"] for row in written], [row.unit for row in written]).n == 4
    assert {row.unit for row in rows} == {"s0", "s1", "s2", "s3"}


def test_answers_cut_off_at_the_limit_are_counted() -> None:
    assert means(evaluate(Model(perfect, finish="length")))["truncated"] == 1.0


def test_requests_are_greedy_and_hold_the_demonstrations_alone() -> None:
    model = Model(perfect)
    shown = Pair("p", user("Is tea safe?"), "Urgency: self-care", "No.")
    evaluate(model, num_fewshot=1, demonstrations=(shown, shown), limit=1)
    (request,) = model.asked
    assert (request.max_new_tokens, request.temperature) == (NEW_TOKENS, 0.0)
    assert isinstance(request.context, tuple)
    assert request.context == (
        Message("user", "Is tea safe?"),
        Message("assistant", "Urgency: self-care"),
        Message("user", "Question 0?"),
    )


def test_pairs_are_read_as_the_preference_task_reads_them() -> None:
    liked = [row["chosen"] for row in ROWS[:4]] + [row["rejected"] for row in ROWS[4:]]
    base = {row.id: row for row in evaluate(Model(perfect)).rows}
    scores = evaluate(Model(perfect, liked), base=base)
    pairs = [row for row in scores.rows if row.id.startswith("pair:")]
    assert len(pairs) == 8
    assert set(pairs[0].values) == set(PREFERENCE)
    assert means(scores)["pref"] == means(scores)["pref_ratio"] == 0.5
    assert scores.notes["preference_pairs"] == 8.0
    with pytest.raises(HarnessError, match="missing from the base model's rows"):
        evaluate(Model(perfect), base={})


def test_a_model_that_cannot_prefer_has_the_answers_alone() -> None:
    scores = evaluate(Silent(perfect))
    assert not {*means(scores)} & set(PREFERENCE)
    assert scores.notes == {}


def test_a_model_that_cannot_write_is_refused_in_one_sentence() -> None:
    with pytest.raises(HarnessError, match=r"care_protocol.*generate"):
        evaluate(Ranker())


def test_limit_takes_questions_with_their_pairs() -> None:
    assert [row.id for row in evaluate(Model(perfect), limit=1).rows] == ["eval-0", "pair:eval-0"]
    assert CareProtocol().questions(Rows(), 1) == {"eval-0": "Question 0?"}  # type: ignore[arg-type]


def test_the_revision_changes_with_a_row() -> None:
    other = Rows([*ROWS[:-1], ROWS[-1] | {"chosen": "Rest."}])
    assert CareProtocol().revision(Rows()) != CareProtocol().revision(other)  # type: ignore[arg-type]


def test_the_revision_changes_with_the_version_of_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    now = CareProtocol().revision(Rows())  # type: ignore[arg-type]
    monkeypatch.setattr(care_protocol, "VERSION", "1")
    assert CareProtocol().revision(Rows()) != now  # type: ignore[arg-type]
