"""Which engine `--backend auto` takes: the fastest that was measured where it runs, and hf without a measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import HarnessError
from harness.lm import speeds
from harness.lm.speeds import MEASURED, Where, fastest, keep

pytestmark = pytest.mark.core
OFFERED = ("hf", "vllm")


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Where:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    monkeypatch.setattr(speeds, "version_of", {"hf": "transformers 5", "vllm": "vllm 1"}.get)
    return Where(tmp_path / "cache", "cpu", model, "fp32")


def test_without_a_measurement_it_is_hf(where: Where) -> None:
    assert fastest(where, OFFERED) == "hf"


def test_the_fastest_is_taken_where_it_was_measured(where: Where) -> None:
    keep(where, {"hf": 100.0, "vllm": 300.0})
    assert fastest(where, OFFERED) == "vllm"
    assert fastest(where, ("hf",)) == "hf"
    assert fastest(Where(where.cache, "cpu", where.model, "bf16"), OFFERED) == "hf"
    assert fastest(Where(where.cache, "A GPU", where.model, "fp32"), OFFERED) == "hf"
    keep(where, {"hf": 400.0, "vllm": 300.0})
    assert fastest(where, OFFERED) == "hf"


@pytest.mark.parametrize("installed", ["vllm 2", None])
def test_a_measurement_of_another_version_does_not_count(
    where: Where, monkeypatch: pytest.MonkeyPatch, installed: str | None
) -> None:
    keep(where, {"hf": 100.0, "vllm": 300.0})
    monkeypatch.setattr(speeds, "version_of", {"hf": "transformers 5", "vllm": installed}.get)
    assert fastest(where, OFFERED) == "hf"


@pytest.mark.parametrize("content", ["[1]", '{"cpu, llama, fp32": {"hf": 3}}', '{"cpu, llama, fp32": 3}', "{"])
def test_a_damaged_file_of_measurements_is_named(where: Where, content: str) -> None:
    where.cache.mkdir()
    (where.cache / MEASURED).write_text(content)
    with pytest.raises(HarnessError, match=MEASURED):
        fastest(where, OFFERED)


def test_versions_are_those_that_are_installed() -> None:
    assert str(speeds.version_of("hf")).startswith("transformers ") or speeds.version_of("hf") is None
    assert speeds.version_of("somebody-elses") is None


def test_every_backend_that_samples_is_timed_and_one_that_cannot_says_why() -> None:
    pytest.importorskip("torch")
    from harness.lm.backends.hf import HfEngine
    from tests.tiny import tiny_model, tiny_tokenizer

    closed = []

    class Engine(HfEngine):
        def close(self) -> None:
            closed.append(self)

    class Fine:
        name, capabilities = "fine", frozenset({"generate"})

        def open(self, files: Any, **_: Any) -> Engine:
            return Engine(tiny_model(), tiny_tokenizer())

    class Absent(Fine):
        def open(self, files: Any, **_: Any) -> Engine:
            raise HarnessError("not here")

    class Scores(Fine):
        capabilities = frozenset({"loglik"})

    backends: Any = {"fine": Fine, "absent": Absent, "scores": Scores}
    found = dict(speeds.speeds(backends, Any, device="cpu", precision="fp32"))  # type: ignore[arg-type]
    assert set(found) == {"fine", "absent"}
    assert isinstance(found["fine"], float)
    assert found["fine"] > 0
    assert str(found["absent"]) == "not here"
    assert len(closed) == 1
