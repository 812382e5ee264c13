"""Base's answers on real rows are those of the `lm_eval` command, task by task, with and without few-shot examples."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("HARNESS_DATA", ROOT.parent / "shared" / "data"))

pytestmark = [pytest.mark.realmodel, pytest.mark.realdata]


@pytest.mark.parametrize(
    ("task", "rows", "num_fewshot"),
    [
        ("medqa", 8, 0),
        ("medqa", 8, 2),
        ("medmcqa", 8, 0),
        ("pubmedqa", 4, 0),
        ("gsm8k", 2, 0),
        ("math500", 2, 0),
    ],
)
def test_same_answers_as_the_lm_eval_command(tmp_path: Path, task: str, rows: int, num_fewshot: int) -> None:
    if not (DATA / task).is_dir():
        pytest.skip("no public data folder: set HARNESS_DATA")
    found = tmp_path / "parity.json"
    script = ROOT / "benchmarks" / "parity_lm_eval.py"
    options = ["--task", task, "--data", str(DATA), "--rows", str(rows), "--num-fewshot", str(num_fewshot)]
    done = subprocess.run(
        [sys.executable, str(script), *options, "--json", str(found)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(found.read_text(encoding="utf-8"))
    assert figures["rows"] == figures["equal_answers"] == rows
    assert figures.get("max_difference_nats", 0.0) < 1e-4
    assert figures.get("equal_texts", rows) == rows
