"""What the shipped math samples promise: made by the script, computed, unrepeated, unleaked, accepted by lm-eval."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from harness.data.leaks import find_leaks
from harness.data.sources import SampleSource
from harness.util.words import normalise
from tasks.datasets import gsm8k, math500
from tasks.datasets.worked_solutions import is_true, parse
from tasks.gsm8k import GSM8K
from tasks.math500 import Math500
from tasks.measures.shortcuts import bag_of_words, length_only
from tasks.pools.gsm8k import Gsm8kPool

SOURCE = SampleSource()
ROOT = Path(__file__).resolve().parents[4]
COUNTS = {"gsm8k": {"pool": 102, "eval": 135}, "math500": {"pool": 66, "eval": 108}}
CASES = [(name, split) for name, splits in COUNTS.items() for split in splits]
DATASETS = {"gsm8k": gsm8k.DATASET, "math500": math500.DATASET}
FIELDS = {"gsm8k": "question", "math500": "problem"}
SHORTCUT_LIMIT = 0.62
"""Chance is 0.5; 135 held-out pairs put a coin below 0.60 in 99 of 100 cases."""


def rows(name: str, split: str) -> list[Mapping[str, Any]]:
    return list(SOURCE.rows(DATASETS[name], split))


def asked(name: str, split: str) -> dict[str, str]:
    return {str(number): row[FIELDS[name]] for number, row in enumerate(rows(name, split))}


# ---------------------------------------------------------------- where they come from


def test_the_files_are_what_the_script_makes() -> None:
    spec = importlib.util.spec_from_file_location("make_math_samples", ROOT / "tools" / "make_math_samples.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    try:
        spec.loader.exec_module(script)
    finally:
        sys.path[:] = path
    for name, text in script.files().items():
        assert (ROOT / "tasks" / "samples" / name).read_text("utf-8") == text, f"run {spec.origin} again"


@pytest.mark.core
@pytest.mark.parametrize(("name", "split"), CASES)
def test_counts_and_fields(name: str, split: str) -> None:
    found = rows(name, split)
    assert len(found) == COUNTS[name][split]
    fields = {
        "gsm8k": {"question", "answer"},
        "math500": {"problem", "solution", "answer", "subject", "level", "unique_id"},
    }
    assert all(set(row) == fields[name] and all(row.values()) for row in found)


@pytest.mark.core
@pytest.mark.parametrize("name", COUNTS)
def test_no_problem_occurs_twice(name: str) -> None:
    texts = [normalise(text) for split in COUNTS[name] for text in asked(name, split).values()]
    assert len(set(texts)) == sum(COUNTS[name].values())


@pytest.mark.core
@pytest.mark.parametrize("name", COUNTS)
def test_pool_and_evaluation_do_not_leak(name: str) -> None:
    assert find_leaks(asked(name, "pool"), asked(name, "eval")) == ()
    assert find_leaks(Gsm8kPool().questions(SOURCE), asked(name, "eval")) == ()


# ---------------------------------------------------------------- gsm8k: arithmetic


@pytest.mark.core
@pytest.mark.parametrize("split", COUNTS["gsm8k"])
def test_every_annotation_computes(split: str) -> None:
    for row in rows("gsm8k", split):
        solution, _, answer = row["answer"].rpartition("\n#### ")
        steps, _ = parse(solution)
        assert 2 <= len(steps) <= 6
        assert all(map(is_true, steps))
        assert steps[-1].result == answer == str(int(answer))
        for step in steps:  # what is written before an annotation is what it computes
            assert step.before.replace(" ", "").rstrip("$").endswith(f"{step.expression}=")


@pytest.mark.core
@pytest.mark.parametrize("split", COUNTS["gsm8k"])
def test_figures_of_a_solution_come_from_its_question_or_an_earlier_step(split: str) -> None:
    units = {"2", "3", "4", "5", "60", "100", "1000"}  # halves to fifths, minutes, cents, grams
    for row in rows("gsm8k", split):
        known = set(re.findall(r"\d+(?:\.\d+)?", row["question"])) | units
        known |= {figure.rstrip("0").rstrip(".") for figure in known if "." in figure}
        for step in parse(row["answer"])[0]:
            assert set(re.findall(r"\d+(?:\.\d+)?", step.expression)) <= known, row
            known.add(step.result)


@pytest.mark.core
@pytest.mark.parametrize("split", COUNTS["gsm8k"])
def test_every_row_gives_a_pair_of_one_length(split: str) -> None:
    pool = Gsm8kPool()
    pairs = pool.pairs(SOURCE, split)
    assert len(pairs) == COUNTS["gsm8k"][split]
    assert pool.dropped(SOURCE, split) == {}
    assert all(len(pair.chosen) == len(pair.rejected) for pair in pairs)


def test_shortcuts_stay_near_chance(capsys: pytest.CaptureFixture[str]) -> None:
    pool = Gsm8kPool()
    train, held_out = pool.pairs(SOURCE), pool.pairs(SOURCE, "eval")
    found = {"length only": length_only(train, held_out), "bag of words": bag_of_words(train, held_out)}
    with capsys.disabled():
        print("  ".join(f"{name} {accuracy:.3f}" for name, accuracy in found.items()), end=" ")
    assert all(1 - SHORTCUT_LIMIT <= accuracy <= SHORTCUT_LIMIT for accuracy in found.values())


# ---------------------------------------------------------------- math500: answers


@pytest.mark.core
@pytest.mark.parametrize("split", COUNTS["math500"])
def test_the_boxed_answer_is_the_answer(split: str) -> None:
    found = rows("math500", split)
    assert all(row["solution"].count(rf"\boxed{{{row['answer']}}}") == 1 for row in found)
    assert all(row["solution"].count(r"\boxed") == 1 for row in found)
    assert all(text.count("$") % 2 == 0 for row in found for text in (row["problem"], row["solution"]))
    assert not any(re.search(r"(?<![\d{])1x|\+ -|- -", row["problem"]) for row in found)


@pytest.mark.core
def test_subjects_and_levels_vary() -> None:
    for split in COUNTS["math500"]:
        assert len({row["subject"] for row in rows("math500", split)}) == 7
        assert set(Counter(row["level"] for row in rows("math500", split))) == {f"Level {n}" for n in (1, 2, 3, 4)}


# ---------------------------------------------------------------- lm-eval's own checks


Check = Callable[[str], dict[str, float]]


def stock_checks(folder: str, split: str) -> list[Check]:
    """For every row, a function that scores a generated text as the stock task does: its filters, its metrics."""
    from tasks.lm_eval.catalogue import stock_task

    stock = {"gsm8k": GSM8K.stock, "math500": Math500.stock}[folder]
    documents = [stock.data.document(row, str(number)) for number, row in enumerate(rows(folder, split))]
    task = stock_task(stock.task, {stock.split: documents}, folder=stock.folder)
    docs = list(task.eval_docs)
    assert len(docs) == len(documents)
    return [lambda text, doc=doc: scored(task, doc, text) for doc in docs]


def scored(task: Any, doc: dict[str, Any], text: str) -> dict[str, float]:
    """lm-eval's metrics of one text, by metric and filter."""
    from lm_eval.api.instance import Instance

    found: dict[str, float] = {}
    for filters in task._filters:
        instance = Instance("generate_until", doc, ("", {}), 0, metadata=("", 0, 1))
        instance.resps = [text]
        filters.apply([instance])
        values = task.process_results(doc, [instance.filtered_resps[filters.name]])
        found |= {f"{metric},{filters.name}": float(value) for metric, value in values.items()}
    return found


