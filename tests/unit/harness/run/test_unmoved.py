"""Answers that are base's to the last digit, although weights moved."""

from __future__ import annotations

from typing import Any

import pytest

from harness.contracts import SampleRow
from harness.run.unmoved import unmoved

pytestmark = pytest.mark.core


def row(identity: str, likelihood: float, **values: float) -> SampleRow:
    return SampleRow(identity, identity, {"acc": 1.0, **values}, {"answer": "A", "loglik": likelihood})


BASE = {identity: row(identity, -1.5) for identity in ("a", "b")}


def test_all_items_as_base_is_said_once_with_figures() -> None:
    (said,) = unmoved([row("a", -1.5, gain=0.0), row("b", -1.5, gain=0.0)], BASE, 0.25)
    assert "by 0.25, and all 2 items are answered exactly as by the base model" in said


@pytest.mark.parametrize(
    ("rows", "base", "change"),
    [
        ([row("a", -1.5), row("b", -1.500001)], BASE, 0.25),
        ([row("a", -1.5), row("b", -1.5, acc=0.0)], BASE, 0.25),
        ([row("a", -1.5), row("b", -1.5)], BASE, 0.0),
        ([row("a", -1.5), row("b", -1.5)], BASE, None),
        ([row("a", -1.5), row("b", -1.5)], None, 0.25),
        ([row("c", -1.5)], BASE, 0.25),
    ],
    ids=["a digit", "a value", "no change", "no adapter", "no base", "other items"],
)
def test_anything_else_is_no_warning(rows: Any, base: Any, change: float | None) -> None:
    assert unmoved(rows, base, change) == ()
