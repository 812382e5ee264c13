"""A small study whose driver, workers and fits are killed again and again ends with the records of an undisturbed one.

    python benchmarks/kill_study.py --kills 30 --seed 0

The tiny model of the conformance kit, three methods (two of which begin alike), two draws, two workers. Between two
kills the study gets a random time of work; a killed driver is started again. A study that ends before all kills is
followed by another in an empty store. Scores, answers and adapters of each are compared bit for bit with those of the
undisturbed study, and what every record says of work that was lost is printed.
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
from collections import Counter
from pathlib import Path
from typing import Any

from harness.conformance.toy import tiny_folder
from harness.plugins.registry import load
from harness.study import Study

LONGEST_S = 1800.0
DRIVER = 0.3
"""Share of the kills that are aimed at the driver."""


def study_file(folder: Path, store: str, draws: int) -> Path:
    values = {
        "name": "killed",
        "store": str(folder / store),
        "aligners": ["sft", "dpo", {"aligner": "gem", "settings": {"sega_steps": 4}}],
        "tasks": ["medqa"],
        "models": [str(folder / "model" / "tiny")],
        "budgets": [{"preset": 8, "min_steps": 8, "prompts": 0}],
        "draws": draws,
        "shared": {
            "data": "sample",
            "limit": 8,
            "lengths": {"prompt": 96, "completion": 32, "new_tokens": 16, "sample_prompts": 2},
            "lora": {"r": 4, "alpha": 8},
            "checkpoint_steps": 1,
        },
        "run": {"workers": 2, "threads": 1, "attempts": 1000},
    }
    path = folder / f"{store}.yaml"
    path.write_text(json.dumps(values))
    return path


def start(path: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "harness", "study", "run", str(path), "--quiet", "--no-plugins"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def below(pid: int) -> list[int]:
    """All living processes that this one started, and theirs."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rsplit(")", 1)[1].split()[:2]
            if state != "Z":
                parents[int(status.parent.name)] = int(parent)
        except (OSError, ValueError, IndexError):
            continue
    found, wave = [], [pid]
    while wave:
        wave = [child for child, parent in parents.items() if parent in wave]
        found += wave
    return found


def kill_and_go_on(path: Path, kills: int, longest: float, rng: random.Random) -> dict[str, int]:
    """Run the study to its end, with up to `kills` kills on the way; how many of them hit whom."""
    hit = {"driver": 0, "worker or fit": 0}
    process = start(path)
    while sum(hit.values()) < kills:
        try:
            process.wait(timeout=rng.uniform(0.2, longest))
            break
        except subprocess.TimeoutExpired:
            pass
        others = below(process.pid)
        victim = process.pid if not others or rng.random() < DRIVER else rng.choice(others)
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        hit["driver" if victim == process.pid else "worker or fit"] += 1
        if victim == process.pid:
            process.wait()
            process = start(path)
    process.wait(timeout=LONGEST_S)
    return hit


def outcomes(path: Path) -> dict[str, Any]:
    records = Study.load(path, registry=load(plugins=False)).records()
    return {
        r.id: (
            *(r.status, r.reason, r.scores, r.aligner.adapter_hash, r.aligner.liveness),
            *(r.spent.flops, r.spent.optimizer_steps, r.manifest.files["samples.parquet"]),
        )
        for r in records
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--longest", type=float, help="seconds between two kills; left out: half of a quiet study's")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = asked.keep or Path(name)
        tiny_folder(folder / "model" / "tiny")
        quiet = study_file(folder, "undisturbed", asked.draws)
        began = time.monotonic()
        if start(quiet).wait(timeout=LONGEST_S) != 0:
            print("the undisturbed study did not end well")
            return 1
        longest = asked.longest or (time.monotonic() - began) / 2
        rng, hit, restarts, same, rounds = random.Random(asked.seed), Counter[str](), list[int](), True, 0
        expected = outcomes(quiet)
        while hit.total() < asked.kills:
            killed = study_file(folder, f"killed-{rounds}", asked.draws)
            hit.update(kill_and_go_on(killed, asked.kills - hit.total(), longest, rng))
            again, ended = start(killed).wait(timeout=LONGEST_S), outcomes(killed)
            differing = [run for run in {*expected, *ended} if expected.get(run) != ended.get(run)]
            for run in differing:
                print(f"{run}: {expected.get(run)}\n    and here: {ended.get(run)}")
            same = same and again == 0 and not differing
            restarts += [r.spent.lost.restarts for r in Study.load(killed, registry=load(plugins=False)).records()]
            rounds += 1
            said = {"studies": rounds, "kills": hit, "restarts": restarts, "bit_equal": same, "exit": again}
            print(json.dumps(said), flush=True)
        return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
