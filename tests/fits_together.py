"""Run by `accelerate launch`: every process fits the same methods on its rows; the first writes what came out."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.config import Lora
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import POLICY, FewShot, Pair, user
from harness.contracts.progress import Progress, Silent
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.fit.journal import Journal, Unwritten
from harness.fit.sharding import Sharding
from harness.fit.together import Together, begin
from harness.lm.forgetful import forget
from harness.lm.peft_internals import decoder_of
from harness.meter import Meter
from harness.plugins.registry import load
from tests.tiny import flat_regime

METHODS = ("sft", "dpo", "ipo", "simpo", "kto", "random", "best_of_n")
PAIRS = tuple(
    Pair(f"p{i}", user(f"question {i}?"), f"the answer is {i}" + " really" * (i % 3), f"no idea about {i}")
    for i in range(8)
)
"""Of unequal lengths, so that a mean over tokens is no mean over rows."""


SHARDINGS = {
    "layers": Sharding(),
    "kept": Sharding(classes=("LlamaMLP", "LlamaAttention"), keep=True),
    "size": Sharding(units="size", smallest=200),
    "whole": Sharding(units="whole"),
    "offloaded": Sharding(offload=True),
}
"""Ways to divide the weights."""
MORE: dict[str, dict[str, Any]] = {
    "sft, layers, held out": {"selection": "holdout25"},
    "dpo, layers, falling": {"selection": "holdout25", "falling": True},
    "dpo, kept, falling": {"selection": "holdout25", "falling": True},
    "dpo, layers, forgetful": {"forgetful": True},
}
"""Fits of divided weights that need something else."""


class Stopping(Silent):
    """Asks for an end behind a checkpoint once a fit has taken some steps, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self.after, self.stop_asked = after, False

    def advance(self, done: int, total: int | None = None, **figures: float | int | str | bool) -> None:
        """Count a step."""
        self.stop_asked = self.stop_asked or done >= self.after


def fitted(
    method: str,
    folder: Path,
    together: Together,
    selection: str = "last",
    progress: Progress | None = None,
    *,
    falling: bool = False,
    forgetful: bool = False,
) -> dict[str, Any]:
    """Losses, held-out scores and spending of a fit, its adapter, and what is then asked of the model.

    `falling`: every held-out score is lower than the one before, and every step is saved. `forgetful`: layers are
    computed again for their gradients.
    """
    aligner = load(plugins=False).aligner(method)
    settings: dict[str, Any] = {"batch": 4, "min_steps": 6, "selection": selection, "prompt_tokens": 64}
    folder.mkdir(parents=True, exist_ok=True)
    model = tiny_model()
    if forgetful:
        forget(model)
    bench = LocalBench.create(
        model,
        tiny_tokenizer(),
        regime=flat_regime(**settings, completion_tokens=32, new_tokens=16, device="cpu", precision="fp32"),
        meter=Meter(),
        seed=0,
        workdir=folder,
        lora=Lora(),
        log=(Journal if together.first else Unwritten)(folder / "log.jsonl", progress or Silent()),
        together=together,
        checkpoint_steps=1 if falling else 8,
    )
    if falling:
        _lower(bench)
    fit(aligner(aligner.Config()), bench, FewShot(pairs=PAIRS))
    log = [json.loads(line) for line in bench.journal.path.read_text().splitlines()] if together.first else []
    return {
        "losses": [event["loss"] for event in log if event["event"] == "train" and "loss" in event],
        "held_out": [event["score"] for event in log if event["event"] == "held_out"],
        "spend": bench.meter.spend,
        "adapter": bench.adapter_state(),
        "held": _held(bench.policy),
        "layer": bench.embed(["a text", "another"], of=POLICY, layer=0),
        "said": [answer.ids for (answer,) in bench.generate([user("question 1?"), user("and 2?")], temperature=0.0)],
    }


def _lower(bench: LocalBench) -> None:
    """Make held-out scores fall from look to look, computed as they are."""
    score, looks = bench.held_out_score, itertools.count()
    bench.held_out_score = lambda pairs: 0.0 * score(pairs) - next(looks)  # type: ignore[method-assign]


def _held(policy: Any) -> float:
    """Share of the decoder's frozen weights, less the embeddings, that lies in this process."""
    frozen = [w for n, w in decoder_of(policy).named_parameters() if "lora_" not in n and "embed" not in n]
    here = [w.to_local() if hasattr(w, "to_local") else w for w in frozen]
    return sum(w.numel() for w in here) / sum(w.numel() for w in frozen)


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
    for name, spread in SHARDINGS.items():
        dividing = replace(together, sharding=spread)
        for method in METHODS if name == "layers" else ("dpo",):
            found[f"{method}, {name}"] = fitted(method, folder / f"{method}-{name}", dividing)
    for name, more in MORE.items():
        method, way, _ = name.split(", ")
        found[name] = fitted(method, folder / name, replace(together, sharding=SHARDINGS[way]), **more)
    if together.first:
        torch.save(found, folder / "found.pt")


if __name__ == "__main__":
    main()
