"""The one pilot search behind the default learning rates for adapters, on a pool that no task evaluates.

    python benchmarks/pilot_learning_rates.py --method sft --rates 2e-4 5e-4 1e-3 2e-3

The pool is made here: questions of everyday comparison (which parcel is the heaviest, which walk the quickest) with a
reasoned answer, and a wrong one of the same form. Eight pairs, the regime of budget 8, one seed; 24 other questions are
held out.

    sft   lowest held-out loss of the chosen answer (nats per token)
    gem   sega_lr: highest mean reward S over SEGA among those that stayed alive (marker, groups), SFT rate fixed
    others, which learn from pairs: highest held-out mean log sigmoid of a tenth of the margin to the base model

Prints one line per rate; the table stands in docs/methods/learning-rates.md.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

from harness.budget import Meter
from harness.config import PRESETS, Lora
from harness.contracts import FewShot, Pair, Prompt, Regime, user
from harness.models import load, resolve
from harness.plan import thread_count
from harness.registry import load as load_registry
from harness.training import LocalBench, fit

SYSTEM = 'Think step by step, then end with "Final Answer:".'
KINDS = (
    ("parcel", "weighs", "kilograms", "heaviest", max),
    ("rope", "measures", "metres", "shortest", min),
    ("tank", "holds", "litres", "largest", max),
    ("walk", "takes", "minutes", "quickest", min),
)
METHODS = ("sft", "dpo", "ipo", "irpo", "orpo", "simpo", "kto", "gem")
COLOURS = ("red", "blue", "green", "black", "white", "yellow", "brown", "grey")


def make_pair(number: int) -> Pair:
    """A question with four options, a right argument and a wrong one of the same form."""
    rng = random.Random(number)
    noun, verb, unit, which, best = KINDS[number % len(KINDS)]
    colours = rng.sample(COLOURS, 4)
    sizes = rng.sample(range(3, 60), 4)
    right = sizes.index(best(sizes))
    wrong = rng.choice([i for i in range(4) if i != right])
    facts = ", ".join(f"{c} {s}" for c, s in zip(colours, sizes, strict=True))
    options = "\n".join(f"{letter}. {c}" for letter, c in zip("ABCD", colours, strict=True))

    def argue(index: int) -> str:
        colour, letter = colours[index], "ABCD"[index]
        reason = f"The {colour} {noun} {verb} {sizes[index]} {unit}, so it is the {which} of the four."
        return f"{reason}\nFinal Answer: {letter}. {colour}"

    prompt = user(f"Each {noun} {verb}, in {unit}: {facts}. Which is the {which}?\n{options}", system=SYSTEM)
    return Pair(f"pilot-{number}", prompt, argue(right), argue(wrong))


def make_bench(folder: Path) -> LocalBench:
    files = resolve("smollm2-135m-instruct", registry_models=load_registry(plugins=False).models)
    model, tokenizer = load(files, device="cpu", precision="fp32")
    budget = PRESETS["8"]
    regime = Regime(budget.batch, budget.min_steps, "last", 384, 96, 72, 2, "cpu", "fp32")
    return LocalBench.create(
        model, tokenizer, regime=regime, meter=Meter(), seed=0, workdir=folder, lora=Lora(), checkpoint_steps=1000
    )


def held_out_loss(bench: LocalBench, pairs: list[Pair]) -> float:
    scored = bench.score([p.prompt for p in pairs], [(p.chosen,) for p in pairs])
    return -sum(s[0].total for s in scored) / sum(s[0].logprobs.size for s in scored)


def figures(method: str, rate: float, sft_rate: float) -> dict[str, Any]:
    pairs = [make_pair(i) for i in range(8)]
    held = [make_pair(i) for i in range(100, 124)]
    prompts = tuple(Prompt(f"u{i}", make_pair(i).prompt) for i in range(200, 232))
    values = {"sega_lr": rate, "sft_lr": sft_rate} if method == "gem" else {"learning_rate": rate}
    kind = load_registry(plugins=False).aligner(method)
    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(Path(folder))
        fitted = fit(kind(kind.Config.model_validate(values)), bench, FewShot(tuple(pairs), prompts))
        samples = bench.generate([p.prompt for p in held[:8]], n=1, temperature=0.9, seed=1)
        scored = bench.score([p.prompt for p in held], [(p.chosen, p.rejected) for p in held])
        return {
            "held-out loss": held_out_loss(bench, held),
            "held-out margin score": bench.held_out_score(held),
            "chosen over rejected": sum(a.total > b.total for a, b in scored) / len(scored),
            "marker rate": sum("Final Answer" in s[0].text for s in samples) / len(samples),
            "finished": sum(s[0].finish == "stop" for s in samples) / len(samples),
            "seconds": bench.seconds(),
            **{k: v for k, v in fitted.liveness.items() if k in ("score", "marker_rate", "groups_used", "kl_sft")},
        }


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--sft-rate", type=float, default=2e-3, help="for gem: its SFT rate")
    options = parser.parse_args()
    torch.set_num_threads(thread_count())
    for rate in options.rates:
        found = figures(options.method, rate, options.sft_rate)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in found.items())
        print(f"{options.method} {rate:.0e}  {shown}", flush=True)


if __name__ == "__main__":
    main()
