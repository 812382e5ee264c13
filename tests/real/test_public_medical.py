"""The pools of MedMCQA and PubMedQA on the public rows: every row is read, and both sides are closing lines alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness.data.sources import open_source
from tasks.datasets.closing import final_letter
from tasks.datasets.pubmedqa import ASKED, final_decision
from tasks.pools.medmcqa import MedMCQAPool
from tasks.pools.pubmedqa import PubMedQAPool

DATA = Path(os.environ.get("HARNESS_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not (DATA / "medmcqa").is_dir(), reason="no public data folder: set HARNESS_DATA"),
]


@pytest.mark.parametrize(
    ("pool", "read", "train", "held_out"),
    [(MedMCQAPool, final_letter, 1115, 1001), (PubMedQAPool, final_decision, 500, 299)],
)
def test_public_rows_give_closing_lines(pool: Any, read: Any, train: int, held_out: int) -> None:
    source = open_source(str(DATA), pool.dataset)
    splits = [pool().pairs(source, split) for split in ("pool", "eval")]
    assert [len({pair.id for pair in pairs}) for pairs in splits] == [train, held_out]
    for pair in (pair for pairs in splits for pair in pairs):
        sides = {pair.chosen, pair.rejected}
        assert len(sides) == 2
        assert all(side.startswith("Final Answer: ") for side in sides)
        assert len({read(side) for side in sides} - {None}) == 2
    verify = pool().verifier(source)
    assert all(verify(p.id, p.chosen) == 1.0 and verify(p.id, p.rejected) == 0.0 for p in splits[0])


def test_the_question_stands_behind_its_abstract() -> None:
    source = open_source(str(DATA), PubMedQAPool.dataset)
    questions = PubMedQAPool().questions(source)
    for prompt in PubMedQAPool().prompts(source):
        assert prompt.messages[-1].content.endswith(f"\nQuestion: {questions[prompt.id]}\n{ASKED}")
