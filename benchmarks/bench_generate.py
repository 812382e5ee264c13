"""Sampling side by side: transformers' `generate`, the engine hf, and vLLM where it is installed.

    python benchmarks/bench_generate.py [--precision fp32|bf16] [--device cpu|cuda] [--pool medqa] [--json FILE]

64 prompts, 4 samples of each, up to 64 tokens a sample, at temperature 1. The prompts are made up, or with `--pool` a
pool's training questions, as `gem` samples from them. Each way has a process of its own, which
loads the model and warms up first; then they take turns, so that what slows the machine slows all of them. A figure is
the median over the turns of tokens a second, a ratio the median over turns of the ratio to plain `generate` in the same
turn, with the number of rows at which plain is fastest. On a busy machine the ratio of time at work says more.
No sample ends before its last token, whatever is drawn: all ways sample as many tokens.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import itertools
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PLAIN_ROWS = (64, 256)
"""Rows of a batch that plain `generate` is tried with."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What every way is asked for."""

    model: str
    device: str
    precision: str
    prompts: int
    samples: int
    tokens: int
    threads: int
    pool: str | None
    """The pool whose training questions are asked; None: made-up questions of some 30 words."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """Tokens that were sampled, seconds that passed, and seconds that the process was at work, over its threads."""

    tokens: int
    wall: float
    busy: float


Work = Callable[[], int]
"""Samples everything once; how many tokens that were."""


def plain(asked: Asked, rows: int) -> Work:
    """transformers' `generate` on batches of `rows` rows, padded on the left."""
    import torch

    from harness.models.load import load

    model, tokenizer = load(_files(asked), device=asked.device, precision=asked.precision)
    wanted = [prompt for prompt in _prompts(tokenizer, asked) for _ in range(asked.samples)]
    length = {"max_new_tokens": asked.tokens, "min_new_tokens": asked.tokens}

    def work() -> int:
        done = 0
        for start in range(0, len(wanted), rows):
            batch = wanted[start : start + rows]
            longest = max(map(len, batch))
            ids = torch.tensor([[0] * (longest - len(row)) + row for row in batch], device=model.device)
            real = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in batch], device=model.device)
            with torch.inference_mode():
                out = model.generate(ids, attention_mask=real, do_sample=True, top_k=0, pad_token_id=0, **length)
            done += (out.shape[1] - longest) * len(batch)
        return done

    return work


def engine(asked: Asked, backend: str) -> Work:
    """One of our engines."""
    from harness.plugins.registry import load as load_registry

    opened = (
        load_registry(plugins=False)
        .backend(backend)()
        .open(_files(asked), device=asked.device, precision=asked.precision)
    )
    wanted = _prompts(opened.tokenizer, asked)
    opened.generate(wanted[:2], n=1, max_new_tokens=2)  # opens vLLM, and hf to judge it
    _let_nothing_end(backend)

    def work() -> int:
        found = opened.generate(wanted, n=asked.samples, max_new_tokens=asked.tokens, seed=1)
        return sum(len(one.ids) for row in found for one in row)

    return work


def _let_nothing_end(backend: str) -> None:
    """In this process no token ends a sample, as `min_new_tokens` sees to it for `generate`."""
    from harness.lm import decoding

    decoding.end_ids = lambda *_: frozenset()
    if backend == "vllm":
        import vllm  # pyright: ignore[reportMissingImports]

        vllm.SamplingParams = functools.partial(vllm.SamplingParams, ignore_eos=True)


def _files(asked: Asked) -> Any:
    from harness.models.find import resolve
    from harness.plugins.registry import load as load_registry

    return resolve(asked.model, registry_models=load_registry(plugins=False).models)


LONGEST = 384
"""Tokens that a prompt keeps, as in the profile `cpu-demo`."""


def _prompts(tokenizer: Any, asked: Asked) -> list[list[int]]:
    from harness.contracts import user
    from harness.util.chat import render_prompt

    questions = _questions(asked.pool) if asked.pool else (user(text) for text in _made_up())
    return [render_prompt(tokenizer, question, LONGEST) for question in itertools.islice(questions, asked.prompts)]


