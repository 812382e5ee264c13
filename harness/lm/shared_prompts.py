"""Decoded rows on a CPU that read their prompt where it lies, once for the rows that continue it.

Prompts are computed without padding, several in a row of tokens, behind a prefix that they share (`blockwise`); their
keys and values are stored padded on the right. The queries of a step then meet two sets of keys: the prompt's, which
the rows of that prompt read together, and the row's own, which are the tokens that were sampled so far. Both parts are
joined by their log-sum-exps, which is the same sum in another order.

That is right for a model whose attention takes keys and values from its cache as they are. Some change them in between
(split values, repeated heads, latent vectors): whether a model may be decoded like this is found out once, by
comparison with padded rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from harness.lm.blockwise import flash, no_mask
from harness.lm.in_place import move_rows, without_gaps
from harness.lm.logprobs import prefix_cache
from harness.lm.padded_prompts import PaddedPrompts
from harness.lm.peft_internals import attention_named, base_lm, decoder_of
from harness.lm.prefixes import clusters
from harness.lm.probes import MISTAKES, probe, tolerance
from harness.lm.rows import Group, Prefix, Row, is_blockwise, pack, row_tokens, shared_tokens
from harness.lm.trees import forward_row

SHARED = "harness_shared_prompts"
ONE_TOKEN = ((0,),)
"""Completions of a prompt of which only the prompt is wanted: the last token of a completion is never computed."""
FILLING = 2
"""Queries of a batch's first step, those that only fill up a prompt's line included, are at most twice its rows."""

_SHARES: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()


def shares_prompts(model: Any) -> bool:
    """Whether rows of this model may share their prompts; measured once, not metered, draws no random number.

    The model must be one that reads tree rows (`tree_attention`).
    """
    decoder = decoder_of(model)
    if not is_blockwise(model):
        return False
    if decoder not in _SHARES:
        _SHARES[decoder] = _measure(model)
    return _SHARES[decoder]


def _measure(model: Any) -> bool:
    """Decode a few rows behind two prompts both ways, with one that leaves."""
    vocabulary = base_lm(model).config.get_text_config().vocab_size
    prompts = [[(start + 7919 * i * (i + 3)) % vocabulary for i in range(size)] for start, size in ((11, 9), (53, 4))]
    asked = (model, prompts, (0, 0, 1), 3)
    with probe(model):
        try:
            shared = _decoded(SharedPrompts(*asked), vocabulary)
        except MISTAKES as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            return False
        padded = _decoded(PaddedPrompts(*asked, plain_masks=False), vocabulary)
    signal = float((padded[0] - padded[-1]).abs().max())
    return float((shared - padded).abs().max()) <= signal * tolerance(model)


def _decoded(cache: Any, vocabulary: int) -> Tensor:
    """Last hidden states (2 + 2 + 3, D) of three steps; the first row leaves after one of them."""
    with cache.open() as (behind, owner):
        first = cache.advance(torch.arange(len(owner), device=behind.device) * 5 % vocabulary)
        cache.keep(torch.tensor([2, 1], device=behind.device))
        later = [cache.advance(torch.tensor(ids, device=behind.device) % vocabulary) for ids in ([7, 101], [3, 307])]
        return torch.cat([*reversed(later), first]).float()


class SharedPrompts:
    """Keys and values of prompts, and of what every row adds to its own. `owner` says which prompt a row continues.

    `new_tokens` is how many tokens will be added to a row. A prompt that far more rows continue than the others is
    held several times, so that lines of equal length can be read (`FILLING`).
    """

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], owner: Sequence[int], new_tokens: int) -> None:
        self._model, self._new_tokens = model, new_tokens
        self._prompts, self._owner = _in_lines([tuple(prompt) for prompt in prompts], owner)
        self._lengths = [len(prompt) for prompt in self._prompts]
        self._layers: list[Any] = []
        """Of `_Layer`, which transformers takes for one of its own."""
        self._cache: Any = None
        self._reading: _Reading | None = None
        self._added = 0

    @contextmanager
    def open(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Compute the prompts: their last hidden states (P, D), and which of them each row (R,) continues.

        Rows are continued inside the block.
        """
        behind = self._read()
        self._cache = Cache(layers=self._layers)
        self._arrange()
        yield behind, torch.tensor(self._owner)

    def advance(self, chosen: Tensor) -> Tensor:
        """Add one token (R,) to every row; their last hidden states (R, D)."""
        decoder = decoder_of(self._model)
        with _attending(decoder, self._reading):
            out = decoder(
                input_ids=chosen[:, None],
                attention_mask=None,
                position_ids=(self._starts + self._added)[:, None],
                past_key_values=self._cache,
                use_cache=True,
            )
        self._added += 1
        hidden: Tensor = out.last_hidden_state[:, -1]
        return hidden

    def keep(self, kept: Tensor) -> None:
        """Go on with the rows `kept`, in this order. A prompt that no row continues is dropped."""
        self._owner = [self._owner[row] for row in kept.tolist()]
        for layer in self._layers:
            layer.batch_select_indices(kept)
        continued = set(self._owner)
        order = without_gaps([prompt in continued for prompt in range(len(self._lengths))])
        self._lengths = [self._lengths[prompt] for prompt in order]
        place = {prompt: number for number, prompt in enumerate(order)}
        self._owner = [place[prompt] for prompt in self._owner]
        for layer in self._layers:
            move_rows((layer.prompt_keys, layer.prompt_values), torch.tensor(order))
        self._arrange()

    def _arrange(self) -> None:
        """Make `_reading` and `_starts` anew for the rows and prompts of now."""
        rows_of: list[list[int]] = [[] for _ in self._lengths]
        places = []
        for row, prompt in enumerate(self._owner):
            places.append((prompt, len(rows_of[prompt])))
            rows_of[prompt].append(row)
        line, longest = max(map(len, rows_of)), max(self._lengths)
        lengths = torch.tensor(self._lengths)
        self._starts = lengths[torch.tensor(self._owner)]
        for layer in self._layers:
            layer.compared = len(rows_of) * line * longest / len(self._owner)
        padding = torch.arange(longest) >= lengths[:, None]
        mask = torch.zeros(padding.shape, dtype=self._layers[0].dtype).masked_fill_(padding, -torch.inf)
        self._reading = _Reading(
            self._layers,
            longest,
            torch.tensor([[*rows, *[0] * (line - len(rows))] for rows in rows_of]),
            torch.tensor([prompt * line + number for prompt, number in places]),
            mask[:, None, None] if bool(padding.any()) else None,
        )

    # ------------------------------------------------------------ prompts

    def _read(self) -> Tensor:
        """Compute all prompts and make the layers; last hidden states (P, D)."""
        held: dict[tuple[int, ...], list[int]] = {}
        for number, prompt in enumerate(self._prompts):
            held.setdefault(prompt, []).append(number)
        behind: list[Tensor] = [torch.empty(0)] * len(self._prompts)
        most = row_tokens(self._model)
        for shared, members in clusters(list(held), fewest_tokens=True, shortest=1):
            prefix = prefix_cache(self._model, shared) if shared else None
            groups = [Group(prompt, ONE_TOKEN) for prompt in members]
            for row in pack(groups, most, len(shared), split=True, shared=shared_tokens(self._model, most)):
                wanted = [held[members[group]] for group, _ in row.owners]
                last = self._read_row(row, prefix, wanted)
                for numbers, states in zip(wanted, last, strict=True):
                    for number in numbers:
                        behind[number] = states
        return torch.stack(behind)

    def _read_row(self, row: Row, prefix: Prefix | None, wanted: Sequence[Sequence[int]]) -> Tensor:
        """Compute one row of prompts and keep its keys and values; the last hidden state of each, (N, D)."""
        cache: Any = DynamicCache() if prefix is None else prefix.cache
        start = 0 if prefix is None else len(prefix.ids)
        hidden = forward_row(self._model, row, cache=cache, start=start)
        if not self._layers:
            sizes = {"prompts": len(self._prompts), "rows": len(self._owner), "longest": max(self._lengths)}
            self._layers = [
                _Layer(layer.keys, layer.values, **sizes, new_tokens=self._new_tokens) for layer in cache.layers
            ]
        for mine, computed in zip(self._layers, cache.layers, strict=True):
            for numbers, last in zip(wanted, row.predictors, strict=True):
                for number in numbers:
                    mine.put(number, computed, start, start + last + 1, self._lengths[number])
        if prefix is not None:
            cache.crop(start - cache.get_seq_length())
        return hidden[torch.tensor(row.predictors)]


