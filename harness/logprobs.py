"""Exact log-probabilities of completions: prompts computed once, the head only where a completion token is predicted.

A prompt and its n completions form a tree. The tree is laid out in one row: the prompt, then the completions one after
the other, each with the position ids it would have alone. A token sees its own completion and its prompt, by a 4-D
attention mask. Several trees share a row block-diagonally. The last token of a completion predicts nothing that is
asked for, so it is not computed at all.

    row:        p0 p1 p2 | a0 a1 | b0         completions a = (a0 a1 a2), b = (b0 b1)
    position:    0  1  2 |  3  4 |  3
    predicts:          a0,b0 | a1 a2 | b1

Whether a model honours such masks is found out once per model by comparison with a plain forward; one that does not is
run on plain padded rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from harness import attention
from harness.contracts import HarnessError
from harness.lora import fused_adapters

CHUNK_ELEMENTS = 2**24
"""Most logits that exist at once (64 MiB in fp32)."""
LOWEST = -1e4
"""Log-probability that stands for none in an entropy: its share is exactly 0 either way, and it is a number."""
UNSCORED = -100
"""The libraries' label of a token whose log-probability is not asked for."""
ROW_TOKENS, GPU_ROW_TOKENS = 1024, 4096
"""Most tokens of one forward. A GPU spends a small forward on launching it: the fewer rows, the better."""
CPU_ROW = 512
"""Tokens up to which several groups share a row on a CPU, for each thread: longer rows fall out of the cache."""
CPU_MASKED_ROW = 256
"""The same where attention is masked, so that it is computed for all pairs of a row's tokens."""
MASKED_ATTENTION = ("sdpa", "eager")
"""Attention implementations that take a 4-D mask."""
_TREES: WeakKeyDictionary[torch.nn.Module, dict[bool, bool]] = WeakKeyDictionary()
_PROBING: ContextVar[bool] = ContextVar("probing", default=False)


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and its completions, as token ids. The prompt holds at least one token."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class TokenStats:
    """Per-token figures of one completion, each of shape (T,): nats in fp32 (fp64 for an fp64 model).

    `greedy` says where the token is the most probable one; `entropies` are those of the full next-token distribution,
    without gradient.
    """

    logprobs: Tensor
    entropies: Tensor | None
    greedy: Tensor


@dataclass(frozen=True, slots=True)
class Prefix:
    """A token prefix with its keys and values, shared by many prompts. Without gradient."""

    ids: tuple[int, ...]
    cache: Any


@dataclass(slots=True)
class _Row:
    """One row of packed trees; all lists are parallel, one entry per token (`targets` one per predicted token)."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    tree: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    predictors: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    owners: list[tuple[int, int]] = field(default_factory=list)
    """(group, completion) in the order of `targets`."""


def group_logprobs(
    model: Any,
    groups: Sequence[Group],
    *,
    entropy: bool = False,
    temperature: float = 1.0,
    max_tokens: int | None = None,
    prefix: Prefix | None = None,
) -> list[list[TokenStats]]:
    """Log-probability of every completion token given its prompt, for each group and completion in the given order.

    Exact, and differentiable where gradients are enabled. Logits are divided by `temperature`. `max_tokens` bounds the
    tokens of a row (`row_tokens` where none are given); rows are cut at group borders (on a CPU earlier: several groups
    share a short row only), and a longer group still is one row, unless gradients are off: then its completions are
    spread over rows. With `prefix` (no gradients) every prompt must start with its ids and be longer. Raises
    HarnessError for an empty prompt.
    """
    _check(groups, prefix)
    max_tokens = max_tokens or row_tokens(model)
    if not tree_attention(model, max(map(_span, groups), default=0)):
        if prefix is not None:
            raise HarnessError("this model does not honour 4-D attention masks, so it takes no shared prefix")
        return _padded(model, groups, entropy=entropy, temperature=temperature, max_tokens=max_tokens)
    return _trees(model, groups, entropy=entropy, temperature=temperature, max_tokens=max_tokens, prefix=prefix)


def completion_log_softmax(
    model: Any, groups: Sequence[Group], *, chunk: int, max_tokens: int | None = None
) -> Iterator[Tensor]:
    """Log-probabilities over the vocabulary behind every completion token, in order, in blocks (<= chunk, V).

    Meant for use without gradient: `evaluating`.
    """
    _check(groups, None)
    if not tree_attention(model, max(map(_span, groups), default=0)):
        yield from _padded_log_softmax(model, groups, chunk)
        return
    longest = max_tokens or row_tokens(model)
    for row in _pack(groups, longest, 0, split=True, shared=_shared(model, longest)):
        hidden = _row_hidden(model, row, None)
        for where in torch.split(torch.tensor(row.predictors, device=hidden.device), chunk):
            yield head_logits(model, hidden.index_select(0, where)).log_softmax(-1)


def prefix_cache(model: Any, ids: Sequence[int]) -> Prefix:
    """Compute a shared prefix's keys and values once, without gradient. The model must pass `tree_attention`."""
    from transformers import DynamicCache

    row = _Row(list(ids), list(range(len(ids))), [0] * len(ids), [-1] * len(ids))
    cache = DynamicCache()
    with torch.no_grad():
        _forward(model, row, cache=cache, start=0)
    return Prefix(tuple(ids), cache)


