"""How fast a model would compute here that never did: a few of its layers, with random weights, for some seconds.

The layers have the shapes of the model's own, and compute by the paths of a run. So the figures hold what a product of
large matrices would not show: small matrices, attention, and everything between the products. Of the weights only
the configuration is read. One thread is timed, by its time at work: several threads would wait for one another on a
busy machine, and seem a hundred times slower than they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Speeds = dict[str, float]
"""FLOPs a second of a fit, of an evaluation that scores texts, and of one that writes answers, too (`PHASES`)."""

WEIGHTS = 2**24
"""Numbers that the layers hold at least, where the model has as many: more than a processor keeps at hand."""
VOCABULARY = 1024
PROMPTS, PROMPT, ANSWER, WRITTEN = 4, 128, 64, 64
"""Prompts, and tokens of a prompt, of each of its two answers, and of an answer that is written."""
PAIRS = 2
"""Of the prompts, those that are trained on at a time."""
REPEATS = 2
"""Of which the fastest counts, behind one that only warms up."""
SIDE, PRODUCTS_S = 512, 0.5
"""Of matrices that are multiplied where the layers cannot be made, and for how long."""
PRODUCTS_SHARE = 1 / 2
"""What of the speed of such products a model comes to (between a third and two thirds, seen on three CPUs)."""
THREADS_SHARE = 0.7
"""n threads compute n to this power times as fast as one (1.6 times for two, as seen on two cores)."""


def probe(folder: Path, threads: int) -> Speeds:
    """Speeds in float32 of the model whose files are in `folder`, with so many threads, while nothing else runs."""
    import torch

    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    try:
        found = _of_layers(folder)
    except Exception:  # of a model that brings code of its own, or that is no decoder of one kind of layers
        found = dict.fromkeys(("fit", "evaluate", "written"), _of_products() * PRODUCTS_SHARE)
    finally:
        torch.set_num_threads(before)
        torch.set_rng_state(state)
    return {name: speed * threads**THREADS_SHARE for name, speed in found.items()}


def _of_layers(folder: Path) -> Speeds:
    from harness.lm.metering import flop_model, metered
    from harness.meter import Meter

    model = few_layers(folder)
    meter = Meter(model=flop_model(model))
    with metered(model, meter):
        return {
            "fit": _speed(meter, lambda: _train(model)),
            "evaluate": _speed(meter, lambda: _score(model)),
            "written": _speed(meter, lambda: _write(model)),
        }


def _of_products() -> float:
    """FLOPs a second of products of square matrices."""
    import torch

    a = torch.ones((SIDE, SIDE))
    times: list[float] = []
    began = time.thread_time()
    while len(times) < 5 or time.thread_time() - began < PRODUCTS_S:
        start = time.thread_time()
        torch.mm(a, a)
        times.append(time.thread_time() - start)
    return 2 * SIDE**3 / min(times)


def few_layers(folder: Path) -> Any:
    """A model of the same shapes with as few layers as hold `WEIGHTS` numbers, a small vocabulary and random weights.

    Its inputs ask for a gradient, as the layers below an adapter do.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder).get_text_config()
    config.num_hidden_layers, layers = 1, config.num_hidden_layers
    kinds = getattr(config, "layer_types", None)
    config.vocab_size = min(VOCABULARY, config.vocab_size)
    config.pad_token_id = config.bos_token_id = config.eos_token_id = None

    def made(number: int) -> Any:
        config.num_hidden_layers = number
        if kinds:
            config.layer_types = kinds[:number]
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)

    with torch.device("meta"):
        one = sum(weight.numel() for weight in made(1).get_decoder().layers.parameters())
    model = made(min(layers, max(1, -(-WEIGHTS // one)))).eval().requires_grad_(False)
    model.get_input_embeddings().register_forward_hook(lambda _module, _given, out: out.requires_grad_())
    return model


def _speed(meter: Any, compute: Callable[[], object]) -> float:
    """FLOPs that the meter counts, by the thread's seconds at work."""
    best = 0.0
    for repeat in range(REPEATS + 1):
        counted, began = meter.spend.flops, time.thread_time()
        compute()
        if repeat:
            best = max(best, (meter.spend.flops - counted) / (time.thread_time() - began))
    return best


def _groups(model: Any, number: int) -> Any:
    from harness.lm.step_time import made_up

    return made_up(model.config.vocab_size, number, PROMPT, ANSWER)


def _train(model: Any) -> None:
    """A training step's forward and backward pass over pairs."""
    import torch

    from harness.lm.logprobs import group_logprobs

    stats = group_logprobs(model, _groups(model, PAIRS))
    torch.autograd.backward(torch.cat([one.logprobs for group in stats for one in group]).sum())


def _score(model: Any) -> None:
    """Both answers to each prompt, without gradient."""
    import torch

    from harness.lm.logprobs import group_logprobs

    with torch.no_grad():
        group_logprobs(model, _groups(model, PROMPTS))


def _write(model: Any) -> None:
    """An answer to each prompt, token by token."""
    import torch

    with torch.no_grad():
        given, cache = torch.tensor([group.prompt for group in _groups(model, PROMPTS)]), None
        for _ in range(WRITTEN):
            out = model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
            given, cache = out.logits[:, -1].argmax(-1, keepdim=True), out.past_key_values
