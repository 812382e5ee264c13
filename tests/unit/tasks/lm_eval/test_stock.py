"""medmcqa, pubmedqa, gsm8k and math500 on made-up sources, pools and models: stock prompts, stock checks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import pytest

from harness.contracts import (
    ChooseRequest,
    Completion,
    Dataset,
    EvalContext,
    GenerateRequest,
    HarnessError,
    Loglik,
    LoglikRequest,
    Pair,
    Preference,
    PreferRequest,
    Scores,
    user,
)
from tasks.datasets import gsm8k, math500, medmcqa, pubmedqa
from tasks.datasets.documents import numbered
from tasks.gsm8k import GSM8K
from tasks.lm_eval.catalogue import stock_task
from tasks.lm_eval.corners import quiet
from tasks.math500 import Math500
from tasks.medmcqa import MedMCQA
from tasks.pubmedqa import PubMedQA
from tests.tiny import offering, tiny_tokenizer

Row = dict[str, Any]


def medmcqa_row(index: int, split: str) -> Row:
    options = {key: f"{split} salt {index}{key}" for key in medmcqa.OPTIONS}
    question = f"In {split}, sample {index} turns blue. Which salt is it?"
    return {"question": question, **options, "cop": index % 4, "exp": None, "subject_name": "Chemistry"}


def pubmedqa_row(index: int, split: str) -> Row:
    passages = [f"In {split}, {index} people were asked.", "Half of them agreed."]
    question = f"Do {index} people of {split} agree?"
    answer = pubmedqa.ANSWERS[index % 3]
    return {"pubid": index, "question": question, "context": {"contexts": passages}, "final_decision": answer}


def gsm8k_row(index: int, split: str) -> Row:
    question = f"In {split}, Ann has {index} apples and buys two. How many has she?"
    return {"question": question, "answer": f"She has {index} + 2 = {index + 2}.\n#### {index + 2}"}


def math500_row(index: int, split: str) -> Row:
    solution = f"Half of ${index + 1}$ is $\\boxed{{\\frac{{{index + 1}}}{{2}}}}$."
    return {"problem": f"In {split}, what is half of ${index + 1}$?", "solution": solution, "unique_id": f"u/{index}"}


@dataclass(frozen=True)
class Case:
    """A task, how its rows are made, and the split that lm-eval scores."""

    module: Any
    task: Any
    row: Any
    columns: tuple[str, ...] = ()
    """What the stock task's own data set has where it is another."""


CASES = {
    "medmcqa": Case(medmcqa, MedMCQA, medmcqa_row),
    "pubmedqa": Case(pubmedqa, PubMedQA, pubmedqa_row),
    "gsm8k": Case(gsm8k, GSM8K, gsm8k_row),
    "math500": Case(math500, Math500, math500_row),
}
CHOOSING, GENERATING = ("medmcqa", "pubmedqa"), ("gsm8k", "math500")


class FakeSource:
    kind = "folder"

    def __init__(self, case: Case, pool: int = 6, evaluation: int = 5) -> None:
        self.folder = case.module.DATASET.folder
        self.splits = {
            "pool": [case.row(i, "pool") for i in range(pool)],
            "eval": [case.row(i, "eval") for i in range(evaluation)],
        }

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        assert dataset.folder == self.folder
        return self.splits[split]


class FakePool:
    """Asks each question of the source under an id of its own."""

    name, licence = "fake", "MIT"

    def __init__(self, case: Case) -> None:
        self.dataset = case.module.DATASET

    def pairs(self, source: FakeSource, split: str = "pool") -> list[Pair]:
        rows = source.splits[split]
        texts = [str(row.get("question") or row.get("problem")) for row in rows]
        return [Pair(f"{split}/{i}", user(f"Please: {text}"), "It is so.", "No.") for i, text in enumerate(texts)]


class ForeignPool:
    name, licence, dataset = "poems", "MIT", Dataset(folder="poems", hub="x/poems")

    def pairs(self, source: Any, split: str = "pool") -> list[Pair]:
        return [Pair(f"p{i}", user(f"Write poem {i}."), f"A rose {i}", "No.") for i in range(3)]


