"""The vLLM backend where vLLM is installed: the kit's checks, many adapters in one engine, and the gate against hf."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; see docs/models.md")

from aligners.dpo import Dpo, DpoConfig
from harness.config import Lora
from harness.conformance.backends import parametrize_backends_with_checks
from harness.conformance.lesson import lesson
from harness.conformance.toy import TEXT, tiny_folder
from harness.contracts import HarnessError
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.lm.backends.hf import HfBackend, HfEngine
from harness.lm.backends.parity import Parity
from harness.lm.backends.vllm import VllmBackend, VllmEngine
from harness.meter import Meter
from harness.models import find, load
from harness.plugins.registry import load as load_registry
from harness.records.store import Store
from harness.run.engine import run
from tests.recipe.test_backends import cell
from tests.tiny import flat_regime

pytestmark = pytest.mark.vllm
HEAD = 32
"""Narrower attention heads have no kernel in vLLM."""


@parametrize_backends_with_checks([VllmBackend], head=HEAD)
def test_conformance(check: Any) -> None:
    check()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return find.resolve(str(tiny_folder(tmp_path_factory.mktemp("model") / "tiny", head=HEAD)), registry_models={})


@pytest.fixture(scope="module")
def adapters(files: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three fits of dpo, each with labels or a seed of its own."""
    folders = []
    for number in range(3):
        model, tokenizer = load.load(files, device="cpu", precision="fp32")
        folder = tmp_path_factory.mktemp(f"adapter{number}")
        bench = LocalBench.create(
            model,
            tokenizer,
            regime=flat_regime(batch=4, min_steps=6),
            meter=Meter(),
            seed=number,
            workdir=folder / "work",
            lora=Lora(r=4, alpha=64),
        )
        fit(Dpo(DpoConfig(learning_rate=1e-2)), bench, lesson(8, swapped=number == 1))
        bench.adapters.write(folder)
        folders.append(folder)
    return folders


@pytest.fixture(scope="module")
def engine(files: Any) -> Iterator[VllmEngine]:
    opened = VllmBackend().open(files, device="cpu", precision="fp32")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def hf(files: Any) -> HfEngine:
    return HfBackend().open(files, device="cpu", precision="fp32")


def prompts(tokenizer: Any, number: int = 20) -> list[list[int]]:
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    return [ids[i : i + 6 + i % 5] for i in range(number)]


def greedy(engine: Any) -> list[tuple[int, ...]]:
    return [one.ids for (one,) in engine.generate(prompts(engine.tokenizer), temperature=0.0, max_new_tokens=16)]


def test_base_and_three_adapters_answer_from_one_engine_as_hf_does(
    engine: VllmEngine, hf: HfEngine, adapters: list[Path]
) -> None:
    bare = greedy(engine)
    judged = {"base": Parity.of(hf, prompts(hf.tokenizer), bare, "fp32")}
    loaded = engine._vllm
    answers = []
    for folder in adapters:
        engine.load(folder)
        hf.load(folder)
        answers.append(greedy(engine))
        judged[folder.name] = Parity.of(hf, prompts(hf.tokenizer), answers[-1], "fp32")
        assert engine.parts()["parity"].startswith("20 prompts, ")
    engine.drop()
    hf.drop()
    assert engine._vllm is loaded, "one load for all"
    assert len({tuple(found) for found in (bare, *answers)}) == 4, "each answers in its own way"
    assert greedy(engine) == bare
    for found in judged.values():
        found.check("vllm")
        assert found.items == 20
        assert found.same > 0.95
    engine.load(adapters[0])
    assert greedy(engine) == answers[0], "an adapter that comes back is the same"
    engine.drop()


def test_an_adapter_that_vllm_does_not_apply_is_refused(
    engine: VllmEngine, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.load(adapters[1])
    engine.parity.clear()
    monkeypatch.setattr(VllmEngine, "_request", lambda self: None)
    with pytest.raises(HarnessError, match="samples from another model than transformers"):
        greedy(engine)
    engine.parity.clear()
    engine.drop()


def test_more_prompts_than_one_step_reads_are_sampled_with_their_seeds(engine: VllmEngine) -> None:
    """Where a prompt is read in two parts, vLLM sets a seeded draw back, which no generator of a CPU can do."""
    engine.drop()
    many = [row * 10 for row in prompts(engine.tokenizer, 120)]
    assert sum(map(len, many)) > 2 * 4096, "a step reads 4,096 tokens unless it is told otherwise"
    found = engine.generate(many, n=2, max_new_tokens=2, seed=1)
    assert [len(samples) for samples in found] == [2] * len(many)


def test_a_shared_prefix_is_not_read_twice(engine: VllmEngine) -> None:
    greedy(engine)  # judged by hf, on other prompts
    long = (prompts(engine.tokenizer, 1)[0] * 40)[:200]
    spent = []
    for tail in (7, 8):
        meter = Meter()
        with engine.metered(meter):
            engine.generate([[*long, tail]], temperature=0.0, max_new_tokens=4)
        spent.append(meter.spend.forward_tokens)
    assert spent[1] < spent[0] / 2


def test_memory_is_given_back_and_the_engine_opens_again(files: Any, engine: VllmEngine) -> None:
    first = greedy(engine)
    engine.close()
    assert engine._vllm is None
    started = time.monotonic()
    assert greedy(engine) == first
    assert time.monotonic() - started < 300


def test_a_whole_run_ends_with_the_answers_and_scores_of_hf(files: Any, tmp_path: Path) -> None:
    """One fit, whose answers both engines write; a near tie may turn an answer, so a few may differ."""
    registry = load_registry(plugins=False)
    asked = {"aligner": "sft", "task": "care_protocol", "limit": 24}
    cells = [cell(str(files.folder), tmp_path, **asked, backend=name) for name in ("hf", "vllm")]
    hf, vllm = (run(config, registry=registry) for config in cells)
    assert hf.status == vllm.status == "ok"
    assert vllm.aligner.fit_id == hf.aligner.fit_id
    assert hf.model.engines["generate"].startswith("transformers ")
    assert vllm.model.engines["generate"].startswith("vllm ")
    assert vllm.model.engines["parity"].startswith("20 prompts, ")
    store = Store(tmp_path)
    rows = list(zip(store.samples(hf), store.samples(vllm), strict=True))
    assert [one.id for one, _ in rows] == [other.id for _, other in rows]
    answers = [(one.detail["output"], other.detail["output"]) for one, other in rows if "output" in one.detail]
    assert len({one for one, _ in answers}) > 1
    assert sum(one == other for one, other in answers) >= 0.9 * len(answers)
    assert vllm.scores.keys() == hf.scores.keys()
    for name, score in hf.scores.items():
        assert vllm.scores[name].mean == pytest.approx(score.mean, abs=0.1), name


def test_importing_vllm_changes_no_id() -> None:
    """It sets variables of torch for its own process, which a cell that is planned afterwards would have counted."""
    script = (
        "from harness.records.provenance import environment; before = environment(); import vllm; "
        "from vllm import LLM; assert environment() == before, (before, environment())"
    )
    ours = ("KMP_", "PYTORCH_", "TORCHINDUCTOR_")  # this process has imported it already
    left = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run([sys.executable, "-c", script], env=left, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
