"""Kill the main job with SIGKILL at random moments, resume it, and compare with an undisturbed run.

    python benchmarks/kill_resume.py --kills 10

A tiny random model goes through the whole loop (`run --aligner gem --task medqa` on the shipped sample). Every kill has
its own empty store: the job is started, killed at a uniformly random moment of the undisturbed duration, and started
again until it ends. Records must be equal but for times, memory, command and `lost`; samples and adapters bit-equal.
Exit status 1 when one differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

VOLATILE = ("seconds", "peak_memory_bytes", "lost")
TIMED = ("log.jsonl", "adapter/adapter_config.json")
"""Files of a run that hold times, or a list in the order of a set; adapters are compared by their tensors."""


def command(model: Path, store: Path, aligner: str, settings: list[str]) -> list[str]:
    base = (
        f"run --aligner {aligner} --task medqa --data sample --limit 24 --budget 8 --json --quiet --no-plugins".split()
    )
    extra = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "-m", "harness", *base, "--model", str(model), "--store", str(store), *extra]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def finish(words: list[str]) -> dict[str, Any]:
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode != 0:
        raise SystemExit(f"the job failed with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)


def start_and_kill(words: list[str], after: float) -> bool:
    """True when the job was still running and was killed."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    spent = {k: v for k, v in record["spent"].items() if k not in VOLATILE}
    manifest = {k: v for k, v in record["manifest"].items() if k not in ("created", "command")}
    manifest["files"] = {name: found for name, found in manifest["files"].items() if name not in TIMED}
    return {**record, "spent": spent, "manifest": manifest, "seal": None}


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(set(a) | set(b))
        return [line for k in keys for line in differences(a.get(k), b.get(k), f"{where}.{k}")]
    return [] if a == b else [f"{where}: {a!r} != {b!r}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--aligner", default="gem")
    parser.add_argument("--model", type=Path, help="folder of another model; a tiny random one is made by default")
    parser.add_argument("--set", dest="settings", action="append", default=["checkpoint_steps=4"], metavar="KEY=VALUE")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        model = options.model or make_tiny(Path(scratch) / "tiny")
        began = time.monotonic()
        words = command(model, Path(scratch) / "calm", options.aligner, options.settings)
        calm = finish(words)
        duration = time.monotonic() - began
        calm_samples = (Path(scratch) / "calm" / calm["id"] / "samples.parquet").read_bytes()
        print(f"undisturbed: {duration:.1f} s, status {calm['status']}, adapter {calm['aligner']['adapter_hash'][:12]}")
        bad = 0
        for number in range(options.kills):
            store = Path(scratch) / f"store-{number}"
            words = command(model, store, options.aligner, options.settings)
            after = rng.uniform(0.05, 0.95) * duration
            killed = start_and_kill(words, after)
            record = finish(words)
            found = differences(comparable(calm), comparable(record))
            if (store / record["id"] / "samples.parquet").read_bytes() != calm_samples:
                found.append("samples.parquet differs")
            lost = record["spent"]["lost"]
            outcome = "equal" if not found else "DIFFERENT: " + "; ".join(found[:5])
            print(f"kill {number + 1} after {after:5.1f} s (killed {killed}), lost {lost}: {outcome}", flush=True)
            bad += bool(found)
    print(f"{options.kills - bad} of {options.kills} resumed runs equal the undisturbed one")
    return 1 if bad else 0


def make_tiny(folder: Path) -> Path:
    from harness.conformance.toy import tiny_folder

    tiny_folder(folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
