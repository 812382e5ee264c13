"""Does gpo read the pairs that it was given, on pairs that nobody showed it? Own against exchanged labels.

    python benchmarks/gpo_pairs.py --labels 8 32 --draws 0 1 2

Each draw buys so many pairs of the UltraFeedback sample that ships with the project, fits `gpo` with its defaults and
asks about the sample's held-out pairs twice: in the context of the pairs as they are, and with every label exchanged.
`--fixed` trains on fixed labels instead (`exchange=false`). Prints a line for each fit, and for each number of labels
the differences with their standard errors over the draws.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from aligners.gpo import Gpo, GpoConfig
from aligners.gpo.result import PairsGpoAligned
from aligners.gpo.sources import PAIRS
from harness.config import PRESETS, Lora
from harness.contracts import Lengths, Pair, PreferRequest, Regime
from harness.data.draw import draw
from harness.data.sources import SampleSource
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.meter import Meter
from harness.models.find import resolve
from harness.models.load import load
from harness.opinions.questions import rated_pairs
from harness.plugins.registry import load as load_registry
from tasks.pools.pairs import UltraFeedbackPool

MODEL = "smollm2-135m-instruct"


def make_bench(folder: Path, labels: int, seed: int) -> LocalBench:
    budget = PRESETS[str(labels)].model_copy(update={"selection": "last"})
    regime = Regime(budget, Lengths(), "cpu", "fp32")
    files = resolve(MODEL, registry_models=load_registry(plugins=False).models)
    model, tokenizer = load(files, device="cpu", precision="fp32")
    return LocalBench.create(model, tokenizer, regime=regime, meter=Meter(), seed=seed, workdir=folder, lora=Lora())


def p_chosen(aligned: PairsGpoAligned, pairs: Sequence[Pair]) -> list[float]:
    return [one.p_a for one in aligned.prefer([PreferRequest(p.prompt, p.chosen, p.rejected) for p in pairs])]


def accuracy(shares: Sequence[float]) -> float:
    return fmean(0.5 if share == 0.5 else float(share > 0.5) for share in shares)


def measure(labels: int, seed: int, *, exchange: bool, unseen: int) -> dict[str, float]:
    """One draw: accuracy and mean P(chosen) on unseen pairs, in either context."""
    source, pool = SampleSource(), UltraFeedbackPool()
    few_shot = draw(pool, source, PRESETS[str(labels)], seed).few_shot
    held_out = list(pool.pairs(source, "eval"))[:unseen]
    with tempfile.TemporaryDirectory() as folder:
        done = fit(Gpo(GpoConfig(exchange=exchange)), make_bench(Path(folder), labels, seed), few_shot)
    aligned: Any = done.aligned
    own = p_chosen(aligned, held_out)
    turned = aligned.reader.view.tokens(rated_pairs(few_shot.pairs, swapped=True))
    swapped = p_chosen(replace(aligned, reader=replace(aligned.reader, contexts={PAIRS: turned})), held_out)
    return {
        "acc_own": accuracy(own),
        "acc_swapped": accuracy(swapped),
        "p_own": fmean(own),
        "p_swapped": fmean(swapped),
        "moved": fmean(abs(a - b) for a, b in zip(own, swapped, strict=True)),
        "liveness": done.liveness["context_sensitivity"],
        "loss_end": done.liveness["loss_end"],
    }


def summary(name: str, differences: Sequence[float]) -> str:
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    return f"{name} {fmean(differences):+.4f} +-{error:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--unseen", type=int, default=64, help="held-out pairs asked about")
    parser.add_argument("--fixed", action="store_true", help="train on fixed labels")
    options = parser.parse_args()
    for labels in options.labels:
        found = []
        for seed in options.draws:
            found.append(measure(labels, seed, exchange=not options.fixed, unseen=options.unseen))
            print(f"{labels} labels, draw {seed}: ", *(f"{k} {v:.4f}" for k, v in found[-1].items()), flush=True)
        rows = [
            summary(f"{what} own - swapped", [one[f"{what}_own"] - one[f"{what}_swapped"] for one in found])
            for what in ("acc", "p")
        ]
        print(f"{labels} labels: ", ", ".join(rows), flush=True)


if __name__ == "__main__":
    main()
