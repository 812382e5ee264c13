"""Settings of the environment that enter an identity, where torch and the libraries around it are at hand."""

from __future__ import annotations

import os
import subprocess
import sys


def test_what_a_process_has_imported_is_no_setting() -> None:
    """Planned where nothing is imported yet, a cell has the id that it gets in a worker that has everything."""
    script = (
        "from harness.records.provenance import environment; before = environment(); "
        "import accelerate, alpaca_eval, datasets, joblib, lm_eval, peft, sentence_transformers, sklearn, torch, "
        "transformers, trl; from transformers import AutoModelForCausalLM; from trl import DPOTrainer, SFTTrainer; "
        "import torch._inductor.compile_fx; assert environment() == before, (before, environment())"
    )
    left = {name: value for name, value in os.environ.items() if not name.startswith(("KMP_", "TORCHINDUCTOR_"))}
    done = subprocess.run([sys.executable, "-c", script], env=left, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
