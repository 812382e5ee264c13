"""Fast paths as a switch, and the measurement that decides about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.contracts import HarnessError
from harness.lm.paths import MEASURED, chosen, fast, keep, measured, paths


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return folder


@pytest.mark.core
def test_without_a_measurement_they_are_on_for_a_cpu_and_off_for_a_gpu(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert chosen("auto", "cpu", "cpu", model, cache)
    assert not chosen("auto", "cuda", "A GPU", model, cache)
    assert chosen("on", "cuda", "A GPU", model, cache)
    assert not chosen("off", "cpu", "cpu", model, cache)


@pytest.mark.core
def test_a_measurement_decides_for_its_device_and_its_kind_of_model(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert keep(cache, "A GPU", model, {"fast_ms": 1.0, "plain_ms": 2.0}) == "A GPU, llama"
    keep(cache, "cpu", model, {"fast_ms": 2.0, "plain_ms": 1.0})
    assert chosen("auto", "cuda", "A GPU", model, cache)
    assert not chosen("auto", "cuda", "Another GPU", model, cache)
    assert not chosen("auto", "cpu", "cpu", model, cache)
    (model / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    assert chosen("auto", "cpu", "cpu", model, cache)


@pytest.mark.core
@pytest.mark.parametrize("content", ["[1]", '{"cpu, llama": {"fast_ms": 1}}', "{"])
def test_a_damaged_file_of_measurements_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / MEASURED).write_text(content)
    with pytest.raises(HarnessError, match=MEASURED):
        measured(tmp_path)


@pytest.mark.core
def test_the_switch_holds_inside_its_block() -> None:
    assert fast()
    with paths(False):
        assert not fast()
        with paths(True):
            assert fast()
        assert not fast()
    assert fast()


def test_a_step_is_timed_both_ways_and_leaves_no_gradient() -> None:
    pytest.importorskip("torch")
    from harness.config import Lora
    from harness.lm.step_time import step_times
    from harness.models.adapters import add_lora
    from tests.tiny import tiny_model

    policy = add_lora(tiny_model(), Lora(r=2, alpha=4), 0)
    times = step_times(policy, pairs=1, prompt=16, answer=8)
    assert set(times) == {"fast_ms", "plain_ms"}
    assert min(times.values()) > 0
    assert all(parameter.grad is None for parameter in policy.parameters())
