"""`benchmarks/gpu.py` runs on a CPU with a tiny model, and what it writes is whole."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"
pytestmark = [
    pytest.mark.recipe,
    pytest.mark.skipif(not SCRIPT.is_file(), reason="a source distribution holds no benchmarks"),
]


def test_every_figure_stands_beside_its_peer(tmp_path: Path) -> None:
    found = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    assert found is not None
    assert found.loader is not None
    script: Any = importlib.util.module_from_spec(found)
    sys.modules[found.name] = script  # dataclasses look their module up
    found.loader.exec_module(script)
    out = tmp_path / "figures.json"
    told = ["--device", "cpu", "--tiny", "--only", "train,generate,parity", "--peak-tflops", "1", "--json", str(out)]
    assert script.main(told) == 0
    rows = json.loads(out.read_text())["rows"]
    trained = {(row["aligner"], row["way"]): row for row in rows if row["section"] == "train"}
    assert set(trained) == {(name, way) for name in ("sft", "dpo", "gem") for way in ("fast paths", "plain TRL")}
    assert all(row["trained_tokens/s"] > 0 and 0 < row["mfu"] < 1 for row in trained.values())
    sampled = {row["engine"]: row for row in rows if row["section"] == "generate"}
    assert set(sampled) == {"transformers.generate", "hf", "vllm"}
    assert sampled["hf"]["tokens/s"] > 0
    (apart,) = (row for row in rows if row["section"] == "parity")
    assert apart["worst_nats"] < 1e-3