@pytest.mark.parametrize("split", COUNTS["gsm8k"])
def test_lm_eval_accepts_every_gold_solution_and_rejects_every_altered_one(split: str) -> None:
    both = zip(stock_checks("gsm8k", split), rows("gsm8k", split), Gsm8kPool().pairs(SOURCE, split), strict=True)
    for check, row, pair in both:
        right, wrong = (side.replace("Final Answer: ", "#### ") for side in (pair.chosen, pair.rejected))
        assert set(check(row["answer"]).values()) == set(check(right).values()) == {1.0}
        assert set(check(wrong).values()) == {0.0}
        assert check(pair.chosen)["exact_match,flexible-extract"] == 1.0
        assert check(pair.rejected)["exact_match,flexible-extract"] == 0.0


def other_answer(answer: str) -> str:
    """An answer that differs in its last figure."""
    place = [found.start() for found in re.finditer(r"[1-9]", answer)][-1]
    return f"{answer[:place]}{int(answer[place]) % 9 + 1}{answer[place + 1 :]}"


@pytest.mark.parametrize("split", COUNTS["math500"])
def test_lm_eval_accepts_every_boxed_answer_and_rejects_another(split: str) -> None:
    closing = "\nFinal Answer: The final answer is ${}$. I hope it is correct."
    for check, row in zip(stock_checks("math500", split), rows("math500", split), strict=True):
        answer, other = row["answer"], other_answer(row["answer"])
        altered = row["solution"].replace(rf"\boxed{{{answer}}}", rf"\boxed{{{other}}}")
        assert set(check(row["solution"] + closing.format(answer)).values()) == {1.0}, row
        assert set(check(altered + closing.format(other)).values()) == {0.0}, row


def test_math_verify_agrees_on_solution_and_answer() -> None:
    import math_verify

    for split in COUNTS["math500"]:
        for row in rows("math500", split):
            gold = math_verify.parse(row["solution"])
            assert math_verify.verify(gold, math_verify.parse(f"${row['answer']}$")), row


@pytest.mark.core
def test_plain_numbers_are_reduced() -> None:
    fractions = [re.fullmatch(r"-?\\frac\{(\d+)\}\{(\d+)\}", row["answer"]) for row in rows("math500", "eval")]
    found = [match for match in fractions if match]
    assert len(found) >= 20
    assert all(Fraction(int(m[1]), int(m[2])).denominator == int(m[2]) for m in found)
