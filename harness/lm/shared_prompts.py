"""Decoded rows on a CPU that read their prompt where it lies, once for all rows that continue it.

Prompts are computed without padding, several in a row of tokens, behind a prefix that they share (`blockwise`). The
queries of a step then meet two sets of keys: the prompt's, which all rows of that prompt read together, and the row's
own, which are the tokens that were sampled so far. Both parts are joined by their log-sum-exps, which is the same sum
in another order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from harness.lm.blockwise import flash, no_mask
from harness.lm.in_place import move_rows, without_gaps
from harness.lm.logprobs import prefix_cache
from harness.lm.peft_internals import decoder_of
from harness.lm.prefixes import clusters
from harness.lm.rows import Group, Prefix, Row, pack, row_tokens, shared_tokens
from harness.lm.trees import forward_row

SHARED = "harness_shared_prompts"
ANY_TOKEN = ((0,),)
"""A completion of one token: the layout of rows computes a prompt for it, and nothing behind."""


class SharedPrompts:
    """Keys and values of distinct prompts, and of what every row adds to its own. `owner` says which prompt that is.

    `room` is how many tokens will be added to a row. The model must be one that reads rows part by part
    (`rows.is_blockwise`).
    """

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], owner: Sequence[int], room: int) -> None:
        self._model, self._prompts, self._room = model, [tuple(prompt) for prompt in prompts], room
        self._owner = list(owner)
        self._lengths = [len(prompt) for prompt in prompts]
        self._layers: list[_Layer] = []
        self._added = 0

    @contextmanager
    def open(self) -> Iterator[Tensor]:
        """Compute the prompts; last hidden states (R, D) of every row's. Rows are continued inside the block."""
        behind = self._read()
        self._cache = Cache(layers=self._layers)
        self._arrange()
        yield behind[torch.tensor(self._owner)]

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
        read = set(self._owner)
        order = without_gaps([prompt in read for prompt in range(len(self._lengths))])
        self._lengths = [self._lengths[prompt] for prompt in order]
        place = {prompt: number for number, prompt in enumerate(order)}
        self._owner = [place[prompt] for prompt in self._owner]
        for layer in self._layers:
            move_rows((layer.prompt_keys, layer.prompt_values), torch.tensor(order))
        self._arrange()

    def _arrange(self) -> None:
        """Say for the rows of now where each of them stands among those of its prompt."""
        members: list[list[int]] = [[] for _ in self._lengths]
        slots = []
        for row, prompt in enumerate(self._owner):
            slots.append((prompt, len(members[prompt])))
            members[prompt].append(row)
        most, longest = max(map(len, members)), max(self._lengths)
        places = torch.tensor([[*rows, *[0] * (most - len(rows))] for rows in members])
        lengths = torch.tensor(self._lengths)
        self._starts = lengths[torch.tensor(self._owner)]
        for layer in self._layers:
            layer.longest = longest
        hidden = torch.arange(longest) >= lengths[:, None]
        mask = torch.zeros(hidden.shape, dtype=self._layers[0].dtype).masked_fill_(hidden, -torch.inf)
        self._reading = _Reading(
            self._layers,
            places,
            torch.tensor([prompt * most + number for prompt, number in slots]),
            mask[:, None, None] if bool(hidden.any()) else None,
        )

    # ------------------------------------------------------------ prompts

    def _read(self) -> Tensor:
        """Compute all prompts and make the layers; last hidden states (P, D)."""
        number = {prompt: place for place, prompt in enumerate(self._prompts)}
        found: list[Tensor] = [torch.empty(0)] * len(self._prompts)
        for shared, members in clusters(self._prompts, fewest_tokens=True, shortest=1):
            prefix = prefix_cache(self._model, shared) if shared else None
            groups = [Group(prompt, ANY_TOKEN) for prompt in members]
            most = row_tokens(self._model)
            for row in pack(groups, most, len(shared), split=True, shared=shared_tokens(self._model, most)):
                owners = [number[members[group]] for group, _ in row.owners]
                hidden = self._read_row(row, prefix, owners)
                for owner, last in zip(owners, row.predictors, strict=True):
                    found[owner] = hidden[last]
        return torch.stack(found)

    def _read_row(self, row: Row, prefix: Prefix | None, owners: Sequence[int]) -> Tensor:
        """Compute one row of prompts and keep its keys and values; its hidden states (T, D)."""
        cache, start = (DynamicCache(), 0) if prefix is None else (prefix.cache, len(prefix.ids))
        hidden = forward_row(self._model, row, cache=cache, start=start)
        if not self._layers:
            sizes = {"prompts": len(self._prompts), "rows": len(self._owner), "longest": max(self._lengths)}
            self._layers = [_Layer(layer.keys, layer.values, **sizes, room=self._room) for layer in cache.layers]
        for mine, computed in zip(self._layers, cache.layers, strict=True):
            for owner, last in zip(owners, row.predictors, strict=True):
                end = start + last + 1
                mine.put(owner, computed, start, end, self._lengths[owner])
        if prefix is not None:
            cache.crop(start - cache.get_seq_length())
        return hidden


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values: of the prompts (P, H, L, D), padded on the right, and of what rows add to them."""

    def __init__(self, keys: Tensor, values: Tensor, *, prompts: int, rows: int, longest: int, room: int) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.longest, self._length = longest, 0
        self.prompt_keys, self.prompt_values = (_room(states, prompts, longest) for states in (keys, values))
        self._all_keys, self._all_values = (_room(states, rows, room) for states in (keys, values))
        self._rows = rows

    def put(self, prompt: int, computed: Any, start: int, end: int, length: int) -> None:
        """Keep a prompt of `length` tokens: a prefix of `start` tokens, and the tokens that end before `end`."""
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
        return self._all_keys[: self._rows, :, :end], self._all_values[: self._rows, :, :end]

    def get_seq_length(self) -> int:
        """Keys that a row is compared with, padding included."""
        return int(self.longest + self._length)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows `indices`; only those that change their place are copied."""
        move_rows((states[:, :, : self._length] for states in (self._all_keys, self._all_values)), indices)
        self._rows = len(indices)