def _in_lines(prompts: Sequence[tuple[int, ...]], owner: Sequence[int]) -> tuple[list[tuple[int, ...]], list[int]]:
    """The prompts, some of them several times so that none has far more rows than others, and whose each row is."""
    rows_of = Counter(owner).values()
    lengths = range(max(rows_of), 0, -1)
    most = next(size for size in lengths if size * sum(-(-rows // size) for rows in rows_of) <= FILLING * len(owner))
    listed: list[tuple[int, ...]] = []
    newest: dict[int, tuple[int, int]] = {}
    owners = []
    for prompt in owner:
        place, rows = newest.get(prompt, (-1, most))
        if rows == most:
            place, rows = len(listed), 0
            listed.append(prompts[prompt])
        newest[prompt] = place, rows + 1
        owners.append(place)
    return listed, owners


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values: of the prompts (P, H, L, D), padded on the right, and of what rows add to them."""

    def __init__(self, keys: Tensor, values: Tensor, *, prompts: int, rows: int, longest: int, new_tokens: int) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        # Zeros: padding is read with weight 0, and 0 times what stands in fresh memory may not be a number.
        self.prompt_keys, self.prompt_values = (_sized(states, prompts, longest).zero_() for states in (keys, values))
        self._all_keys, self._all_values = (_sized(states, rows, new_tokens) for states in (keys, values))
        self._rows, self._length = rows, 0
        self.given: tuple[Tensor, Tensor] | None = None
        """What `update` gave last."""
        self.compared = 0.0
        """Keys of prompts that are read in a step for each row, padding and filling included."""

    def put(self, prompt: int, computed: Any, start: int, end: int, length: int) -> None:
        """Keep a prompt of `length` tokens: a prefix of `start` tokens, and those that end before `end` in `computed`.

        `end` counts the prefix, too.
        """
        own = slice(end - (length - start), end)
        for mine, all_of_them in ((self.prompt_keys, computed.keys), (self.prompt_values, computed.values)):
            mine[prompt, :, :start] = all_of_them[0, :, :start]
            mine[prompt, :, start:length] = all_of_them[0, :, own]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append one step's keys and values and return all that rows have added."""
        end = self._length + key_states.shape[-2]
        self._all_keys[: self._rows, :, self._length : end] = key_states
        self._all_values[: self._rows, :, self._length : end] = value_states
        self._length = end
        self.given = self._all_keys[: self._rows, :, :end], self._all_values[: self._rows, :, :end]
        return self.given

    def get_seq_length(self) -> int:
        """Keys that a row is compared with, on average, padding and filling included: what a step costs.

        It falls when long prompts leave, so no position follows from it.
        """
        return round(self.compared) + int(self._length)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows `indices`; only those that change their place are copied."""
        move_rows((states[:, :, : self._length] for states in (self._all_keys, self._all_values)), indices)
        self._rows = len(indices)


def _sized(like: Tensor, rows: int, length: int) -> Tensor:
    return like.new_empty(rows, like.shape[1], length, like.shape[-1])


# ---------------------------------------------------------------- attention


@dataclass(frozen=True, slots=True)
class _Reading:
    """Who reads what in a step."""

    layers: Sequence[_Layer]
    longest: int
    """Tokens of the longest prompt."""
    lines: Tensor
    """(P, n): the rows that continue each prompt, filled up with row 0, of which the result is thrown away."""
    places: Tensor
    """(R,): where each row stands in `lines`, counted over all of them."""
    mask: Tensor | None
    """(P, 1, 1, L): 0 for a prompt's tokens and minus infinity for padding; None where there is none."""


_READING: ContextVar[_Reading | None] = ContextVar("reading", default=None)


@contextmanager
def _attending(decoder: Any, reading: _Reading | None) -> Iterator[None]:
    token = _READING.set(reading)
    try:
        with attention_named(decoder, SHARED):
            yield
    finally:
        _READING.reset(token)


def shared_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """What transformers calls: queries (R, H, 1, D) and the rows' own keys and values (R, H / G, S, D) to (R, 1, H, D).

    The query heads that share a key head become the query positions of that head. Raises RuntimeError for an attention
    that is more than the formula, or whose keys and values are not those of the cache (`shares_prompts`).
    """
    reading = _READING.get()
    assert reading is not None, "only `_attending` asks for this attention"
    layer = reading.layers[module.layer_idx]
    given = layer.given is not None and key is layer.given[0] and value is layer.given[1]
    special = any(kwargs.get(name) is not None for name in ("position_bias", "s_aux")) or kwargs.get("dropout")
    if not given or special or value.shape[-1] != query.shape[-1]:
        raise RuntimeError("this attention cannot read prompts and samples apart")
    rows, heads, _, width = query.shape
    prompts, line = reading.lines.shape
    kept = key.shape[1]
    groups = heads // kept
    scale = kwargs.get("scaling")
    scale = width**-0.5 if scale is None else scale
    folded = query.reshape(rows, kept, groups, width)
    own, own_weight = flash(folded, key, value, scale=scale)
    in_lines = folded[reading.lines].transpose(1, 2).reshape(prompts, kept, line * groups, width)
    keys, values = (states[:prompts, :, : reading.longest] for states in (layer.prompt_keys, layer.prompt_values))
    mask = None if reading.mask is None else reading.mask.expand(prompts, 1, line * groups, reading.longest)
    behind, weight = flash(in_lines, keys, values, scale=scale, mask=mask)
    behind = behind.reshape(prompts, kept, line, groups, width).transpose(1, 2).flatten(0, 1)[reading.places]
    weight = weight.reshape(prompts, kept, line, groups).transpose(1, 2).flatten(0, 1)[reading.places]
    share = torch.sigmoid(own_weight - weight)[..., None].to(own.dtype)
    return torch.lerp(behind, own, share).reshape(rows, 1, heads, width), None


AttentionInterface.register(SHARED, shared_attention)
AttentionMaskInterface.register(SHARED, no_mask)