def row_tokens(model: Any) -> int:
    """Most tokens of one forward where the model lies, unless a caller knows better."""
    return ROW_TOKENS if model.device.type == "cpu" else GPU_ROW_TOKENS


def base_lm(model: Any) -> Any:
    """The causal language model inside a PEFT wrapper, or the model itself."""
    wrapped = hasattr(model, "get_base_model")
    return model.get_base_model() if wrapped else model


def decoder_of(model: Any) -> Any:
    """The module that turns token ids into last hidden states."""
    return base_lm(model).get_decoder()


def head_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits (N, V) of hidden states (N, D), with the model's own scaling and capping, in fp32 or better."""
    base = base_lm(model)
    config = base.config.get_text_config()
    logits: Tensor = base.get_output_embeddings()(hidden)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if (multiplier := getattr(config, "logit_scale", None)) is not None:
        logits = logits * multiplier
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits


def probing() -> bool:
    """True while a model is only being tested for what it can do: such work is not part of any budget."""
    return _PROBING.get()


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode without gradient; afterwards every module is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def sliding_window(model: Any) -> int | None:
    """Width of the model's sliding attention in tokens, None where all its layers see everything."""
    config = decoder_of(model).config
    layers = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if window is None or getattr(config, "use_sliding_window", True) is False:
        return None
    return int(window) if layers is None or "sliding_attention" in layers else None


def attention_masks(model: Any, allowed: Tensor, distance: Tensor) -> Any:
    """What the decoder takes as `attention_mask`, from who may see whom (B, 1, Q, K) and how far back that is.

    A tensor where all layers are alike, a dict by layer type where full and sliding layers are mixed.
    """
    window, config = sliding_window(model), decoder_of(model).config
    full = _mask_values(config, allowed, model)
    if window is None:
        return full
    sliding = _mask_values(config, allowed & (distance < window), model)
    layers = set(getattr(config, "layer_types", None) or {"sliding_attention"})
    return sliding if layers == {"sliding_attention"} else {"full_attention": full, "sliding_attention": sliding}


# ---------------------------------------------------------------- rows


def _trees(
    model: Any,
    groups: Sequence[Group],
    *,
    entropy: bool,
    temperature: float = 1.0,
    max_tokens: int,
    prefix: Prefix | None,
) -> list[list[TokenStats]]:
    out = _Results(groups)
    start = 0 if prefix is None else len(prefix.ids)
    for row in _pack(groups, max_tokens, start, split=not torch.is_grad_enabled(), shared=_shared(model, max_tokens)):
        hidden = _row_hidden(model, row, prefix)
        stats = _token_stats(model, hidden, row.predictors, row.targets, entropy=entropy, temperature=temperature)
        out.add(row.owners, stats)
    return out.listed(model, entropy)


def _check(groups: Sequence[Group], prefix: Prefix | None) -> None:
    start = () if prefix is None else prefix.ids
    for index, group in enumerate(groups):
        if len(group.prompt) <= len(start) or tuple(group.prompt[: len(start)]) != start:
            wanted = "at least one token" if prefix is None else "the shared prefix and at least one token more"
            raise HarnessError(f"the prompt of group {index} was expected to hold {wanted}")


def _span(group: Group) -> int:
    """Longest position of a group."""
    return len(group.prompt) + max(map(len, group.completions), default=0)


def _computed(completion: Sequence[int]) -> int:
    """Tokens of a completion that are run: all but the last."""
    return max(len(completion) - 1, 0)


def _shared(model: Any, max_tokens: int) -> int:
    """Tokens up to which several groups share a row."""
    if model.device.type != "cpu":
        return max_tokens
    return min(max_tokens, CPU_ROW * torch.get_num_threads() if _blockwise(model) else CPU_MASKED_ROW)


