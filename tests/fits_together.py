"""Run by `accelerate launch`: every process fits the same methods on its rows; the first writes what came out."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

from harness.config import Lora
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import FewShot, Pair, user
from harness.contracts.progress import Progress, Silent
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.fit.journal import Journal, Unwritten
from harness.fit.together import Together, begin
from harness.meter import Meter
from harness.plugins.registry import load
from tests.tiny import flat_regime

METHODS = ("sft", "dpo", "ipo", "simpo", "kto", "random", "best_of_n")
PAIRS = tuple(
    Pair(f"p{i}", user(f"question {i}?"), f"the answer is {i}" + " really" * (i % 3), f"no idea about {i}")
    for i in range(8)
)
"""Of unequal lengths, so that a mean over tokens is no mean over rows."""


class Stopping(Silent):
    """Asks for an end behind a checkpoint once a fit has taken some steps, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self.after, self.stop_asked = after, False

    def advance(self, done: int, total: int | None = None, **figures: float | int | str | bool) -> None:
        """Count a step."""
        self.stop_asked = self.stop_asked or done >= self.after


def fitted(
    method: str, folder: Path, together: Together, selection: str = "last", progress: Progress | None = None
) -> dict[str, Any]:
    """Losses, held-out scores and spending of a fit, and its adapter."""
    aligner = load(plugins=False).aligner(method)
    settings: dict[str, Any] = {"batch": 4, "min_steps": 6, "selection": selection, "prompt_tokens": 64}
    folder.mkdir(parents=True, exist_ok=True)
    bench = LocalBench.create(
        tiny_model(),
        tiny_tokenizer(),
        regime=flat_regime(**settings, completion_tokens=32, new_tokens=16, device="cpu", precision="fp32"),
        meter=Meter(),
        seed=0,
        workdir=folder,
        lora=Lora(),
        log=(Journal if together.first else Unwritten)(folder / "log.jsonl", progress or Silent()),
        together=together,
    )
    fit(aligner(aligner.Config()), bench, FewShot(pairs=PAIRS))
    log = [json.loads(line) for line in bench.journal.path.read_text().splitlines()] if together.first else []
    return {
        "losses": [event["loss"] for event in log if event["event"] == "train" and "loss" in event],
        "held_out": [event["score"] for event in log if event["event"] == "held_out"],
        "spend": bench.meter.spend,
        "adapter": bench.adapter_state(),
    }


def main() -> None:
    """Arguments: a folder, and how many processes there are."""
    folder, together = Path(sys.argv[1]), begin(int(sys.argv[2]), "cpu")
    torch.set_num_threads(1)
    found = {method: fitted(method, folder / method, together) for method in METHODS}
    found["sft, held out"] = fitted("sft", folder / "held-out", together, "holdout25")
    with contextlib.suppress(KeyboardInterrupt):
        fitted("dpo", folder / "stopped", together, progress=Stopping(3))
        raise AssertionError("it was not stopped")
    found["dpo, gone on"] = fitted("dpo", folder / "stopped", together)
    if together.first:
        torch.save(found, folder / "found.pt")


if __name__ == "__main__":
    main()
