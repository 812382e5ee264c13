"""The GSM8K pool: pairs with one false step, prompts, verifier, revision; and the reasons for giving no pair."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import pytest

from harness.contracts import Dataset, GoldAnswers, HarnessError, Pool, SourceKind
from harness.data.sources import SampleSource
from tasks.datasets.final_numbers import final_number
from tasks.datasets.gsm8k import DOCUMENTS
from tasks.datasets.worked_solutions import Unsound, evaluate, is_true, number, parse, plain, written
from tasks.pools.false_steps import alter
from tasks.pools.gsm8k import SYSTEM, Gsm8kPool, gives_number, harness_pools

pytestmark = pytest.mark.core

QUESTION = (
    "A shed holds 6 crates of 14 melons. Nine melons are bad and the rest are sold at $3 each. What do they bring?"
)
STEPS = (
    "There are 6 * 14 = <<6*14=84>>84 melons.\n"
    "Of the 84 melons 84 - 9 = <<84-9=75>>75 are good.\n"
    "They bring $225, because 75 * 3 = $<<75*3=225>>225."
)
ROW = {"id": "r1", "question": QUESTION, "answer": f"{STEPS}\n#### 225"}
LONE = {"id": "r2", "question": "What is 2 + 3?", "answer": "It is five.\n#### 5"}


class _Rows:
    kind: SourceKind = "sample"

    def __init__(self, *rows: Mapping[str, Any]) -> None:
        self._rows = rows

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        assert (dataset.folder, dataset.hub, dataset.config) == ("gsm8k", "openai/gsm8k", "main")
        return self._rows


def alterations(question: str, solution: str, answer: str) -> list[Any]:
    return [alter(question, solution, answer, str(seed)) for seed in range(60)]


def reason(question: str, solution: str, answer: str) -> str:
    with pytest.raises(Unsound) as caught:
        alter(question, solution, answer, "seed")
    return str(caught.value)


# ---------------------------------------------------------------- the pool


def test_it_is_a_pool() -> None:
    assert harness_pools() == [Gsm8kPool]
    assert isinstance(Gsm8kPool(), Pool)
    assert Gsm8kPool.dataset.splits == {"pool": "train", "eval": "test"}
    assert Gsm8kPool().groups(_Rows(ROW)) == {}


def test_a_pair_is_a_solution_and_itself_with_a_false_step() -> None:
    (pair,) = Gsm8kPool().pairs(_Rows(ROW))
    system, question = pair.prompt
    assert (system.role, system.content, question.content) == ("system", SYSTEM, QUESTION)
    assert (pair.id, pair.unit) == ("r1", "r1")
    assert pair.chosen.endswith("75 * 3 = $225.\nFinal Answer: 225")
    assert final_number(pair.rejected) not in (None, Fraction(225))
    assert len(pair.rejected) == len(pair.chosen)
    for side in (pair.chosen, pair.rejected):
        assert "<<" not in side and "####" not in side
        assert re.sub(r"\d+", "N", side) == re.sub(r"\d+", "N", pair.chosen)
    assert [pair] == Gsm8kPool().pairs(_Rows(ROW))


def test_a_row_without_a_pair_keeps_its_prompt_and_is_counted() -> None:
    pool, source = Gsm8kPool(), _Rows(ROW, LONE)
    assert [pair.id for pair in pool.pairs(source)] == ["r1"]
    assert [prompt.id for prompt in pool.prompts(source)] == ["r1", "r2"] == list(pool.questions(source))
    assert pool.dropped(source) == {"no_steps": 1}
    assert pool.questions(source)["r2"] == "What is 2 + 3?"
    assert pool.prompts(source)[0].messages == pool.pairs(source)[0].prompt


def test_ids_are_the_tasks_ids() -> None:
    bare = {"question": QUESTION, "answer": ROW["answer"]}
    rows = [bare, ROW, bare]
    assert [pair.id for pair in Gsm8kPool().pairs(_Rows(*rows))] == DOCUMENTS.ids(rows)
    assert len(set(DOCUMENTS.ids(rows))) == 3


def test_the_false_step_is_fixed_by_the_rows_id() -> None:
    answers = {Gsm8kPool().pairs(_Rows({**ROW, "id": f"r{n}"}))[0].rejected for n in range(30)}
    assert len(answers) > 10


def test_revision_follows_the_data_and_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Gsm8kPool()
    first = pool.revision(_Rows(ROW))
    assert first == pool.revision(_Rows(ROW))
    assert first != pool.revision(_Rows(ROW, LONE))
    assert first != pool.revision(_Rows({**ROW, "answer": ROW["answer"].replace("good", "fine")}))
    monkeypatch.setattr("tasks.pools.gsm8k.SYSTEM", "Think.")
    assert first != pool.revision(_Rows(ROW))


@pytest.mark.parametrize("fault", [{"question": ""}, {"answer": STEPS}, {"answer": "#### none"}, {"answer": None}])
def test_a_malformed_row_is_named(fault: Mapping[str, Any]) -> None:
    with pytest.raises(HarnessError, match="gsm8k row 'r1' is malformed"):
        Gsm8kPool().pairs(_Rows({**ROW, **fault}))


# ---------------------------------------------------------------- the verifier


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("So.\nFinal Answer: 18", 18),
        ("Final Answer: 4\nNo. Final Answer: 18", 18),
        ("6 * 3 = 18\n#### 18", 18),
        ("Final Answer: 4\n#### 18", 18),
        ("the final answer is 18.", 18),
        ("**Final Answer:** **18**", 18),
        ("Final Answer: $1,250.00", 1250),
        ("Final Answer: 20%", 20),
        ("Final Answer:\n18 eggs", 18),
        ("Final Answer: \\boxed{18}", 18),
        ("Final Answer: 3 * 6 = 18 metres", 18),
        ("Final Answer: -5", -5),
        ("Final Answer: $-5", -5),
        ("Final Answer: .5", Fraction(1, 2)),
        ("Final Answer: 3/4", Fraction(3, 4)),
        ("Final Answer: she has 18 left", 18),
        ("Final Answer: none", None),
        ("Final Answer: 18\nFinal Answer:", None),
        ("It is 18.", None),
        ("", None),
    ],
)
def test_the_last_final_answer_counts(completion: str, value: Fraction | None) -> None:
    assert final_number(completion) == value


def test_verifier_rewards_the_gold_number_only() -> None:
    verify = Gsm8kPool().verifier(_Rows(ROW, {**LONE, "answer": "#### 1,250"}))
    assert verify("r1", "Final Answer: $225.00") == 1.0
    assert verify("r1", "Final Answer: 226") == verify("r1", "225") == verify("r1", "") == 0.0
    assert verify("r2", "Final Answer: 1250") == 1.0
    with pytest.raises(KeyError):
        verify("r3", "Final Answer: 225")
    assert pickle.loads(pickle.dumps(verify)) == verify == GoldAnswers({"r1": "225", "r2": "1,250"}, gives_number)


def test_the_pools_own_sides_are_told_apart_by_its_verifier() -> None:
    pool, source = Gsm8kPool(), SampleSource()
    verify = pool.verifier(source)
    assert all(verify(p.id, p.chosen) == 1.0 and verify(p.id, p.rejected) == 0.0 for p in pool.pairs(source))


# ---------------------------------------------------------------- altering a solution


def test_only_the_false_step_is_false() -> None:
    altered = alterations(QUESTION, STEPS, "225")
    assert {one.step for one in altered} == {0, 1, 2}
    for one in altered:
        steps, _ = parse(one.text)
        assert [is_true(step) for step in steps] == [index != one.step for index in range(3)]
        assert number(steps[-1].result) == number(one.answer) != 225


def test_later_mentions_follow_and_earlier_text_stays() -> None:
    for one in alterations(QUESTION, STEPS, "225"):
        first, second, third = parse(one.text)[0]
        assert second.before == f" melons.\nOf the {first.shown} melons {first.shown} - 9 = "
        assert third.before == f" are good.\nThey bring ${third.result}, because {second.shown} * 3 = $"
        assert first.before == "There are 6 * 14 = "


def test_a_slip_looks_like_a_result() -> None:
    for one in alterations(QUESTION, STEPS, "225"):
        right, wrong = (number(parse(text)[0][one.step].result) for text in (STEPS, one.text))
        assert right / 2 <= wrong <= right * 2
        assert wrong.denominator == 1


def test_cents_stay_cents_and_thousands_stay_marked() -> None:
    solution = "He pays 3 * 1.50 = $<<3*1.5=4.50>>4.50.\nFor 800 of them it is $<<4.50*800=3,600>>3,600."
    for one in alterations("3 pens at 1.50 each for 800 pupils?", solution, "3,600"):
        first, second = parse(one.text)[0]
        assert re.fullmatch(r"\d\.\d\d", first.shown)
        assert re.fullmatch(r"\$?\d,\d{3}", second.shown)


@pytest.mark.parametrize(
    ("why", "question", "solution", "answer"),
    [
        ("no_steps", "6 of 14?", "It is 84.", "84"),
        ("no_steps", "6 of 14?", "It is <<6*14=84 84.", "84"),
        ("no_steps", "6 of 14?", "It is <<6*14=x>>84.", "84"),
        ("not_computed", "6 of 14?", "It is <<6*14=84>>84.", "85"),
        ("not_shown", "6 of 14?", "It is <<6*14=84>>eighty-four.", "84"),
        ("not_shown", "20 by 3?", "It is 20 / 3 = <<20/3=6.67>>6.67.", "6.67"),
        # 84 stands in the question too: the mention at the end may mean either
        ("ambiguous", "6 of 14, and 84 more?", "It is <<6*14=84>>84, so 84.", "84"),
        ("ambiguous", "8 and 9 miles?", "He does 8 + 9 = <<8+9=17>>17, so seventeen miles.", "17"),
        ("ambiguous", "8 and 9 miles?", "He does 8 + 9 = <<8+9=17>>17. He arrives at 17:30.", "17"),
        ("ambiguous", "8 and 9 miles?", "He does 8 + 9 = <<8+9=17>>17 as the 17th.", "17"),
        ("ambiguous", "8 and 9 of them?", "It is 8 + 9 = <<8+9=17>>17%, a share of 0.17.", "17"),
        # 51 is three times 17, but no step says so
        ("unexplained", "8 and 9 miles?", "He does 8 + 9 = <<8+9=17>>17 each, together 51.", "17"),
        ("unclean", "3 less 2?", "It is 3 - 2 = <<3-2=1>>1.", "1"),
    ],
)
def test_what_cannot_be_altered_soundly_is_not(why: str, question: str, solution: str, answer: str) -> None:
    assert reason(question, solution, answer) == why


def test_a_slip_that_does_not_reach_the_answer_is_none() -> None:
    solution = "Red: 4 * 17 = <<4*17=68>>68.\nBlue: 5 * 19 = <<5*19=95>>95.\nAsked: 95 + 6 = <<95+6=101>>101."
    assert {one.step for one in alterations("4 of 17, 5 of 19, 6 more?", solution, "101")} == {1, 2}


def test_a_result_that_may_be_taken_for_a_units_factor_stays() -> None:
    solution = "It rains 3 + 4 = <<3+4=7>>7 mm a day, so 7 * 7 = <<7*7=49>>49 mm a week."
    assert {one.step for one in alterations("3 mm by day and 4 by night?", solution, "49")} == {1}


def test_which_number_is_larger_stays() -> None:
    solution = "A has 4 * 17 = <<4*17=68>>68, more than 66. That leaves 68 - 66 = <<68-66=2>>2."
    assert all(number(parse(one.text)[0][0].result) > 66 for one in alterations("4 of 17 against 66?", solution, "2"))


@pytest.mark.parametrize(
    ("expression", "value"),
    [("6*14", 84), ("1,200/3", 400), ("20%*50", 10), ("200*40*.01", 80), ("-(3-5)", 2), ("007+1", 8), ("1/3", None)],
)
def test_expressions_are_computed_exactly(expression: str, value: int | None) -> None:
    assert evaluate(expression) == (Fraction(1, 3) if value is None else value)


@pytest.mark.parametrize("expression", ["x+1", "2**9", "1/0", "", "__import__('os')", "2 3"])
def test_nothing_else_is_computed(expression: str) -> None:
    with pytest.raises(Unsound):
        evaluate(expression)


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        ("1250", "900", "1250"),
        ("1250", "1,000", "1,250"),
        ("4.5", "3.25", "4.50"),
        ("0.5", ".2", ".5"),
        ("3", "8", "3"),
    ],
)
def test_numbers_are_written_alike(value: str, like: str, text: str) -> None:
    assert written(Fraction(value), like) == text


@pytest.mark.parametrize(("value", "like"), [("2.5", "3"), ("0", "3"), ("-2", "3"), ("2", "3.5"), ("1/3", "0.25")])
def test_numbers_that_cannot_be_written_alike_are_refused(value: str, like: str) -> None:
    with pytest.raises(Unsound):
        written(Fraction(value), like)


def test_readers_see_no_annotations() -> None:
    assert plain("6 * 14 = $<<6*14=84>>84.") == "6 * 14 = $84."
