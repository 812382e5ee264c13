"""Run every installed aligner on a CUDA device, tiny budget, whole loop, and print one line each.

    python benchmarks/gpu_smoke.py [--model MODEL] [--store FOLDER]

Without a GPU it says so and exits with 0 having run nothing: there is nothing to smoke-test.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path


def main() -> int:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--limit", type=int, default=16)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device on this machine: nothing was run")
        return 0
    from harness.config import PRESETS, RunConfig
    from harness.contracts import HarnessError
    from harness.plugins.registry import load
    from harness.run.engine import run

    registry = load()
    store = options.store or Path(tempfile.mkdtemp())
    print(f"device: {torch.cuda.get_device_name()}; store: {store}")
    failed = 0
    for name in registry.aligners:
        config = RunConfig(
            aligner=name,
            task="medqa",
            model=options.model,
            data="sample",
            device="cuda",
            budget=PRESETS["8"],
            limit=options.limit,
            store=store,
        )
        try:
            record = run(config, registry=registry)
        except HarnessError as error:  # it learns from groups' opinions, which this pool does not hold
            print(f"{name:14} left out: {error}")
            continue
        score = record.scores.get(record.task.main_metric)
        shown = f"{score.mean:.3f}" if score else "-"
        seconds, memory = record.spent.seconds.total, record.spent.peak_memory_bytes / 2**30
        print(f"{name:14} {record.status:10} {shown:>6} {seconds:7.1f} s {memory:6.2f} GiB  {record.reason or ''}")
        failed += record.status == "failed"
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
