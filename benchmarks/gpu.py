"""What a machine does with this harness: training, generation, parity and a smoke test of every aligner, in one go.

    python benchmarks/gpu.py [--model MODEL] [--device cuda|cpu] [--only train,generate,parity,smoke] [--json FILE]
    python benchmarks/gpu.py --device cpu --tiny          # a model of random weights, in a minute: figures mean nothing

Nothing is fetched where the model is a folder or lies in the cache. Every figure stands beside its peer from the same
process: fast paths beside plain TRL and PEFT, our engines beside transformers' `generate`. MFU (the share of the
device's peak that the counted FLOPs come to) is shown where `--peak-tflops` names that peak.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

SECTIONS = ("train", "generate", "parity", "smoke")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is asked."""

    pairs: int
    steps: int
    prompts: int
    samples: int
    tokens: int
    items: int


FULL, TINY = Sizes(32, 16, 64, 4, 64, 16), Sizes(4, 1, 4, 2, 8, 2)


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where and what is measured."""

    files: Any
    device: str
    precision: str
    sizes: Sizes
    peak_tflops: float | None

    def opened(self) -> tuple[Any, Any]:
        from harness.models.load import load

        return load(self.files, device=self.device, precision=self.precision)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    import torch

    from harness.models.load import device_kind, pick_device

    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device on this machine: nothing was run; --device cpu runs the same on a CPU")
        return 0
    device = pick_device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        machine = _machine(options, device, Path(folder))
        about = {"device": device_kind(device), "model": machine.files.name, "precision": machine.precision}
        rows: list[dict[str, Any]] = []
        for section in options.only.split(","):
            for row in MEASURES[section](machine, Path(folder)):
                rows.append({"section": section, **row})
                print("  ".join(f"{key}={_shown(value)}" for key, value in rows[-1].items()), flush=True)
    about |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "tiny": options.tiny}
    print(json.dumps(about))
    if options.json:
        options.json.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")
    return 1 if any(row.get("status") == "failed" for row in rows) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--tiny", action="store_true", help="a model of random weights and few steps")
    parser.add_argument("--peak-tflops", type=float, help="of the device in this precision, by its maker")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if unknown := set(options.only.split(",")) - set(SECTIONS):
        parser.error(f"unknown section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    return options


def _machine(options: argparse.Namespace, device: str, folder: Path) -> Machine:
    from harness.conformance.toy import tiny_folder
    from harness.models.find import resolve
    from harness.models.load import pick_precision
    from harness.plugins.registry import load as load_registry

    name = str(tiny_folder(folder / "tiny", head=32)) if options.tiny else options.model
    files = resolve(name, registry_models=load_registry(plugins=False).models)
    precision = pick_precision(options.precision, device, files)
    return Machine(files, device, precision, TINY if options.tiny else FULL, options.peak_tflops)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _seconds(device: str, work: Callable[[], Any]) -> float:
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


# ---------------------------------------------------------------- training


def train(machine: Machine, folder: Path) -> Iterator[dict[str, Any]]:
    """Whole fits of sft, dpo and gem, with fast paths and as plain TRL and PEFT; sampling and references included."""
    from harness.lm.paths import paths

    for name in ("sft", "dpo", "gem"):
        for way, on in (("fast paths", True), ("plain TRL", False)):
            with paths(on):
                yield {"aligner": name, "way": way, **_fit(machine, name, folder / f"{name}-{on}")}


def _fit(machine: Machine, name: str, folder: Path) -> dict[str, Any]:
    import torch

    from harness.config import PRESETS, Lora
    from harness.conformance.lesson import TRAIN, lesson
    from harness.contracts import Lengths, Regime
    from harness.fit.bench import LocalBench
    from harness.fit.fitting import fit
    from harness.meter import Meter
    from harness.plugins.registry import load as load_registry
    from harness.util.memory import peak_memory

    if machine.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    sizes, meter = machine.sizes, Meter()
    lengths = Lengths(prompt=256, completion=64, new_tokens=sizes.tokens, sample_prompts=2)
    budget = PRESETS["32"].model_copy(update={"min_steps": sizes.steps})
    regime = Regime(budget, lengths, machine.device, machine.precision)
    model, tokenizer = machine.opened()
    bench = LocalBench.create(model, tokenizer, regime=regime, meter=meter, seed=0, workdir=folder, lora=Lora())
    aligner = load_registry(plugins=False).aligner(name)
    seconds = _seconds(
        machine.device, lambda: fit(aligner(aligner.Config()), bench, lesson(min(sizes.pairs, 2 * len(TRAIN))))
    )
    spend = meter.spend
    figures = {
        "seconds": seconds,
        "trained_tokens/s": spend.trained_tokens / seconds,
        "tflops/s": spend.flops / seconds / 1e12,
        "peak_gib": peak_memory(machine.device) / 2**30,
    }
    mfu = {} if machine.peak_tflops is None else {"mfu": figures["tflops/s"] / machine.peak_tflops}
    return figures | mfu


# ---------------------------------------------------------------- generation


def generate(machine: Machine, folder: Path) -> Iterator[dict[str, Any]]:
    """Tokens that are sampled in a second: transformers' `generate`, our hf engine, and vLLM where it is installed."""
    from harness.lm.backends.hf import HfBackend
    from harness.lm.backends.vllm import VllmBackend

    asked = machine.sizes.prompts * machine.sizes.samples
    engine = HfBackend().open(machine.files, device=machine.device, precision=machine.precision)
    prompts = _prompts(engine.tokenizer, machine.sizes.prompts)
    plain = _seconds(machine.device, lambda: _plain_samples(engine.model, prompts, machine.sizes))
    tokens = asked * machine.sizes.tokens
    yield {"engine": "transformers.generate", "tokens/s": tokens / plain, "tokens": tokens}
    yield {"engine": "hf", **_engine_samples(machine, engine, prompts)}
    engine.close()
    if importlib.util.find_spec("vllm") is None:
        yield {"engine": "vllm", "skipped": "vLLM is not installed"}
        return
    other = VllmBackend().open(machine.files, device=machine.device, precision=machine.precision)
    other.generate(prompts[:1], max_new_tokens=1)  # opens vLLM, and hf to judge it
    yield {"engine": "vllm", **_engine_samples(machine, other, prompts), "parity": other.parts()["parity"]}
    other.close()


