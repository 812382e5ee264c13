"""The probe of this machine: a few layers of a model that was never run here."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from harness.study import probe as probing
from harness.study.probe import THREADS_SHARE, probe

torch = pytest.importorskip("torch")

from harness.conformance.toy import tiny_folder  # noqa: E402
from harness.study.probe import few_layers  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "tiny")


def test_the_probe_finds_speeds_that_a_processor_can_have(folder: Path) -> None:
    threads, numbers = torch.get_num_threads(), torch.get_rng_state()
    found = probe(folder, 1)
    assert set(found) == {"fit", "evaluate", "written"}
    assert all(1e6 < one < 1e15 for one in found.values())
    assert found["written"] < found["evaluate"]
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), numbers)


def test_two_threads_are_not_twice_as_fast(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_of_layers", lambda folder: {"fit": 1e9})
    assert probe(folder, 2) == {"fit": pytest.approx(1e9 * 2**THREADS_SHARE)}


def test_the_probe_does_not_count_the_time_that_others_have_the_processor(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two looks at the clock an hour goes by, as on a machine that is lent to somebody else."""
    hours = itertools.count(step=3600.0)
    monkeypatch.setattr(probing.time, "perf_counter", lambda: next(hours))
    monkeypatch.setattr(probing.time, "monotonic", lambda: next(hours))
    assert min(probe(folder, 1).values()) > 1e6


def test_the_layers_have_the_model_s_shapes_and_are_as_many_as_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = json.loads((folder / "config.json").read_text())
    for wanted, layers in ((1, 1), (10**12, whole["num_hidden_layers"])):
        monkeypatch.setattr(probing, "WEIGHTS", wanted)
        config = few_layers(folder).config
        assert (config.hidden_size, config.intermediate_size) == (whole["hidden_size"], whole["intermediate_size"])
        assert config.num_hidden_layers == layers


def test_a_model_of_unknown_layers_has_the_speed_of_products(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "of our own", "hidden_size": 8}))
    found = probe(tmp_path, 1)
    assert len(set(found.values())) == 1
    assert 1e8 < found["fit"] < 1e15
