"""Negative controls: what must not be learned. Shuffled labels and the positive controls are in the conformance kit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from aligners.random_adapter import RandomAdapter
from harness.conformance import CLOSINGS, FULL, NEEDED_ACCURACY, Lab, Result, lesson
from harness.contracts import FewShot

pytestmark = pytest.mark.recipe


def accuracy(aligner: type[Any], few_shot: FewShot) -> float:
    lab = Lab(aligner)
    with lab.session(FULL) as session:
        before = session.adapter()
        result: Result = lab._result(session, session.fit(few_shot).aligned, before)
        assert result.trained
        return result.accuracy


def test_the_shuffle_leaves_no_signal() -> None:
    pairs = zip(lesson(32, shuffled=True).pairs, lesson(32).pairs, strict=True)
    kept = [(mixed.id.split("-")[0], mixed.chosen == true.chosen) for mixed, true in pairs]
    assert Counter(kept) == {(colour, same): 8 for colour in CLOSINGS for same in (True, False)}


def test_a_random_adapter_knows_nothing() -> None:
    assert accuracy(RandomAdapter, lesson(32)) < NEEDED_ACCURACY
