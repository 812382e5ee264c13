"""The GSM8K pool on the public rows: how many give a pair, and whether each pair is what it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.data.sources import open_source
from tasks.datasets.final_numbers import final_number
from tasks.datasets.worked_solutions import Step, Unsound, is_true, parse, plain
from tasks.measures.shortcuts import bag_of_words, length_only
from tasks.pools.false_steps import Altered, alter
from tasks.pools.gsm8k import Gsm8kPool

DATA = Path(os.environ.get("HARNESS_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
COUNTS = {"pool": (3012, 2640), "eval": (799, 659)}
SHORTCUT_LIMIT = 0.65

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not (DATA / "gsm8k").is_dir(), reason="no public data folder: set HARNESS_DATA"),
]


@pytest.fixture(scope="module")
def pool() -> Gsm8kPool:
    return Gsm8kPool()


@pytest.mark.parametrize("split", COUNTS)
def test_most_rows_give_a_pair(pool: Gsm8kPool, split: str) -> None:
    source = open_source(str(DATA), pool.dataset)
    pairs, dropped = pool.pairs(source, split), pool.dropped(source, split)
    assert (len(pairs) + sum(dropped.values()), len(pairs)) == COUNTS[split]
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert sum(len(pair.chosen) == len(pair.rejected) for pair in pairs) >= 0.97 * len(pairs)
    for pair in pairs:
        assert final_number(pair.chosen) not in (None, final_number(pair.rejected))
        assert "<<" not in pair.chosen + pair.rejected and "####" not in pair.chosen + pair.rejected
        assert len(pair.chosen.split()) == len(pair.rejected.split())


def test_every_altered_solution_keeps_to_its_own_arithmetic_but_for_one_step(pool: Gsm8kPool) -> None:
    checked = 0
    for split in COUNTS:
        for row in open_source(str(DATA), pool.dataset).rows(pool.dataset, split):
            solution, _, answer = row["answer"].rpartition("\n#### ")
            try:
                altered = alter(row["question"], solution, answer.strip(), row["question"])
            except Unsound:
                continue
            check(solution, altered)
            checked += 1
    assert checked >= 0.85 * sum(rows for rows, _ in COUNTS.values())


def check(solution: str, altered: Altered) -> None:
    before, after = parse(solution)[0], parse(altered.text)[0]
    assert len(before) == len(after)
    assert before[: altered.step] == after[: altered.step]
    assert not is_true(after[altered.step]) and is_true(before[altered.step])
    for place in range(altered.step + 1, len(after)):  # a later step that has changed is a true one
        assert after[place] == before[place] or is_true(after[place]) or same_arithmetic(before[place], after[place])
    words = [
        [word for word in plain(text).split() if not any(map(str.isdigit, word))] for text in (solution, altered.text)
    ]
    assert words[0] == words[1]


def same_arithmetic(before: Step, after: Step) -> bool:
    """Whether two steps differ in the text before them only."""
    return (before.expression, before.result, before.shown) == (after.expression, after.result, after.shown)


def test_shortcuts_stay_near_chance(pool: Gsm8kPool, capsys: pytest.CaptureFixture[str]) -> None:
    source = open_source(str(DATA), pool.dataset)
    train, held_out = pool.pairs(source), pool.pairs(source, "eval")
    found = {"length only": length_only(train, held_out), "bag of words": bag_of_words(train, held_out)}
    with capsys.disabled():
        print("  ".join(f"{name} {accuracy:.3f}" for name, accuracy in found.items()), end=" ")
    assert all(accuracy <= SHORTCUT_LIMIT for accuracy in found.values())


def test_the_verifier_accepts_gold_solutions_and_rejects_altered_ones(pool: Gsm8kPool) -> None:
    source = open_source(str(DATA), pool.dataset)
    verify = pool.verifier(source)
    assert all(
        verify(pair.id, pair.chosen) == 1.0 and verify(pair.id, pair.rejected) == 0.0 for pair in pool.pairs(source)
    )
    rows = source.rows(pool.dataset, "pool")
    assert all(verify(prompt.id, row["answer"]) == 1.0 for prompt, row in zip(pool.prompts(source), rows, strict=True))