class FakeAligned:
    """Scores from hashes; generates what it is told."""

    max_length = 2048

    def __init__(self, text: str = "The answer is 42.") -> None:
        self.tokenizer = tiny_tokenizer()
        self.text = text
        self.asked: list[GenerateRequest] = []

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        digests = [hashlib.sha256(repr((r.context, r.continuation)).encode()).digest() for r in requests]
        return [Loglik(-d[0] / 10, len(r.continuation), False) for d, r in zip(digests, requests, strict=True)]

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        self.asked += requests
        return [[Completion(self.text, (1, 2), "length")] for _ in requests]

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        return [[-0.1 * (i + 1) for i in range(len(r.labels))] for r in requests]

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        return [Preference(0.8, (-1.0, 2), (-2.0, 2)) for _ in requests]


def context(case: Case, **changes: Any) -> EvalContext:
    start = EvalContext(source=FakeSource(case), limit=None, num_fewshot=0, seed=0, pool=FakePool(case))  # type: ignore[arg-type]
    return replace(start, **changes)


def evaluate(case: Case, aligned: Any = None, **changes: Any) -> Scores:
    return case.task().evaluate(aligned or FakeAligned(), context(case, **changes))


def stock_prompt(case: Case, row: Row) -> str:
    """The stock task's own template on a row as its own data set has it."""
    if case.module is pubmedqa:
        row = {"QUESTION": row["question"], "CONTEXTS": row["context"]["contexts"], "final_decision": "yes"}
    with quiet():
        task = stock_task(case.task.stock.task, {case.task.stock.split: [row]}, folder=case.task.stock.folder)
    return str(task.doc_to_text(task.eval_docs[0]))


@pytest.mark.parametrize("name", CASES)
def test_prompts_are_the_stock_tasks_byte_for_byte(name: str) -> None:
    case = CASES[name]
    rows = FakeSource(case).splits["eval"]
    scores = evaluate(case)
    assert [r.detail["prompt"] for r in scores.rows] == [stock_prompt(case, row) for row in rows]
    unasked = getattr(case.task, "written_metrics", frozenset())
    assert all(set(case.task.metrics) - unasked == set(r.values) for r in scores.rows)
    assert [r.id for r in scores.rows] == case.module.DOCUMENTS.ids(rows)
    assert case.task.main_metric in case.task.metrics


def test_prompts_in_full() -> None:
    shown = {name: evaluate(CASES[name]).rows[1].detail["prompt"] for name in CASES}
    assert shown["medmcqa"] == (
        "Question: In eval, sample 1 turns blue. Which salt is it?\nChoices:\nA. eval salt 1opa\nB. eval salt 1opb\n"
        "C. eval salt 1opc\nD. eval salt 1opd\nAnswer:"
    )
    assert shown["pubmedqa"] == (
        "Abstract: In eval, 1 people were asked.\nHalf of them agreed.\nQuestion: Do 1 people of eval agree?\nAnswer:"
    )
    assert shown["gsm8k"] == "Question: In eval, Ann has 1 apples and buys two. How many has she?\nAnswer:"
    assert shown["math500"] == "Problem:\nIn eval, what is half of $2$?\n\nSolution:"


@pytest.mark.parametrize("name", CHOOSING)
def test_the_answer_is_the_likeliest_option(name: str) -> None:
    case = CASES[name]
    scores = evaluate(case)
    labels = medmcqa.LETTERS if name == "medmcqa" else pubmedqa.ANSWERS
    for index, result in enumerate(scores.rows):
        options = result.detail["options"]
        assert tuple(options) == labels
        assert result.detail["answer"] == max(options, key=lambda label: options[label]["logprob"])
        assert result.detail["gold"] == labels[index % len(labels)]
        assert result.values["acc"] == float(result.detail["answer"] == result.detail["gold"])
    assert scores.notes["chance"] == 1 / len(labels)


def test_pubmedqa_notes_the_commonest_answer() -> None:
    assert evaluate(CASES["pubmedqa"]).notes["majority"] == 2 / 5
    assert evaluate(CASES["pubmedqa"], limit=1).notes["majority"] == 1.0


