"""The older search behind the rates of the methods that sample, on a pool that no task evaluates.

    python benchmarks/pilot_sampling_rates.py --method grpo --rates 1e-4 5e-4 1e-3

The pool is made here: questions of everyday comparison (which parcel is the heaviest, which walk the quickest) with a
reasoned answer, and a wrong one of the same form. Eight pairs, the regime of budget 8; 24 other questions are held out.
`--seed` sets the training seed and which eight pairs and unlabelled questions are drawn; the held-out ones stay.

    gem   sega_lr: highest mean reward S over SEGA among those that stayed alive: the method's floors on the marker and
          on groups, the former also for samples to held-out questions; SFT rate fixed
    grpo  the lowest rate whose held-out reward is within a standard error of the highest: the share of right answers
          among 4 samples to each of the 24 questions. The base model never closes with a letter, so that all rewards
          would be 0; grpo is asked for the colour alone

Prints one line for the base model and one per rate; the tables stand in docs/log/learning-rates.md.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
from pathlib import Path
from statistics import fmean

from harness.config import PRESETS, Lora
from harness.contracts import FewShot, GoldAnswers, Lengths, Pair, Prompt, Regime, user
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.meter import Meter
from harness.models.find import resolve
from harness.models.load import load, pick_device
from harness.plugins.registry import load as load_registry
from harness.run.plan import thread_count

SYSTEM = 'Think step by step, then end with "Final Answer:".'
KINDS = (
    ("parcel", "weighs", "kilograms", "heaviest", max),
    ("rope", "measures", "metres", "shortest", min),
    ("tank", "holds", "litres", "largest", max),
    ("walk", "takes", "minutes", "quickest", min),
)
METHODS = ("gem", "grpo")
LIVENESS = ("score", "marker_rate", "groups_used", "kl_sft", "reward_first", "reward_last", "zero_variance")
"""What fits say of themselves that the search shows."""
COLOURS = ("red", "blue", "green", "black", "white", "yellow", "brown", "grey")


def make_pair(number: int, *, brief: bool = False) -> Pair:
    """A question with four options, a right argument and a wrong one of the same form; `brief`: colours instead."""
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

    asked = f"Each {noun} {verb}, in {unit}: {facts}. Which is the {which}?"
    if brief:
        return Pair(f"pilot-{number}", user(f"{asked} Answer with its colour."), colours[right], colours[wrong])
    prompt = user(f"{asked}\n{options}", system=SYSTEM)
    return Pair(f"pilot-{number}", prompt, argue(right), argue(wrong))


def make_bench(folder: Path, seed: int) -> LocalBench:
    files = resolve("smollm2-135m-instruct", registry_models=load_registry(plugins=False).models)
    device = pick_device("auto")
    model, tokenizer = load(files, device=device, precision="fp32")
    budget = PRESETS["8"]
    regime = Regime(
        budget.model_copy(update={"selection": "last"}),
        Lengths(prompt=384, completion=96, new_tokens=72, sample_prompts=2),
        device,
        "fp32",
    )
    return LocalBench.create(
        model, tokenizer, regime=regime, meter=Meter(), seed=seed, workdir=folder, lora=Lora(), checkpoint_steps=1000
    )


def held_out_loss(bench: LocalBench, pairs: list[Pair]) -> float:
    scored = bench.score([p.prompt for p in pairs], [(p.chosen,) for p in pairs])
    return -sum(s[0].total for s in scored) / sum(s[0].logprobs.size for s in scored)


def measure(bench: LocalBench, method: str) -> dict[str, float]:
    """What the bench's model makes of the held-out questions."""
    held = [make_pair(i, brief=method == "grpo") for i in range(100, 124)]
    heat = 1.0 if method == "grpo" else 0.9  # at which grpo and gem sample
    samples = bench.generate([p.prompt for p in held], n=4, temperature=heat, seed=1)
    verifier = answers(held)
    flat = [(pair.id, one) for pair, group in zip(held, samples, strict=True) for one in group]
    scored = bench.score([p.prompt for p in held], [(p.chosen, p.rejected) for p in held])
    return {
        "held-out loss": held_out_loss(bench, held),
        "held-out margin score": bench.held_out_score(held),
        "chosen over rejected": fmean(a.total > b.total for a, b in scored),
        "held-out reward": fmean(verifier(identity, one.text) for identity, one in flat),
        "marker rate": fmean("Final Answer" in one.text for _, one in flat),
        "finished": fmean(one.finish == "stop" for _, one in flat),
    }


def answers(pairs: list[Pair]) -> GoldAnswers:
    """Knows each question's right colour, which counts where it is the last that a completion names."""
    return GoldAnswers({p.id: str(last_colour(p.chosen)) for p in pairs}, names_colour)


def names_colour(right: str, completion: str) -> float:
    return float(right == last_colour(completion))


def last_colour(text: str) -> str | None:
    named = re.findall("|".join(COLOURS), text.lower())
    return named[-1] if named else None


def figures(method: str, rate: float, sft_rate: float, seed: int) -> dict[str, float]:
    """Train one method at one rate and measure it; what its fit said of itself is added."""
    start = 1000 * seed
    pairs = [make_pair(i, brief=method == "grpo") for i in range(start, start + 8)]
    prompts = tuple(Prompt(f"u{i}", make_pair(i).prompt) for i in range(start + 200, start + 232))
    values = {"sega_lr": rate, "sft_lr": sft_rate} if method == "gem" else {"learning_rate": rate}
    kind = load_registry(plugins=False).aligner(method)
    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(Path(folder), seed)
        fitted = fit(
            kind(kind.Config.model_validate(values)), bench, FewShot(tuple(pairs), prompts, verifier=answers(pairs))
        )
        return {
            **measure(bench, method),
            "seconds": bench.seconds(),
            **{name: float(value) for name, value in fitted.liveness.items() if name in LIVENESS},
        }


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--sft-rate", type=float, default=2e-4, help="for gem: its SFT rate")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(thread_count())
    with tempfile.TemporaryDirectory() as folder:
        show(options.method, "base", measure(make_bench(Path(folder), options.seed), options.method))
    for rate in options.rates:
        show(options.method, f"{rate:.0e}", figures(options.method, rate, options.sft_rate, options.seed))


def show(method: str, rate: str, found: dict[str, float]) -> None:
    print(f"{method} {rate}  " + "  ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
