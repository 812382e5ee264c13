"""The nearest valid name."""

from __future__ import annotations

import pytest

from harness.util.names import nearest

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("medqaa", ["medqa", "gsm8k"], "did you mean 'medqa'?"),
        ("accuracy", ["acc", "length"], "did you mean 'acc'?"),
        ("lear", ["learning_rate", "steps"], "did you mean 'learning_rate'?"),
        ("learning", ["learning_rate", "learning_rate_of_the_second_phase"], "did you mean 'learning_rate'?"),
        ("foo", ["pools", "tasks"], "known: pools, tasks"),
        ("ac", ["accuracy"], "known: accuracy"),
        ("x", [], "known: none"),
        ("x" * 100_000, ["x"], "known: x"),
    ],
)
def test_a_near_name_is_offered_and_a_far_one_is_not(name: str, known: list[str], said: str) -> None:
    assert nearest(name, known) == said