def _room(like: Tensor, rows: int, length: int) -> Tensor:
    """Zeros: what is padding must be finite, although no one reads it."""
    return like.new_zeros(rows, like.shape[1], length, like.shape[-1])


# ---------------------------------------------------------------- attention


@dataclass(frozen=True, slots=True)
class _Reading:
    """Who reads what in a step."""

    layers: Sequence[_Layer]
    places: Tensor
    """(P, n): the rows that continue each prompt, filled up with row 0."""
    slots: Tensor
    """(R,): where each row stands in `places`, counted over all of it."""
    mask: Tensor | None
    """(P, 1, 1, L): 0 for a prompt's tokens and minus infinity for padding; None where there is none."""


_READING: ContextVar[_Reading | None] = ContextVar("reading", default=None)


@contextmanager
def _attending(decoder: Any, reading: _Reading) -> Iterator[None]:
    config, token = decoder.config, _READING.set(reading)
    before = config._attn_implementation
    config._attn_implementation = SHARED
    try:
        yield
    finally:
        config._attn_implementation = before
        _READING.reset(token)


def shared_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """What transformers calls: queries (R, H, 1, D) and the rows' own keys and values (R, H / G, S, D) to (R, 1, H, D).

    The query heads that share a key head become the query positions of that head.
    """
    reading = _READING.get()
    assert reading is not None, "only `_attending` asks for this attention"
    layer = reading.layers[module.layer_idx]
    if kwargs.get("position_bias") is not None or kwargs.get("s_aux") is not None or value.shape[-1] != query.shape[-1]:
        return _copied(module, query, key, value, reading, **kwargs)
    rows, heads, _, width = query.shape
    prompts, most = reading.places.shape
    kept, groups = key.shape[1], heads // key.shape[1]
    scale = kwargs.get("scaling")
    scale = width**-0.5 if scale is None else scale
    folded = query.reshape(rows, kept, groups, width)
    own, own_weight = flash(folded, key, value, scale=scale)
    together = folded[reading.places].transpose(1, 2).reshape(prompts, kept, most * groups, width)
    keys, values = (states[:prompts, :, : layer.longest] for states in (layer.prompt_keys, layer.prompt_values))
    mask = None if reading.mask is None else reading.mask.expand(prompts, 1, most * groups, layer.longest)
    read, weight = flash(together, keys, values, scale=scale, mask=mask)
    read = read.reshape(prompts, kept, most, groups, width).transpose(1, 2).flatten(0, 1)[reading.slots]
    weight = weight.reshape(prompts, kept, most, groups).transpose(1, 2).flatten(0, 1)[reading.slots]
    share = torch.sigmoid(own_weight - weight)[..., None].to(own.dtype)
    return torch.lerp(read, own, share).reshape(rows, 1, heads, width), None


def _copied(
    module: Any, query: Tensor, key: Tensor, value: Tensor, reading: _Reading, **kwargs: Any
) -> tuple[Tensor, None]:
    """The same by transformers' own attention, on a copy of its prompt for every row."""
    layer, owner = reading.layers[module.layer_idx], reading.slots // reading.places.shape[1]
    keys, values = (
        torch.cat([prompt[owner, :, : layer.longest], own], dim=2)
        for prompt, own in ((layer.prompt_keys, key), (layer.prompt_values, value))
    )
    mask = query.new_zeros(len(owner), 1, 1, keys.shape[2])
    if reading.mask is not None:
        mask[..., : layer.longest] = reading.mask[owner]
    out: tuple[Tensor, None] = sdpa_attention_forward(module, query, keys, values, mask, **kwargs)
    return out


AttentionInterface.register(SHARED, shared_attention)
AttentionMaskInterface.register(SHARED, no_mask)
