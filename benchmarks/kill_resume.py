"""Kill the main job with SIGKILL at random moments, resume it, and compare with an undisturbed run.

    python benchmarks/kill_resume.py --aligner gem,selfie,dpo --chains 4 --kills 3 --damage

A tiny random model goes through the whole loop (`run --aligner gem --task medqa` on the shipped sample). Each chain has
its own empty store: the job is started and killed, `--kills` times over, each time at a uniformly random moment of the
undisturbed duration; the victim is the parent, the worker that fits, or both. With `--damage` one file of the store
(record, samples, fit report, adapter, log, checkpoint, answers) is cut short or has a byte flipped after each kill. At
last the job is left to end. Records must be equal but for times, memory, command and `lost`; samples and adapters
bit-equal; logs equal but for their times. Exit status 1 when one differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

VOLATILE = ("seconds", "peak_memory_bytes", "lost")
TIMED = ("log.jsonl", "adapter/adapter_config.json")
"""Files of a run that hold times, or a list in the order of a set; adapters are compared by their tensors."""
READ = (
    *("record.json", "samples.parquet", "fit.json", "result/*", "adapter/*", "log.jsonl"),
    *("work/**/*", "starts.json", ".starts/*", "responses.jsonl"),
)
"""Files that are verified whenever they are read, of finished work and of unfinished."""
TIMES = re.compile("time|per_second|flos")
"""What the names of a log's fields hold that say when or how fast."""
VICTIMS = ("parent", "worker", "both")
KILLS = {"done": 0}
"""SIGKILLs that met a living process."""


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


def start_and_kill(words: list[str], after: float, victim: str) -> str:
    """Who was killed: `parent`, `worker`, `both`, or `nobody` where the job had ended before."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        return kill(process, victim)
    return "nobody"


def kill(process: subprocess.Popen[Any], victim: str) -> str:
    """Kill the job, the worker that fits, or both; the job where no worker lives. Gives who was killed."""
    workers = [child for child in psutil.Process(process.pid).children() if "harness.run.worker" in child.cmdline()]
    killed = victim if workers else "parent"
    for worker in workers if killed != "parent" else ():
        worker.kill()
        KILLS["done"] += 1
    if killed != "worker":
        process.send_signal(signal.SIGKILL)
        KILLS["done"] += 1
    process.wait()
    return killed


def damage(store: Path, rng: random.Random, patterns: tuple[str, ...] = READ) -> str:
    """Cut a file of the store short or flip one of its bytes; what was done, in words.

    What is worth damage is unfinished work rather than the many files of what is finished: each kind is as likely.
    """
    kinds = [sorted(path for path in store.rglob(pattern) if path.is_file()) for pattern in patterns]
    found = rng.choice([kind for kind in kinds if kind] or [[]])
    if not found:
        return "nothing to damage"
    path = rng.choice(found)
    content = bytearray(path.read_bytes())
    if not content or rng.random() < 0.5:
        path.write_bytes(content[: len(content) // 2])
        return f"{path.relative_to(store)} cut short"
    content[rng.randrange(len(content))] ^= 0xFF
    path.write_bytes(content)
    return f"{path.relative_to(store)} flipped"


def log_of(store: Path, run: str) -> list[dict[str, Any]]:
    """The log's events without their times."""
    lines = (store / run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if not TIMES.search(k)} for line in lines]


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


def all_differences(calm_store: Path, calm: dict[str, Any], store: Path, record: dict[str, Any]) -> list[str]:
    """Between the records, answers and logs of an undisturbed run and of one that was killed and resumed."""
    found = differences(comparable(calm), comparable(record))
    if read(calm_store, calm["id"]) != read(store, record["id"]):
        found.append("samples.parquet differs")
    if log_of(calm_store, calm["id"]) != log_of(store, record["id"]):
        found.append("log.jsonl differs")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", type=int, default=3)
    parser.add_argument("--kills", type=int, default=3, help="in each chain")
    parser.add_argument("--damage", action="store_true", help="damage a file after each kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--aligner", default="gem", help="names, separated by commas")
    parser.add_argument("--model", type=Path, help="folder of another model; a tiny random one is made by default")
    parser.add_argument("--set", dest="settings", action="append", default=["checkpoint_steps=4"], metavar="KEY=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        options.model = options.model or make_tiny(Path(scratch) / "tiny")
        bad = sum(attack(name, Path(scratch) / name, options) for name in options.aligner.split(","))
    total = options.chains * len(options.aligner.split(","))
    print(f"{total - bad} of {total} chains end as the undisturbed run did; {KILLS['done']} processes were killed")
    return 1 if bad else 0


def attack(aligner: str, scratch: Path, options: argparse.Namespace) -> int:
    """How many chains of one aligner end otherwise than the undisturbed run."""
    rng = random.Random(f"{options.seed} {aligner}")
    began = time.monotonic()
    calm = finish(command(options.model, scratch / "calm", aligner, options.settings))
    duration = time.monotonic() - began
    print(f"{aligner}, undisturbed: {duration:.1f} s, status {calm['status']}", flush=True)
    bad = 0
    for number in range(options.chains):
        store = scratch / f"store-{number}"
        words = command(options.model, store, aligner, options.settings)
        told = []
        for _ in range(options.kills):
            after = rng.uniform(0.05, 0.95) * duration
            told.append(f"{start_and_kill(words, after, rng.choice(VICTIMS))} at {after:.1f} s")
            if options.damage:
                told.append(damage(store, rng))
        record = finish(words)
        found = all_differences(scratch / "calm", calm, store, record)
        outcome = "equal" if not found else "DIFFERENT: " + "; ".join(found[:5])
        print(f"{aligner}, chain {number + 1}: {', '.join(told)}: {outcome}", flush=True)
        bad += bool(found)
    return bad


def read(store: Path, run: str) -> bytes:
    """The rows of a run's evaluation, as written."""
    return (store / run / "samples.parquet").read_bytes()


def make_tiny(folder: Path) -> Path:
    from harness.conformance.toy import tiny_folder

    tiny_folder(folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
