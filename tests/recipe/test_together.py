"""A fit that several processes make gives the adapter and the losses of one process, and costs as much."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from harness.config import Lora
from harness.conformance.toy import tiny_model
from harness.contracts import HarnessError
from harness.fit.sharding import Sharding, units
from harness.fit.together import ALONE, Together
from harness.lm.peft_internals import decoder_of
from harness.models.adapters import add_lora
from harness.run.launch import ACCELERATE, environment, first_to_end
from tests.fits_together import METHODS, MORE, SHARDINGS, fitted
from tests.tiny import tiny_folder

pytestmark = pytest.mark.recipe
TOP = Path(__file__).parents[2]
STEPS = 12


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What two processes of one launch came to, by method."""
    folder = tmp_path_factory.mktemp("two")
    words = [sys.executable, "-m", "accelerate.commands.launch", *ACCELERATE, "2", "-m", "tests.fits_together"]
    done = subprocess.run(
        [*words, str(folder), "2"], cwd=TOP, env=environment(os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "found.pt", weights_only=False)


@pytest.mark.parametrize("method", [*METHODS, "sft, held out"])
def test_two_processes_fit_what_one_fits(two: Any, method: str, tmp_path: Path) -> None:
    name, _, held_out = method.partition(", ")
    alone = fitted(name, tmp_path, ALONE, "holdout25" if held_out else "last")
    found = two[method]
    assert len(found["losses"]) == 6
    assert found["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert found["held_out"] == pytest.approx(alone["held_out"], rel=1e-5)
    assert len(found["held_out"]) == (4 if held_out else 0)
    assert found["spend"] == alone["spend"], "each row is computed once, wherever it is"
    assert set(found["adapter"]) == set(alone["adapter"])
    for weight, value in alone["adapter"].items():
        torch.testing.assert_close(found["adapter"][weight], value, rtol=1e-4, atol=1e-6)


DIVIDED = [*(f"{method}, layers" for method in METHODS), *(f"dpo, {way}" for way in SHARDINGS if way != "layers")]


@pytest.mark.parametrize("asked", [*DIVIDED, *MORE])
def test_two_processes_that_divide_the_weights_fit_what_one_fits(two: Any, asked: str, tmp_path: Path) -> None:
    alone = fitted(asked.partition(", ")[0], tmp_path, ALONE, **MORE.get(asked, {}))
    found = two[asked]
    assert (alone["held"], found["held"]) == (1.0, pytest.approx(0.5, abs=0.02))
    assert found["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert found["held_out"] == pytest.approx(alone["held_out"], rel=1e-5)
    assert found["spend"] == alone["spend"]
    for weight, value in alone["adapter"].items():
        torch.testing.assert_close(found["adapter"][weight], value, rtol=1e-4, atol=1e-6)
    assert found["layer"] == pytest.approx(alone["layer"], abs=1e-5)
    assert found["said"] == alone["said"]


def test_an_interrupted_fit_of_two_ends_as_an_undisturbed_one(two: Any) -> None:
    undisturbed, gone_on = two["dpo"], two["dpo, gone on"]
    assert gone_on["losses"] == undisturbed["losses"]
    assert gone_on["spend"] == undisturbed["spend"]
    assert all(torch.equal(gone_on["adapter"][name], value) for name, value in undisturbed["adapter"].items())


def test_what_a_trainer_cannot_divide_is_refused() -> None:
    class Trainer:
        train_dataset = (None,) * 10

        class args:
            per_device_train_batch_size = 4

    with pytest.raises(Exception, match="a training batch of 4 rows does not divide into 3 processes"):
        Together(0, 3).divide(Trainer)
    Trainer.train_dataset = (None,) * 9
    with pytest.raises(Exception, match="a training batch of 1 rows does not divide into 2 processes"):
        Together(0, 2).divide(Trainer)


LAUNCHED = """
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : {others} (pid: 13494)
Root Cause (first observed failure):
[0]:
  rank      : 1 (local_rank: 1)
  exitcode  : {first} (pid: 13495)  (SIGKILL)
"""


@pytest.mark.parametrize(("others", "first", "told"), [(1, -9, -9), (-15, 2, 2), (-15, 4, 4), (-15, 1, 1), (1, 1, 1)])
def test_the_process_that_made_the_others_end_is_told(others: int, first: int, told: int) -> None:
    assert first_to_end(LAUNCHED.format(others=others, first=first), 1) == told


def test_layers_of_another_class_are_named() -> None:
    policy = add_lora(tiny_model(), Lora(), 0)
    how = Sharding(classes=("GPT2Block",))
    with pytest.raises(HarnessError, match=r"layers of the class GPT2Block; its layers are .*LlamaDecoderLayer"):
        list(units(policy, decoder_of(policy), how))


# ---------------------------------------------------------------- through the command line


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[str]]:
    """A command line with `processes=2`, by its store."""
    tiny = tiny_folder(tmp_path_factory.mktemp("model") / "tiny")

    def made(store: Path, aligner: str = "dpo") -> list[str]:
        cell = [
            "--aligner",
            aligner,
            "--task",
            "preference",
            "--train-on",
            "medqa",
            "--data",
            "sample",
            "--budget",
            "8",
        ]
        few = ["--model", str(tiny), "--limit", "4", "--store", str(store), "--quiet"]
        processes = ["--set", "processes=2", "--set", "checkpoint_steps=2", "--set", f"budget.min_steps={STEPS}"]
        return [sys.executable, "-m", "harness", "run", *cell, *few, *processes]

    return made


def test_a_killed_process_is_told_and_costs_the_steps_since_the_last_checkpoint(
    words: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    first = subprocess.Popen(words(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=TOP)
    _wait(lambda: any(tmp_path.glob(".fits/*/work/phase-0/checkpoint-*/bench.json")))
    os.kill(max(_ranks(tmp_path)), signal.SIGKILL)
    assert "killed by signal 9 (SIGKILL)" in first.communicate(timeout=300)[0]
    _wait(lambda: not _ranks(tmp_path))
    again = subprocess.run(words(tmp_path), capture_output=True, text=True, check=False, cwd=TOP)
    assert again.returncode == 0, again.stderr[-3000:]
    (fit,) = tmp_path.glob(".fits/*/fit.json")
    report = json.loads(fit.read_text())
    assert report["status"] == "ok"
    assert report["lost"]["restarts"] == 1
    assert report["spend"]["optimizer_steps"] == STEPS
    log = [json.loads(line) for line in (fit.parent / "log.jsonl").read_text().splitlines()]
    assert [event["step"] for event in log if event["event"] == "train" and "loss" in event] == list(
        range(1, STEPS + 1)
    )


def test_a_file_of_accelerates_divides_the_weights(words: Callable[[Path], list[str]], tmp_path: Path) -> None:
    file = tmp_path / "fsdp.yaml"
    settings = {"fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}
    file.write_text(yaml.safe_dump({"distributed_type": "FSDP", "num_processes": 2, "fsdp_config": settings}))
    asked = [*words(tmp_path / "runs"), "--set", f"accelerate_config={file}", "--set", "budget.min_steps=4"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=TOP)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/record.json")]
    machines = {one["aligner"]["name"]: one["manifest"]["decisive"]["fit"]["machine"] for one in found}
    assert machines["dpo"]["sharding"] == Sharding().model_dump(mode="json")
    assert machines["base"]["sharding"] is None


def _wait(until: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def _ranks(store: Path) -> list[int]:
    """Processes that the launcher started for this store; itself and the processes of other tests left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            parts = path.read_bytes().split(b"\0")
        except OSError:
            continue
        ours = any(part.startswith(bytes(store)) for part in parts)
        if ours and b"harness.run.worker" in parts and b"accelerate.commands.launch" not in parts:
            found.append(int(path.parent.name))
    return found
