"""Counts a model's work where nothing can pass beside it: at the forward of its decoder and of its output head.

What is counted, per decoder forward: tokens (padding left out where a 2-D mask shows it), positions (padding included,
for it is computed), keys (cached ones included; where a row is read part by part, those that are read, on average). A
forward is a training forward when its hidden states require grad.

The head is counted where its module is applied. Some trainers (TRL's fused head) multiply hidden states by the head's
weight without calling the module. The rule for them: when a call of the whole model ends, its decoder has run and its
head module has not, the projection is counted for all positions of that forward; where labels were passed, for all but
the last position of each row, or on a GPU, where the fused kernel skips unlabelled positions, for the labelled ones. A
decoder called by itself (embeddings, cached prefixes, log-probabilities that apply the head module where they need it)
is not a call of the whole model, so nothing is added there.

A deep copy of the model carries the hooks with it and counts on the same meter. Limits: layers that are called one by
one, arithmetic of a method's own on weights or hidden states, and a second model that it loads by itself are not seen;
an honest method declares them by `Bench.spend`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.lm.blockwise import planned
from harness.lm.forgetful import forgets
from harness.lm.peft_internals import base_lm, decoder_of
from harness.lm.probes import probing
from harness.meter import FlopModel, Meter


def flop_model(model: Any) -> FlopModel:
    """Sizes that fix what a token of `model` costs: weights of the decoder's matrices, adapters included, and the head.

    Embeddings are looked up, not multiplied, and do not count; a tied head does. Of a mixture's experts those count
    that a token visits; of several adapters, the active ones. Call again when trainable weights or adapters change.
    """
    base = base_lm(model)
    config = base.config.get_text_config()
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    head = base.get_output_embeddings()
    return FlopModel(
        body=_body(decoder_of(model), config),
        head=0 if head is None else head.weight.numel(),
        layers=config.num_hidden_layers,
        attention_width=heads * head_dim,
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


@contextmanager
def metered(model: Any, meter: Meter) -> Iterator[None]:
    """Count everything that `model` (a causal LM or a PEFT model) computes inside the block.

    Raises BudgetExceeded from the forward that passed the cap, and from then on before anything is computed.
    """
    counter = _Counter(meter, twice=forgets(model))
    base = base_lm(model)
    with ExitStack() as hooks:

        def on(handle: Any) -> None:
            hooks.callback(handle.remove)

        for whole in {id(m): m for m in (model, base)}.values():
            on(whole.register_forward_pre_hook(counter.call_begins))
            on(whole.register_forward_hook(counter.call_ends, with_kwargs=True))
        decoder, head = decoder_of(model), base.get_output_embeddings()
        on(decoder.register_forward_pre_hook(counter.admit))
        on(decoder.register_forward_hook(counter.decoder_ran, with_kwargs=True))
        if head is not None:
            on(head.register_forward_pre_hook(counter.admit))
            on(head.register_forward_hook(counter.head_ran))
        yield


CACHE = ("past_key_values", "cache")
"""What a decoder calls the keys and values of earlier tokens, in older and newer releases of transformers."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A decoder forward whose head has not been seen yet."""

    rows: int
    columns: int
    train: bool
    cuda: bool


class _Counter:
    """The hooks, and the one decoder forward that may still lack its head."""

    def __init__(self, meter: Meter, *, twice: bool) -> None:
        self._meter = meter
        self._twice = twice  # layers are computed again for their gradients
        self._pending: _Pending | None = None

    def call_begins(self, module: nn.Module, args: Any) -> None:
        """A call of the whole model starts: what came before is no concern of it."""
        self._pending = None

    def admit(self, module: nn.Module, args: Any) -> None:
        """Decoder or head is about to run: not after the cap was passed."""
        if not probing():
            self._meter.admit()

    def call_ends(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """A call of the whole model is over: if its head module was passed by, count the projection."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._meter.projection(_fused_positions(pending, kwargs), train=pending.train)

    def decoder_ran(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Count one decoder forward."""
        if probing():
            return
        hidden: Tensor = output[0]
        rows, columns = hidden.shape[:2]
        train = _trains(hidden)
        self._pending = _Pending(rows, columns, train, hidden.is_cuda)
        mask = _argument(module, "attention_mask", args, kwargs)
        given = (_argument(module, name, args, kwargs) for name in CACHE)
        cache = next((one for one in given if one is not None), None)
        computed: dict[str, Any] = {"positions": rows * columns, "keys": _keys(columns, cache)}
        self._meter.forward(tokens=_real_tokens(mask, rows, columns), train=train, **computed)
        if train and self._twice:
            self._meter.forward(tokens=0, **computed)

    def head_ran(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """Count one application of the head."""
        if probing():
            return
        self._pending = None
        self._meter.projection(output.numel() // output.shape[-1], train=_trains(output))


def _trains(output: Tensor) -> bool:
    """Whether a gradient of this output will be computed; one repeated inside a backward pass costs a forward only."""
    recomputed = torch._C._current_graph_task_id() != -1
    return torch.is_grad_enabled() and output.requires_grad and not recomputed


def _argument(module: nn.Module, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An argument of the decoder's forward, however it was passed."""
    if name in kwargs or not args:
        return kwargs.get(name)
    names = list(inspect.signature(module.forward).parameters)
    place = names.index(name) if name in names else len(args)
    return args[place] if place < len(args) else None


def _keys(columns: int, cache: Any) -> float:
    """Keys that a position is compared with."""
    if (plan := planned()) is not None:
        return plan.scores / columns
    return columns if cache is None else max(columns, int(cache.get_seq_length()))


def _real_tokens(mask: Any, rows: int, columns: int) -> int:
    """Tokens that are not padding, among the newest `columns` of each row."""
    if isinstance(mask, Tensor) and mask.dim() == 2:
        return int(mask[:, -columns:].sum())
    return rows * columns


def _fused_positions(pending: _Pending, kwargs: dict[str, Any]) -> int:
    """Positions that a fused head projects."""
    shifted = kwargs.get("shift_labels")
    if shifted is None and kwargs.get("labels") is None:
        return pending.rows * pending.columns
    wanted: Tensor = kwargs["labels"][:, 1:] if shifted is None else shifted
    return int((wanted != -100).sum()) if pending.cuda else wanted.numel()


def _body(decoder: nn.Module, config: Any) -> int:
    """Weights of the decoder's matrices that a token meets."""
    looked_up = {id(m.weight) for m in decoder.modules() if isinstance(m, nn.Embedding)}
    idle = _idle_adapters(decoder)
    share = _expert_share(config)
    matrices = [
        p for name, p in decoder.named_parameters() if id(p) not in looked_up and not idle & set(name.split("."))
    ]
    dense = sum(p.numel() for p in matrices if p.dim() == 2)
    return dense + round(share * sum(p.numel() for p in matrices if p.dim() == 3))


def _idle_adapters(decoder: nn.Module) -> set[str]:
    """Names of adapters that are loaded and not active."""
    loaded: set[str] = set()
    active: set[str] = set()
    layers: Iterator[Any] = decoder.modules()
    for layer in layers:
        if hasattr(layer, "lora_A"):
            loaded |= set(layer.lora_A.keys())
            active |= set(layer.active_adapters)
    return loaded - active


def _expert_share(config: Any) -> float:
    """Share of a mixture's experts that one token visits (their weights are stacked in 3-D parameters)."""
    visited = getattr(config, "num_experts_per_tok", None)
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    return visited / experts if visited and experts else 1.0
