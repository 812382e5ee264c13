"""Win rates on real annotations are the published ones and the package's; the task reads the public files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.data.sources import open_source
from tasks.alpaca_eval import DATASET, REFERENCE, AlpacaEval, difficulty, read_items

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("HARNESS_DATA", ROOT.parent / "shared" / "data"))

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not (DATA / "alpaca_eval").is_dir(), reason="no public data folder: set HARNESS_DATA"),
]


def test_figures_are_the_published_ones_and_the_packages(tmp_path: Path) -> None:
    found = tmp_path / "parity.json"
    options = ["--data", str(DATA), "--models", "3", "--json", str(found)]
    script = ROOT / "benchmarks" / "parity_alpaca_eval.py"
    done = subprocess.run(
        [sys.executable, str(script), *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(found.read_text(encoding="utf-8")) == {"a": True, "b": True, "c": True}


def test_the_public_files_are_read_whole() -> None:
    source = open_source(str(DATA), DATASET)
    items = read_items(source, "text_davinci_003")
    assert len(items) == len({item.id for item in items}) == 805
    assert items[0].baseline != items[0].reference
    metric, gamed = difficulty(source, REFERENCE)
    assert metric == "lc_estimate"
    assert gamed is not None
    assert (len(gamed.index), set(gamed.index)) == (1610, set(range(805)))
    assert len(AlpacaEval().questions(source, 100)) == 100