def _blockwise(model: Any) -> bool:
    """Whether a row is read part by part, without masks."""
    return sliding_window(model) is None and attention.fits(decoder_of(model))


def _pack(groups: Sequence[Group], max_tokens: int, start: int, *, split: bool, shared: int) -> Iterator[_Row]:
    """Rows in order: groups share one up to `shared` tokens, and one by itself has at most `max_tokens`."""
    row = _Row()
    for index, group in enumerate(groups):
        for members in _portions(group, max_tokens - (len(group.prompt) - start), split=split):
            size = len(group.prompt) - start + sum(_computed(group.completions[m]) for m in members)
            if row.ids and len(row.ids) + size > shared:
                yield row
                row = _Row()
            _append_tree(row, index, group, members, start)
    if row.ids:
        yield row


def _portions(group: Group, room: int, *, split: bool) -> Iterator[list[int]]:
    """Indices of the completions (empty ones left out) that go on one copy of the prompt."""
    members: list[int] = []
    used = 0
    for index, completion in enumerate(group.completions):
        if not len(completion):
            continue
        if split and members and used + _computed(completion) > room:
            yield members
            members, used = [], 0
        members.append(index)
        used += _computed(completion)
    if members:
        yield members


def _append_tree(row: _Row, index: int, group: Group, members: Sequence[int], start: int) -> None:
    tree = row.tree[-1] + 1 if row.tree else 0
    length = len(group.prompt)
    _append_run(row, group.prompt[start:], start, tree, branch=-1)
    root = len(row.ids) - 1
    for member in members:
        completion = group.completions[member]
        first = len(row.ids)
        _append_run(row, completion[:-1], length, tree, branch=member)
        row.predictors += [root, *range(first, len(row.ids))]
        row.targets += completion
        row.owners.append((index, member))


def _append_run(row: _Row, ids: Sequence[int], position: int, tree: int, branch: int) -> None:
    row.ids += ids
    row.positions += range(position, position + len(ids))
    row.tree += [tree] * len(ids)
    row.branch += [branch] * len(ids)


def _row_hidden(model: Any, row: _Row, prefix: Prefix | None) -> Tensor:
    """Last hidden states (T, D) of a row, on top of a shared prefix where there is one."""
    if prefix is None:
        return _forward(model, row, cache=None, start=0)
    try:
        return _forward(model, row, cache=prefix.cache, start=len(prefix.ids))
    finally:
        prefix.cache.crop(len(prefix.ids) - prefix.cache.get_seq_length())


def _forward(model: Any, row: _Row, *, cache: Any, start: int) -> Tensor:
    quick, device, decoder = _blockwise(model), model.device, decoder_of(model)
    with attention.blockwise(decoder, _plan(row, start, device)) if quick else nullcontext(), fused_adapters(decoder):
        out = decoder(
            input_ids=torch.tensor([row.ids], device=device),
            position_ids=torch.tensor([row.positions], device=device),
            attention_mask=None if quick else attention_masks(model, *_visible(row, start, device)),
            past_key_values=cache,
            use_cache=cache is not None,
        )
    hidden: Tensor = out.last_hidden_state[0]
    return hidden


def _plan(row: _Row, start: int, device: torch.device) -> attention.Plan:
    """How attention reads a row: a run of tokens is a prompt, or one completion of it."""
    keys = list(zip(row.tree, row.branch, strict=True))
    borders = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    runs = [(first, last, row.branch[first] == -1) for first, last in pairwise([*borders, len(keys)])]
    return attention.Plan(attention.parts_of(runs, start), lambda: _visible(row, start, device)[0])