def _prompts(tokenizer: Any, number: int) -> list[list[int]]:
    from harness.conformance.toy import TEXT
    from harness.contracts import user
    from harness.util.chat import render_prompt

    words = TEXT.split()
    texts = (" ".join(words[i : i + 24 + i % 8]) for i in range(number))
    return [render_prompt(tokenizer, user(text), 256) for text in texts]


def _engine_samples(machine: Machine, engine: Any, prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
    sizes, counted = machine.sizes, []

    def sample() -> None:
        found = engine.generate(prompts, n=sizes.samples, max_new_tokens=sizes.tokens, seed=1)
        counted.append(sum(len(one.ids) for group in found for one in group))

    seconds = _seconds(machine.device, sample)
    return {"tokens/s": counted[0] / seconds, "tokens": counted[0]}


def _plain_samples(model: Any, prompts: Sequence[Sequence[int]], sizes: Sizes) -> None:
    """All samples of all prompts in batches of 64 rows, padded on the left, none cut short."""
    import torch

    rows, at_once = [list(prompt) for prompt in prompts for _ in range(sizes.samples)], 64
    for start in range(0, len(rows), at_once):
        batch = rows[start : start + at_once]
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in batch], device=model.device)
        real = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in batch], device=model.device)
        length = {"max_new_tokens": sizes.tokens, "min_new_tokens": sizes.tokens}
        with torch.no_grad():
            model.generate(ids, attention_mask=real, do_sample=True, top_k=0, pad_token_id=0, **length)


# ---------------------------------------------------------------- parity and smoke


def parity(machine: Machine, folder: Path) -> Iterator[dict[str, Any]]:
    """How far log-probabilities by fast paths lie from those of plain rows, in nats a token."""
    from harness.lm.backends.hf import HfEngine
    from harness.lm.paths import paths
    from harness.lm.rows import Group

    engine = HfEngine(*machine.opened())
    prompts = _prompts(engine.tokenizer, machine.sizes.prompts)
    groups = [Group(prompt, [prompt[: 3 + i % 5], prompt[-4:]]) for i, prompt in enumerate(prompts)]
    found = []
    for on in (True, False):
        with paths(on):
            found.append([one.logprobs for group in engine.score(groups) for one in group])
    worst = max(float(abs(a - b).max()) for a, b in zip(*found, strict=True))
    yield {"of": "log-probabilities, fast paths against plain rows", "worst_nats": worst, "texts": len(found[0])}


def smoke(machine: Machine, folder: Path) -> Iterator[dict[str, Any]]:
    """Every installed aligner, a budget of 8 labels, the whole loop."""
    from harness.config import PRESETS, RunConfig
    from harness.contracts import HarnessError
    from harness.plugins.registry import load as load_registry
    from harness.run.engine import run

    registry = load_registry()
    for name in registry.aligners:
        config = RunConfig(
            aligner=name,
            task="medqa",
            model=str(machine.files.folder),
            data="sample",
            device=machine.device,
            budget=PRESETS["8"],
            limit=machine.sizes.items,
            store=folder / "runs",
        )
        try:
            record = run(config, registry=registry)
        except HarnessError as error:  # it learns from groups' opinions, which this pool does not hold
            yield {"aligner": name, "status": "left out", "reason": str(error)}
            continue
        figures = {"seconds": record.spent.seconds.total, "peak_gib": record.spent.peak_memory_bytes / 2**30}
        yield {"aligner": name, "status": record.status, **figures, "reason": record.reason or ""}


MEASURES: dict[str, Callable[[Machine, Path], Iterator[dict[str, Any]]]] = {
    "train": train,
    "generate": generate,
    "parity": parity,
    "smoke": smoke,
}


if __name__ == "__main__":
    sys.exit(main())
