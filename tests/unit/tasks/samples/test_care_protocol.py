"""What the shipped sample of care_protocol promises: its bytes, size, balance, answers, lengths, shortcuts, no leak."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean, pstdev
from types import ModuleType
from typing import Any

import pytest

from harness.data.leaks import find_leaks
from harness.data.sources import SampleSource
from harness.util.hashes import content_hash
from harness.util.words import normalise
from tasks.care_protocol import CareProtocol
from tasks.datasets.care_protocol import DATASET
from tasks.datasets.care_rules import LEVELS, RULES, check, count_words, level_of
from tasks.measures.shortcuts import bag_of_words, length_only
from tasks.pools.care_protocol import CareProtocolPool

SOURCE = SampleSource()
SPLITS = {"pool": (332, 664), "eval": (88, 176)}
"""Scenarios, questions."""
SHORTCUT_LIMIT = 0.65
LENGTH_LIMIT = 0.57
"""Chance is 0.5; 176 held-out pairs put a coin below 0.57 in 97 of 100 cases."""
TOOL = Path(__file__).parents[4] / "tools" / "care_protocol" / "make.py"
MOST_BYTES = 2**20


def _rows(split: str) -> list[Mapping[str, Any]]:
    return list(SOURCE.rows(DATASET, split))


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    if not TOOL.is_file():
        pytest.skip("the generator does not ship with the source distribution")
    path, known = list(sys.path), set(sys.modules)
    spec = importlib.util.spec_from_file_location("care_protocol_make", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path
    for name in {"care_protocol_make", "compose", "phrases"} - known:
        sys.modules.pop(name, None)


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_the_generator_gives_the_shipped_bytes(tool: ModuleType, split: str) -> None:
    shipped = Path(str(tool.ROOT)) / "tasks" / "samples" / "care_protocol" / f"{split}.jsonl"
    assert tool.sample(split).encode() == shipped.read_bytes()
    assert shipped.stat().st_size < MOST_BYTES


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_every_scenario_has_two_questions_and_an_argument(tool: ModuleType, split: str) -> None:
    complaints = [json.loads(line) for line in (tool.HERE / f"{split}.jsonl").read_text("utf-8").splitlines()]
    scenarios = [scenario for complaint in complaints for scenario in complaint["scenarios"]]
    assert len(scenarios) == SPLITS[split][0]
    for complaint in complaints:
        assert [scenario["level"] for scenario in complaint["scenarios"]] == list(LEVELS), "one symptom, four levels"
    for scenario in scenarios:
        assert len(scenario["questions"]) == len(scenario["advice"]) == 2
        assert len(scenario["why"].split()) >= 3


@pytest.mark.core
@pytest.mark.parametrize(("split", "counts"), SPLITS.items())
def test_sizes_and_balance(split: str, counts: tuple[int, int]) -> None:
    rows = _rows(split)
    scenarios, questions = counts
    assert len({row["scenario"] for row in rows}) == scenarios
    assert len(rows) == len({row["id"] for row in rows}) == questions
    assert Counter(row["level"] for row in rows) == dict.fromkeys(LEVELS, questions // 4)
    assert all(row["id"].startswith(f"{row['scenario']}-") for row in rows)


@pytest.mark.core
def test_no_question_or_answer_occurs_twice_and_splits_share_nothing() -> None:
    every = [row for split in SPLITS for row in _rows(split)]
    for field in ("question", "chosen"):
        assert len({normalise(row[field]) for row in every}) == len(every)
    shared = [{row["complaint"] for row in _rows(split)} for split in SPLITS]
    assert not shared[0] & shared[1]
    assert find_leaks(CareProtocolPool().questions(SOURCE), CareProtocol().questions(SOURCE, None)) == ()


@pytest.mark.core
def test_two_questions_of_a_scenario_differ_in_more_than_a_word() -> None:
    for split in SPLITS:
        by_scenario: dict[str, list[set[str]]] = {}
        for row in _rows(split):
            by_scenario.setdefault(row["scenario"], []).append(set(normalise(row["question"]).split()))
        for first, second in by_scenario.values():
            assert len(first & second) / len(first | second) < 0.5


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_chosen_answers_keep_every_rule_and_rejected_ones_fail_as_said(split: str) -> None:
    for row in _rows(split):
        assert all(check(row["chosen"]).values()), row["id"]
        assert level_of(row["chosen"]) == row["level"]
        failed = {name for name, kept in check(row["rejected"]).items() if not kept}
        if level_of(row["rejected"]) not in (row["level"], None):
            failed.add("level")
        assert sorted(failed) == row["broken"], row["id"]
        assert 1 <= len(failed) <= 2


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_every_kind_of_failure_occurs_at_every_level(split: str) -> None:
    found = {(row["level"], kind) for row in _rows(split) for kind in row["broken"]}
    assert found == {(level, kind) for level in LEVELS for kind in ("level", *RULES)}


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_wrong_levels_are_balanced_too(split: str) -> None:
    wrong = Counter(level_of(row["rejected"]) for row in _rows(split) if "level" in row["broken"])
    assert set(wrong) == set(LEVELS)
    assert max(wrong.values()) - min(wrong.values()) <= 0.25 * max(wrong.values())


@pytest.mark.core
@pytest.mark.parametrize("split", SPLITS)
def test_both_sides_are_equally_long_on_average_and_in_spread(split: str) -> None:
    for measure in (count_words, len):
        chosen, rejected = ([measure(row[side]) for row in _rows(split)] for side in ("chosen", "rejected"))
        assert mean(chosen) == pytest.approx(mean(rejected), rel=0.01)
        assert pstdev(chosen) == pytest.approx(pstdev(rejected), rel=0.3)
    alike = [row for row in _rows(split) if "within_length" not in row["broken"]]
    assert all(abs(count_words(row["chosen"]) - count_words(row["rejected"])) <= 20 for row in alike)


def test_what_shuffled_labels_leave() -> None:
    """The table of docs/tasks/care_protocol.md: what an exact imitator of true and of exchanged answers would keep."""
    rows = _rows("pool")
    for side, kept, every, right in (("chosen", 1.0, 1.0, 1.0), ("rejected", 0.875, 0.355, 0.452)):
        checks = [check(row[side]).values() for row in rows]
        assert mean(mean(found) for found in checks) == pytest.approx(kept, abs=5e-4)
        assert mean(all(found) for found in checks) == pytest.approx(every, abs=5e-4)
        assert mean(level_of(row[side]) == row["level"] for row in rows) == pytest.approx(right, abs=5e-4)


def test_shortcuts_stay_near_chance(capsys: pytest.CaptureFixture[str]) -> None:
    pool = CareProtocolPool()
    train, held_out = pool.pairs(SOURCE), pool.pairs(SOURCE, "eval")
    length, words = length_only(train, held_out), bag_of_words(train, held_out)
    kinds = {row["id"]: row["broken"] for row in _rows("eval")}
    with capsys.disabled():
        print(f"\nall: length only {length:.3f}  bag of words {words:.3f}")
        for kind in ("level", *RULES):
            part = [pair for pair in held_out if kind in kinds[pair.id]]
            print(f"{kind} ({len(part)}): {length_only(train, part):.3f}  {bag_of_words(train, part):.3f}")
    assert abs(length - 0.5) <= LENGTH_LIMIT - 0.5
    assert words <= SHORTCUT_LIMIT


def test_the_level_takes_more_than_a_few_labels_and_more_than_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A bag of words of the question, fitted on all pool levels: what reading word by word can reach at the most."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train, held_out = _rows("pool"), _rows("eval")
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    known = vectorizer.fit_transform([row["question"] for row in train])
    asked = vectorizer.transform([row["question"] for row in held_out])
    found = {}
    for labels in (32, 128, len(train)):
        some = sorted(range(len(train)), key=lambda place: content_hash(train[place]["id"]))[:labels]
        model = LogisticRegression(C=10, max_iter=2000).fit(known[some], [train[place]["level"] for place in some])
        right = [level == row["level"] for level, row in zip(model.predict(asked), held_out, strict=True)]
        found[labels] = sum(right) / len(right)
    with capsys.disabled():
        print("level from the question's words: " + "  ".join(f"{n} labels {v:.3f}" for n, v in found.items()))
    assert found[32] < 0.6
    assert found[32] < found[len(train)] < 0.95
