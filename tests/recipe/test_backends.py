"""A second backend through the whole loop: what the record names is what ran."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tests.table_backend as table
from harness.config import PRESETS, Lengths, Lora, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import EngineCapability, HarnessError, ModelFolder
from harness.contracts.progress import Silent
from harness.hookspecs import hookimpl
from harness.lm.backends.hf import HfBackend, HfEngine
from harness.lm.speeds import Where, keep
from harness.plugins.registry import Registry, load
from harness.run.engine import run
from harness.run.plan import make_plan

pytestmark = pytest.mark.recipe


class Mute(table.TableBackend):
    """It scores and writes nothing."""

    name = "mute"
    capabilities = frozenset[EngineCapability]({"loglik", "score"})


class DeafEngine(HfEngine):
    """It says that it loads adapters."""

    def load(self, folder: Path) -> None:
        assert (folder / "adapter_model.safetensors").is_file()

    def parts(self) -> dict[str, str]:
        return {"generate": "one thing", "score": "another"}


class Deaf(HfBackend):
    """The hf backend without adapters."""

    name = "deaf"

    def open(self, files: ModelFolder, *, device: str, precision: str) -> HfEngine:
        opened = super().open(files, device=device, precision=precision)
        return DeafEngine(opened.model, opened.tokenizer)


class OffersMute:
    @hookimpl
    def harness_backends(self) -> list[Any]:
        return [Mute, Deaf]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False, extra=[table, OffersMute()])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny"))


def cell(model: str, store: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "aligner": "base",
        "task": "medqa",
        "data": "sample",
        "limit": 4,
        "budget": PRESETS["8"].model_copy(update={"min_steps": 2, "prompts": 2}),
        "lengths": Lengths(prompt=64, completion=16, new_tokens=8, sample_prompts=2),
        "lora": Lora(r=2, alpha=4),
        "model": model,
        "store": store,
        "device": "cpu",
        "backend": "table",
    }
    return RunConfig(**{**settings, **changes})


def test_the_backend_that_a_record_names_is_the_one_that_ran(model: str, tmp_path: Path, registry: Registry) -> None:
    table.TableEngine.opened.clear()
    table.TableEngine.asked.clear()
    record = run(cell(model, tmp_path), registry=registry)
    assert table.TableEngine.opened == [record.model.name]
    assert "loglik" in table.TableEngine.asked
    assert (record.status, record.model.backend, record.model.fit_backend) == ("ok", "table", None)
    assert record.spent.inference.forward_tokens > 0
    assert record.spent.inference.flops == 2 * record.spent.inference.forward_tokens, "at the table's own price"
    other = run(cell(model, tmp_path, backend="hf"), registry=registry)
    assert table.TableEngine.opened == [record.model.name], "hf opens no table"
    assert other.id != record.id
    assert other.model.parameters == record.model.parameters
    assert other.spent.inference.flops != record.spent.inference.flops


def test_a_fit_serves_every_backend_and_the_record_says_what_it_ran_on(
    model: str, tmp_path: Path, registry: Registry
) -> None:
    table.TableEngine.asked.clear()
    cells = [cell(model, tmp_path, aligner="icl", backend=backend) for backend in ("table", "hf")]
    records = [run(config, registry=registry) for config in cells]
    assert [record.model.backend for record in records] == ["table", "hf"]
    assert {record.model.fit_backend for record in records} == {"hf"}
    assert len({record.aligner.fit_id for record in records}) == 1
    assert len({record.id for record in records}) == 2
    assert "loglik" in table.TableEngine.asked


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"aligner": "sft"},
            "^aligner sft asks its engine for adapters; backend table has entropy, generate, logits, loglik and score$",
        ),
        ({"aligner": "ridge", "task": "opinionqa"}, "^aligner ridge asks its engine for embed; backend table has "),
        (
            {"task": "gsm8k", "backend": "mute"},
            "^task gsm8k requires generate; a result of aligner base under backend mute can choose, loglik and prefer$",
        ),
        ({"backend": "tabel"}, "backend 'tabel' is not installed; did you mean 'table'"),
    ],
)
def test_what_a_backend_lacks_is_refused_before_anything_runs(
    changes: dict[str, Any], sentence: str, model: str, tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(HarnessError, match=sentence):
        run(cell(model, tmp_path, **changes), registry=registry)
    assert not list(tmp_path.glob("*/record.json"))


def test_an_adapter_that_is_not_applied_is_a_warning_in_the_record(
    model: str, tmp_path: Path, registry: Registry
) -> None:
    record = run(cell(model, tmp_path, aligner="sft", backend="deaf"), registry=registry)
    (said,) = record.model.warnings
    assert "all 4 items are answered exactly as by the base model" in said
    assert record.model.engines == {"generate": "one thing", "score": "another"}
    heard = run(cell(model, tmp_path, aligner="sft", backend="hf"), registry=registry)
    assert (heard.aligner.fit_id, heard.model.warnings) == (record.aligner.fit_id, ())


def test_auto_takes_what_was_measured_to_sample_fastest_and_hf_where_nothing_is_sampled(
    model: str, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))

    def planned(task: str) -> str:
        return make_plan(cell(model, tmp_path, task=task, backend="auto"), registry, Silent()).config.backend

    assert planned("gsm8k") == "hf", "nothing was measured"
    keep(Where(tmp_path / "cache", "cpu", Path(model), "fp32"), {"hf": 10.0, "table": 20.0})
    assert planned("gsm8k") == "table"
    assert planned("medqa") == "hf"


def test_where_any_of_several_abilities_will_do_a_task_is_told_which_are_there(
    model: str, tmp_path: Path, registry: Registry
) -> None:
    record = run(cell(model, tmp_path, task="medical_dialogue", backend="mute", limit=2), registry=registry)
    assert record.status == "ok", record.reason
    assert record.spent.inference.generated_tokens == 0


def test_the_command_line_reaches_the_backend(model: str, tmp_path: Path) -> None:
    notes = tmp_path / "site" / "table-0.1.dist-info"
    notes.mkdir(parents=True)
    (notes / "METADATA").write_text("Metadata-Version: 2.1\nName: table\nVersion: 0.1\n")
    (notes / "entry_points.txt").write_text("[harness]\ntable = tests.table_backend\n")
    root = str(Path(__file__).parents[2])
    words = ["run", "--aligner", "base", "--task", "medqa", "--data", "sample", "--limit", "2", "--device", "cpu"]
    words += ["--budget", "8", "--set", "lengths.prompt=64", "--set", "lengths.completion=16", "--backend", "table"]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words, "--model", model, "--store", str(tmp_path / "runs"), "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), root])},
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["model"]["backend"] == "table"
    assert record["manifest"]["plugins"]["backend:table"] == "table 0.1"
