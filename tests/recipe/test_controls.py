"""Negative controls: what must not be learned. The positive ones are in the conformance kit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aligners.dpo import Dpo
from aligners.gem import Gem
from aligners.random_adapter import RandomAdapter
from aligners.sft import Sft
from harness.conformance import FULL, NEEDED_ACCURACY, Lab, Result, lesson
from harness.contracts import FewShot, Pair

pytestmark = pytest.mark.recipe


def exchanged(pair: Pair) -> Pair:
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen)


def shuffled(few_shot: FewShot) -> FewShot:
    """Half of each colour's labels exchanged, so that the labels say nothing about the lesson."""
    pairs = [exchanged(p) if (i // 2) % 2 else p for i, p in enumerate(few_shot.pairs)]
    return replace(few_shot, pairs=tuple(pairs))


def accuracy(aligner: type[Any], few_shot: FewShot) -> float:
    lab = Lab(aligner)
    with lab.session(FULL) as session:
        before = session.adapter()
        result: Result = lab._result(session, session.fit(few_shot).aligned, before)
        assert result.trained
        return result.accuracy


def test_the_shuffle_leaves_no_signal() -> None:
    mixed = shuffled(lesson(32)).pairs
    kept = sum(a.chosen == b.chosen for a, b in zip(mixed, lesson(32).pairs, strict=True))
    assert kept == 16


@pytest.mark.parametrize("aligner", [Sft, Dpo, Gem])
def test_shuffled_labels_teach_nothing(aligner: type[Any]) -> None:
    assert accuracy(aligner, shuffled(lesson(32))) < NEEDED_ACCURACY


def test_a_random_adapter_knows_nothing() -> None:
    assert accuracy(RandomAdapter, lesson(32)) < NEEDED_ACCURACY
