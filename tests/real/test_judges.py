"""Judges on public labelled pairs and with the default model."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from harness.data.sources import FolderSource
from harness.judging.check import check
from harness.plugins.registry import load
from harness.records.store import Store
from tasks.judges.labelled import read

DATA = Path(os.environ.get("HARNESS_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


@pytest.mark.realdata
@pytest.mark.skipif(not (DATA / "judge_pairs").is_dir(), reason="no public data folder: set HARNESS_DATA")
@pytest.mark.parametrize(
    ("name", "first", "second", "ties"),
    [
        ("llmbar", 42, 58, 0),
        ("llmbar_adversarial", 75, 59, 0),
        ("mtbench", 101, 99, 0),
        ("autoj", 520, 499, 373),
    ],
)
def test_public_labels(name: str, first: int, second: int, ties: int) -> None:
    pairs = read(FolderSource(DATA), name)
    assert Counter(pair.better for pair in pairs) == Counter({1.0: first, 0.0: second, 0.5: ties})
    assert len({pair.item.id for pair in pairs}) == len(pairs)


@pytest.mark.realmodel
def test_the_default_model_judges(tmp_path: Path) -> None:
    made = check("local", registry=load(plugins=False), store=Store(tmp_path), limit=4, repeat=2)
    figures = made.figures
    assert figures.answered == figures.pairs == 4
    assert made.model == "smollm2-135m-instruct"
    assert len(figures.agreement_by_order) == 2
    assert figures.consistency_shift is not None
    assert figures.consistency_shift < 1e-4
    assert figures.tokens > 4 * 2 * 100