def _visible(row: _Row, start: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(1, 1, T, start + T): who sees whom, and how many positions back."""
    tree, branch, own = (torch.tensor(x, device=device) for x in (row.tree, row.branch, row.positions))
    distance = own[:, None] - own[None, :]
    ancestor = (branch[None, :] == -1) | (branch[:, None] == branch[None, :])
    allowed = (tree[:, None] == tree[None, :]) & ancestor & (distance >= 0)
    if start:
        cached = torch.arange(start, device=device)
        distance = torch.cat([own[:, None] - cached[None, :], distance], dim=1)
        allowed = F.pad(allowed, (start, 0), value=True)
    return allowed[None, None], distance[None, None]


def _mask_values(config: Any, allowed: Tensor, model: Any) -> Tensor:
    """Booleans for sdpa; for eager attention, which adds its mask, 0 and the lowest number."""
    if getattr(config, "_attn_implementation", "eager") != "eager":
        return allowed
    zero = torch.zeros((), dtype=model.dtype, device=allowed.device)
    return torch.where(allowed, zero, torch.finfo(model.dtype).min)


# ---------------------------------------------------------------- head


class _Results:
    """Collects per-completion figures and returns them in the order of the groups."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._found: dict[tuple[int, int], TokenStats] = {}

    def add(self, owners: Sequence[tuple[int, int]], stats: TokenStats) -> None:
        sizes = [len(self._groups[g].completions[c]) for g, c in owners]
        logprobs, greedy = torch.split(stats.logprobs, sizes), torch.split(stats.greedy, sizes)
        entropies = [None] * len(sizes) if stats.entropies is None else torch.split(stats.entropies, sizes)
        for owner, one, spread, best in zip(owners, logprobs, entropies, greedy, strict=True):
            self._found[owner] = TokenStats(one, spread, best)

    def listed(self, model: Any, entropy: bool) -> list[list[TokenStats]]:
        none = torch.zeros(0, device=model.device, dtype=torch.promote_types(model.dtype, torch.float32))
        empty = TokenStats(none, none if entropy else None, none.bool())
        return [
            [self._found.get((g, c), empty) for c in range(len(group.completions))]
            for g, group in enumerate(self._groups)
        ]


def _token_stats(
    model: Any,
    hidden: Tensor,
    predictors: Sequence[int],
    targets: Sequence[int],
    *,
    entropy: bool,
    temperature: float = 1.0,
) -> TokenStats:
    """Figures of all targets of a row, the head applied in chunks; with gradient, many chunks are recomputed."""
    where = torch.tensor(predictors, device=hidden.device)
    wanted = torch.tensor(targets, device=hidden.device)
    chunk = max(1, CHUNK_ELEMENTS // base_lm(model).config.get_text_config().vocab_size)
    recompute = torch.is_grad_enabled() and len(targets) > 4 * chunk

    def figures(rows: Tensor, ids: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        return _figures(head_logits(model, rows), ids, entropy, temperature)

    # Not hidden[where]: a prompt's last token predicts several answers, and its gradient would add them up in whatever
    # order threads come, so that a fit would not always repeat to the bit.
    predicting = hidden.index_select(0, where)
    parts = []
    for rows, ids in zip(torch.split(predicting, chunk), torch.split(wanted, chunk), strict=True):
        parts.append(checkpoint(figures, rows, ids, use_reentrant=False) if recompute else figures(rows, ids))
    logprobs, entropies, greedy = zip(*parts, strict=True)
    return TokenStats(torch.cat(logprobs), torch.cat(entropies) if entropy else None, torch.cat(greedy))


def _figures(
    logits: Tensor, ids: Tensor, entropy: bool, temperature: float = 1.0
) -> tuple[Tensor, Tensor | None, Tensor]:
    """(log p, entropy, is the most probable) of `ids` (N,) under `logits` (N, V) over the temperature."""
    greedy = logits.detach().argmax(-1) == ids
    if temperature != 1:
        logits = logits / temperature
    logprobs, spread = _Logprobs.apply(logits, ids, entropy)  # type: ignore[no-untyped-call]
    return logprobs, spread, greedy


class _Logprobs(torch.autograd.Function):
    """log softmax of logits (N, V) at `ids` (N,), and entropies, which no method differentiates.

    Torch's own gradient writes two more tensors of the vocabulary's size: one of zeros but for the ids, and a sum.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor, entropy: bool) -> tuple[Tensor, Tensor | None]:
        logp = logits.log_softmax(-1)
        ctx.save_for_backward(logp, ids)
        spread = None
        if entropy:
            finite = logp.clamp_min(LOWEST)
            spread = -(finite.exp() * finite).sum(-1)
            ctx.mark_non_differentiable(spread)
        return logp.gather(-1, ids[:, None])[:, 0], spread

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logp, ids = ctx.saved_tensors
        share = logp.exp().mul_(-gradient[:, None])
        share[torch.arange(len(ids), device=ids.device), ids] += gradient
        return share, None, None


# ---------------------------------------------------------------- models that ignore 4-D masks


def _padded(
    model: Any, groups: Sequence[Group], *, entropy: bool, temperature: float = 1.0, max_tokens: int
) -> list[list[TokenStats]]:
    """The same figures from one plain right-padded row per completion, through the model's own forward."""
    owners = [(g, c) for g, group in enumerate(groups) for c, ids in enumerate(group.completions) if len(ids)]
    owners.sort(key=lambda o: len(groups[o[0]].prompt) + len(groups[o[0]].completions[o[1]]))
    out = _Results(groups)
    for batch in _padded_batches(groups, owners, max_tokens):
        logits = _padded_logits(model, [[*groups[g].prompt, *groups[g].completions[c]] for g, c in batch])
        for row, (g, c) in zip(logits, batch, strict=True):
            ids = torch.tensor(groups[g].completions[c], device=row.device)
            first = len(groups[g].prompt) - 1
            out.add([(g, c)], TokenStats(*_figures(row[first : first + len(ids)], ids, entropy, temperature)))
    return out.listed(model, entropy)


def _padded_batches(
    groups: Sequence[Group], owners: Sequence[tuple[int, int]], max_tokens: int
) -> Iterator[list[tuple[int, int]]]:
    batch: list[tuple[int, int]] = []
    for g, c in owners:
        length = len(groups[g].prompt) + len(groups[g].completions[c])
        if batch and (len(batch) + 1) * length > max_tokens:
            yield batch
            batch = []
        batch.append((g, c))
    if batch:
        yield batch


def _padded_log_softmax(model: Any, groups: Sequence[Group], chunk: int) -> Iterator[Tensor]:
    for group in groups:
        for completion in filter(len, group.completions):
            logits = _padded_logits(model, [[*group.prompt, *completion]])[0]
            for block in torch.split(logits[len(group.prompt) - 1 : -1], chunk):
                yield block.log_softmax(-1)


def _padded_logits(model: Any, rows: Sequence[Sequence[int]]) -> Tensor:
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=model.device)
    real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=model.device)
    logits: Tensor = model(input_ids=ids, attention_mask=real, use_cache=False).logits
    return logits if logits.dtype == torch.float64 else logits.float()


# ---------------------------------------------------------------- does this model honour tree masks?


def tree_attention(model: Any, span: int = 0) -> bool:
    """Whether tree rows give this model's own plain log-probabilities; measured once per model.

    Rows that reach beyond a sliding window (`span` positions) are measured apart. Not metered, draws no random number.
    """
    decoder = decoder_of(model)
    window = sliding_window(model)
    beyond = window is not None and span > window
    known = _TREES.setdefault(decoder, {})
    if beyond not in known:
        known[beyond] = _measure(model, window if beyond and window else 0)
    return known[beyond]


def _measure(model: Any, window: int) -> bool:
    if getattr(decoder_of(model).config, "_attn_implementation", None) not in MASKED_ATTENTION:
        return False
    groups = _specimens(base_lm(model).config.get_text_config().vocab_size, 9 + window)
    with _probe(model):
        try:
            return _agree(model, groups)
        except (TypeError, ValueError, RuntimeError, KeyError, IndexError, AttributeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            return False


def _specimens(vocabulary: int, length: int) -> list[Group]:
    """Two fixed trees over varied token ids; no random numbers."""

    def run(start: int, size: int) -> list[int]:
        return [(start + 7919 * i * (i + 3)) % vocabulary for i in range(size)]

    return [Group(run(11, length), (run(101, 5), run(977, 7))), Group(run(53, 6), (run(307, 4), run(11, 3)))]


def _agree(model: Any, groups: Sequence[Group]) -> bool:
    """Tree rows differ from plain ones by far less than do rows in which later completions see the earlier ones."""
    plain = _padded(model, groups, entropy=False, max_tokens=1)
    trees = _trees(model, groups, entropy=False, max_tokens=10**9, prefix=None)
    flat = _padded(model, [_unrolled(group) for group in groups], entropy=False, max_tokens=1)
    error = max(_gap(a, b) for tree, own in zip(trees, plain, strict=True) for a, b in zip(tree, own, strict=True))
    signal = max(_gap(unrolled[0], own[-1]) for unrolled, own in zip(flat, plain, strict=True))
    return error <= signal * (0.01 if model.dtype in (torch.float32, torch.float64) else 0.1)


def _unrolled(group: Group) -> Group:
    """The last completion as it would be read after the earlier ones."""
    *earlier, last = group.completions
    return Group([*group.prompt, *(i for c in earlier for i in c)], [last])


def _gap(a: TokenStats, b: TokenStats) -> float:
    return float((a.logprobs - b.logprobs).abs().max())


@contextmanager
def _probe(model: Any) -> Iterator[None]:
    token = _PROBING.set(True)
    try:
        with evaluating(model):
            yield
    finally:
        _PROBING.reset(token)