@pytest.mark.parametrize("name", CHOOSING)
def test_a_model_that_chooses_answers_too_and_a_mute_one_is_refused(name: str) -> None:
    aligned = FakeAligned()
    first = "A" if name == "medmcqa" else "yes"
    assert {r.detail["answer"] for r in evaluate(CASES[name], offering(aligned, "choose")).rows} == {first}
    with pytest.raises(HarnessError, match=f"{name} asks for choose or loglik; .*: generate"):
        evaluate(CASES[name], offering(aligned, "generate"))


@pytest.mark.parametrize(
    ("text", "flexible", "strict"),
    [
        ("She has 1 + 2 = 3.\n#### 3", 1.0, 1.0),
        ("So it is 3.", 1.0, 0.0),
        ("#### 3 apples, of 10", 0.0, 1.0),
        ("She has $3.", 1.0, 0.0),
        ("I do not know.", 0.0, 0.0),
    ],
)
def test_gsm8k_is_checked_by_the_stock_filters(text: str, flexible: float, strict: float) -> None:
    result = evaluate(CASES["gsm8k"], FakeAligned(text)).rows[1]
    assert result.values["exact_match,flexible-extract"] == flexible
    assert result.values["exact_match,strict-match"] == strict
    assert result.detail["output"] == text
    assert set(result.detail["answer"]) == {"flexible-extract", "strict-match"}
    assert result.detail["gold"].endswith("#### 3")


@pytest.mark.parametrize(
    ("text", "verified", "exact"),
    [
        ("Thus $\\boxed{\\frac{3}{2}}$.", 1, 0),
        ("It is $\\boxed{1.5}$", 1, 0),
        ("Final Answer: The final answer is $\\frac{3}{2}$. I hope it is correct.", 1, 1),
        ("$\\boxed{2}$", 0, 0),
        ("no idea", 0, 0),
    ],
)
def test_math500_is_checked_by_math_verify(text: str, verified: int, exact: int) -> None:
    result = evaluate(CASES["math500"], FakeAligned(text)).rows[2]
    assert (result.values["math_verify"], result.values["exact_match"]) == (verified, exact)
    assert result.detail["output"] == text
    assert Math500.main_metric == "math_verify"


def test_generation_is_greedy_and_stops_where_the_stock_task_says() -> None:
    for name, stop in (("gsm8k", "Question:"), ("math500", "Problem:")):
        aligned = FakeAligned(f"so it is. {stop} the next")
        scores = evaluate(CASES[name], aligned)
        assert {(r.temperature, r.max_new_tokens, stop in r.stop) for r in aligned.asked} == {(0.0, 256, True)}
        assert scores.rows[0].detail["output"] == "so it is. "


@pytest.mark.parametrize("name", CASES)
def test_held_out_pairs_stand_with_their_items(name: str) -> None:
    case = CASES[name]
    scores = evaluate(case, limit=3)
    assert [r.detail["preferences"][0]["pair"] for r in scores.rows] == ["eval/0", "eval/1", "eval/2"]
    assert scores.notes["preference_pairs"] == 3
    assert all(r.values["pref"] == 1.0 for r in scores.rows)


def test_pairs_of_another_data_set_get_rows_of_their_own() -> None:
    scores = evaluate(CASES["math500"], limit=2, pool=ForeignPool())
    assert [r.id for r in scores.rows] == ["u/0", "u/1", "pair:p0", "pair:p1"]
    assert set(scores.rows[0].values) == {"math_verify", "exact_match", "final_answer"}


@pytest.mark.parametrize("name", ["medmcqa", "pubmedqa", "gsm8k"])
def test_demonstrations_are_the_cells_own_and_on_parity_the_first_rows(name: str) -> None:
    case = CASES[name]
    own = FakePool(case).pairs(FakeSource(case))
    rows = FakeSource(case).splits["pool"]
    shown = evaluate(case, num_fewshot=2, demonstrations=(own[4], own[1])).rows[0].detail["prompt"]
    assert [shown.find(stock_prompt(case, rows[i])) >= 0 for i in (4, 1, 0)] == [True, True, False]
    assert shown.index(stock_prompt(case, rows[4])) < shown.index(stock_prompt(case, rows[1]))
    parity = evaluate(case, num_fewshot=2, demonstrations=(own[4],), track="parity").rows[0].detail["prompt"]
    assert [parity.find(stock_prompt(case, rows[i])) >= 0 for i in (0, 1, 2)] == [True, True, False]
    with pytest.raises(HarnessError, match=f"no row of {name}'s training split; few-shot prompts need the pool {name}"):
        evaluate(case, num_fewshot=1, demonstrations=tuple(ForeignPool().pairs(None)))


