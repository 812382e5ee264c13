"""How long the leaderboard takes over a large store: 1,000 records of 200 samples.

    python -m pytest benchmarks/bench_leaderboard.py -q
    python -m benchmarks.bench_leaderboard --records 1000 --samples 200     # in a process of its own, with its memory

The target is 2 seconds of a processor and 500 MiB. Both report time of the processor, for the machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.contracts import SampleRow
from harness.records.samples import write_samples
from harness.records.schema import Record
from harness.records.seals import write_sealed
from harness.util.hashes import folder_hashes

SEEDS = 5
METHODS = 25


def fill(store: Path, records: int, samples: int) -> None:
    """Write runs of several tasks and methods under five seeds, with answers of some length in each sample's detail."""
    rng = np.random.default_rng(0)
    per_task = METHODS * SEEDS
    for number in range(records):
        task, rest = divmod(number, per_task)
        method, seed = divmod(rest, SEEDS)
        name = "base" if method == 0 else f"method-{method}"
        if name == "base" and seed:
            name = "method-x"
        correct = rng.random(samples) < 0.4 + 0.01 * method
        margin = rng.normal(size=samples)
        rows = [
            SampleRow(
                f"q{i}", f"q{i}", {"accuracy": float(correct[i]), "margin": float(margin[i])}, {"text": "x" * 400}
            )
            for i in range(samples)
        ]
        folder = store / f"run-{number:04}"
        folder.mkdir(parents=True)
        write_samples(folder / "samples.parquet", rows)
        scores = {
            "accuracy": {"mean": float(correct.mean()), "ci95": None, "n": samples},
            "margin": {"mean": float(np.mean([row.values["margin"] for row in rows])), "ci95": None, "n": samples},
        }
        value = record(folder.name, f"task-{task}", name, seed, samples, scores)
        value["manifest"]["files"] = folder_hashes(folder)
        write_sealed(folder / "record.json", Record.model_validate(value).model_dump(mode="json"))


def record(run_id: str, task: str, aligner: str, seed: int, samples: int, scores: dict[str, Any]) -> dict[str, Any]:
    """A record of the usual size: 32 pairs, 128 prompts, a dozen libraries."""
    return {
        "id": run_id, "status": "ok",
        "aligner": {"name": aligner, "version": "1", "paper": "", "fit_id": run_id, "config": {"learning_rate": 1e-4}},
        "task": {"name": task, "revision": "r", "main_metric": "accuracy", "limit": None, "num_fewshot": 0,
                 "n_items": samples, "notes": {"chance": 0.25}},
        "model": {"name": "m", "weights_hash": "w" * 64, "parameters": 1, "precision": "fp32", "device": "cpu",
                  "backend": "hf", "lora": {"r": 16}, "lengths": {"prompt": 512}},
        "data": {"source": "sample", "pool": task, "pool_revision": "p" * 64,
                 "pair_ids": [] if aligner == "base" else [f"{i:064}" for i in range(32)],
                 "prompt_ids": [f"{i:064}" for i in range(128)]},
        "budget": {"preset": "32", "labels": 32, "prompts": 128, "batch": 4, "min_steps": 32, "selection": "last",
                   "track": "labels", "cap_flops": None},
        "spent": {"labels": 32, "auxiliary_labels": 0, "prompts": 128, "generated_tokens": 0, "forward_tokens": 10,
                  "trained_tokens": 10, "optimizer_steps": 32, "flops": 1e12, "peak_memory_bytes": 2**30,
                  "seconds": {"load": 1, "fit": 2, "evaluate": 3, "total": 6}, "inference": {}, "lost": {}},
        "scores": scores,
        "manifest": {"created": f"2026-01-01T00:{seed:02}:00Z", "command": ["run"], "plugins": {}, "platform": "linux",
                     "packages": {f"library-{i}": "1.0" for i in range(12)}, "python": "3.11", "device": "cpu",
                     "threads": 2, "git_commit": "f" * 40, "git_dirty": False},
        "seed": {"draw": 0, "training": seed},
    }  # fmt: skip


def measure(store: Path) -> dict[str, float]:
    """Seconds of wall clock and CPU and the largest memory of `leaderboard` in a process of its own."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "harness", "leaderboard", "--store", str(store)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu seconds": round(used.ru_utime + used.ru_stime, 2),
        "MiB": round(used.ru_maxrss / 1024),
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    fill(folder, 1_000, 200)
    return folder


@pytest.mark.benchmark(timer=time.process_time)
def test_leaderboard_of_a_thousand_records(benchmark: Any, store: Path) -> None:
    import leaderboards

    text = benchmark.pedantic(lambda: leaderboards.render(leaderboards.tables(store)), rounds=3, warmup_rounds=1)
    assert text.count("## ") == 8


def main() -> None:
    """Fill a folder, if it is not there yet, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("bench-store"))
    parser.add_argument("--records", type=int, default=1_000)
    parser.add_argument("--samples", type=int, default=200)
    asked = parser.parse_args()
    if not asked.store.exists():
        fill(asked.store, asked.records, asked.samples)
    print(json.dumps(measure(asked.store)))


if __name__ == "__main__":
    main()
