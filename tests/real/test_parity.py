"""Base's answers on real rows are those of the `lm_eval` command, with and without few-shot examples."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("HARNESS_DATA", ROOT.parent / "shared" / "data"))

pytestmark = [pytest.mark.realmodel, pytest.mark.realdata]


@pytest.mark.skipif(not (DATA / "medqa").is_dir(), reason="no public data folder: set HARNESS_DATA")
@pytest.mark.parametrize("num_fewshot", [0, 2])
def test_same_answers_as_the_lm_eval_command(tmp_path: Path, num_fewshot: int) -> None:
    found = tmp_path / "parity.json"
    script = ROOT / "benchmarks" / "parity_lm_eval.py"
    options = ["--data", str(DATA), "--rows", "8", "--num-fewshot", str(num_fewshot), "--json", str(found)]
    done = subprocess.run(
        [sys.executable, str(script), *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(found.read_text(encoding="utf-8"))
    assert figures["rows"] == figures["equal_answers"] == 8
    assert figures["max_difference_nats"] < 1e-3