def test_math500_shows_examples_on_parity_only() -> None:
    case = CASES["math500"]
    with pytest.raises(HarnessError, match="math500 has no training split: few-shot prompts are for track parity"):
        evaluate(case, num_fewshot=1, demonstrations=tuple(FakePool(case).pairs(FakeSource(case))))
    prompt = evaluate(case, num_fewshot=4, track="parity").rows[0].detail["prompt"]
    assert prompt.count("Problem:") == 5
    with pytest.raises(HarnessError, match="5 demonstrations asked for, 4 available"):
        evaluate(case, num_fewshot=5, track="parity")


@pytest.mark.parametrize("name", CASES)
def test_revision_follows_the_evaluation_rows_only(name: str) -> None:
    case = CASES[name]
    first = case.task().revision(FakeSource(case))
    assert first == case.task().revision(FakeSource(case, pool=2))
    assert first != case.task().revision(FakeSource(case, evaluation=4))


@pytest.mark.core
@pytest.mark.parametrize(
    ("name", "flaw"),
    [
        ("medmcqa", {"cop": -1}),
        ("medmcqa", {"cop": True}),
        ("medmcqa", {"opb": None}),
        ("medmcqa", {"question": ""}),
        ("pubmedqa", {"final_decision": "perhaps"}),
        ("pubmedqa", {"context": {"contexts": []}}),
        ("pubmedqa", {"context": "text"}),
        ("gsm8k", {"answer": "42"}),
        ("gsm8k", {"question": None}),
        ("math500", {"solution": "42"}),
        ("math500", {"problem": ""}),
    ],
)
def test_malformed_rows_are_named(name: str, flaw: Row) -> None:
    case = CASES[name]
    with pytest.raises(HarnessError, match=f"{name} row 'q9' is malformed: expected"):
        case.module.document({**case.row(0, "eval"), **flaw}, "q9")


@pytest.mark.core
@pytest.mark.parametrize("name", CASES)
def test_ids_are_the_rows_own_or_hashes(name: str) -> None:
    case = CASES[name]
    rows = [case.row(0, "eval"), case.row(1, "eval"), case.row(0, "eval")]
    ids = case.module.DOCUMENTS.ids(rows)
    assert ids[2] == f"{ids[0]}.2"
    assert len(set(ids)) == 3
    assert case.module.DOCUMENTS.ids([{**rows[0], "id": "mine"}]) == ["mine"]
    assert import_module(case.task.__module__).harness_tasks() == [case.task]


@pytest.mark.core
def test_repeated_ids_are_numbered() -> None:
    assert numbered(["a", "b", "a", "a"]) == ["a", "b", "a.2", "a.3"]


# ---------------------------------------------------------------- answers in any dress


@pytest.mark.parametrize(
    ("name", "metric", "text", "stock", "ours"),
    [
        ("gsm8k", "final_number", "So it has $4.00.", 0.0, 1.0),
        ("gsm8k", "final_number", "So it is $\\boxed{4}$.", 0.0, 1.0),
        ("gsm8k", "final_number", "So the answer is 4.", 1.0, 1.0),
        ("gsm8k", "final_number", "So the answer is 5.", 0.0, 0.0),
        ("gsm8k", "final_number", "I cannot say.", 0.0, 0.0),
        ("math500", "final_answer", "Final Answer: \\sqrt{9}/2", 0.0, 1.0),
        ("math500", "final_answer", "Thus it is \\$1.5.", 0.0, 1.0),
        ("math500", "final_answer", "So it is $\\boxed{\\frac{3}{2}}$.", 1.0, 1.0),
        ("math500", "final_answer", "Final Answer: \\frac{3}{5}", 0.0, 0.0),
        ("math500", "final_answer", "", 0.0, 0.0),
    ],
)
def test_a_right_answer_counts_in_any_dress(name: str, metric: str, text: str, stock: float, ours: float) -> None:
    case = CASES[name]
    values = evaluate(case, FakeAligned(text)).rows[2].values
    assert (values[case.task.main_metric], values[metric]) == (stock, ours)