def _made_up() -> Iterator[str]:
    from harness.conformance.toy import TEXT

    words = TEXT.split()
    return (f"{i}: " + " ".join(words[i % len(words) :][: 24 + i % 8]) for i in itertools.count())


def _questions(name: str) -> Iterator[Any]:
    """The prompts of a pool's pairs, from the sample that ships with the project, each once."""
    from harness.data.sources import open_source
    from harness.plugins.registry import load as load_registry

    pool = load_registry(plugins=False).pool(name)()
    return iter(dict.fromkeys(pair.prompt for pair in pool.pairs(open_source("sample", pool.dataset), "pool")))


# ---------------------------------------------------------------- taking turns

WAYS: dict[str, tuple[Callable[..., Work], Any]] = {
    **{f"transformers.generate, {rows} rows": (plain, rows) for rows in PLAIN_ROWS},
    "hf": (engine, "hf"),
    "vllm": (engine, "vllm"),
}


def serve(way: str, asked: Asked, pipe: Connection) -> None:
    """One way's process: says that it is ready, then works whenever it is told to."""
    import torch

    torch.set_num_threads(asked.threads)
    make, detail = WAYS[way]
    work = make(asked, detail)
    pipe.send("ready")
    while pipe.recv():
        started, busy = time.perf_counter(), time.process_time()
        tokens = work()
        pipe.send(Turn(tokens, time.perf_counter() - started, time.process_time() - busy))


def measured(ways: Sequence[str], asked: Asked, repeats: int) -> dict[str, list[Turn]]:
    """The turns of every way; the first one of each only warms up and is left out."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    found: dict[str, list[Turn]] = {way: [] for way in ways}
    for way in ways:
        pipes[way], theirs = context.Pipe()
        context.Process(target=serve, args=(way, asked, theirs), daemon=True).start()
        theirs.close()
        pipes[way].recv()
    for number in range(repeats + 1):
        for way in ways:
            pipes[way].send(True)
            turn = pipes[way].recv()
            print(
                f"turn {number}: {way}: {turn.tokens} tokens in {turn.wall:.1f} s ({turn.busy:.1f} s busy)", flush=True
            )
            if number:
                found[way].append(turn)
    for pipe in pipes.values():
        pipe.send(False)
    return found


def summary(found: dict[str, list[Turn]]) -> list[dict[str, Any]]:
    """A row for each way: medians, and its ratio to the faster plain way, by the clock and by the time at work."""
    walls = {way: [turn.tokens / turn.wall for turn in turns] for way, turns in found.items()}
    work = {way: [turn.tokens / turn.busy for turn in turns] for way, turns in found.items()}
    best = max((way for way in found if way.startswith("transformers")), key=lambda way: statistics.median(walls[way]))
    rows = []
    for way in found:
        ratios = [one / other for one, other in zip(walls[way], walls[best], strict=True)]
        busy = [one / other for one, other in zip(work[way], work[best], strict=True)]
        rows.append(
            {
                "way": way,
                "tokens/s": statistics.median(walls[way]),
                "over plain": statistics.median(ratios),
                "least": min(ratios),
                "most": max(ratios),
                "over plain, of time at work": statistics.median(busy),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--ways", help="of: " + "; ".join(WAYS))
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--pool", help="whose training questions are asked, such as medqa; else made-up ones")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    names = [f.name for f in dataclasses.fields(Asked)]
    asked = Asked(**{name: getattr(options, name) for name in names})
    ways = [way for way in WAYS if way != "vllm" or importlib.util.find_spec("vllm") is not None]
    if options.ways:
        ways = options.ways.split(";")
    rows = summary(measured(ways, asked, options.repeats))
    for row in rows:
        print("  ".join(f"{key}={value:.3g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))
    about = {**dataclasses.asdict(asked), "repeats": options.repeats, "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(about, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
