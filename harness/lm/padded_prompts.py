"""Decoded rows with a whole copy of their prompt each, padded on the left: for any device and any attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from harness.lm.in_place import move_rows
from harness.lm.paths import fast
from harness.lm.peft_internals import attention_named, decoder_of
from harness.lm.trees import attention_masks

GROUPED = "harness_grouped"


class PaddedPrompts:
    """Keys and values of every row, its prompt's included. `owner` says which prompt a row continues.

    `new_tokens` is how many tokens will be added to a row. With `plain_masks` the model makes its masks itself, from a
    row of ones and zeros; without, it is given who may see whom.
    """

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], owner: Sequence[int], new_tokens: int, *, plain_masks: bool
    ) -> None:
        self._model, self._prompts, self._new_tokens, self._plain_masks = model, prompts, new_tokens, plain_masks
        self._longest = max(map(len, prompts))
        self._column = self._longest
        self._owner = torch.tensor(owner, device=model.device)
        self._padding = torch.tensor([self._longest - len(prompts[p]) for p in owner], device=model.device)

    @contextmanager
    def open(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Compute the prompts: their last hidden states (P, D), and which of them each row (R,) continues.

        Rows are continued inside the block.
        """
        with _grouped_attention(self._model):
            yield self._read(), self._owner

    def advance(self, chosen: Tensor) -> Tensor:
        """Add one token (R,) to every row; their last hidden states (R, D)."""
        out = decoder_of(self._model)(
            input_ids=chosen[:, None],
            attention_mask=self._masks(),
            position_ids=(self._column - self._padding)[:, None],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._column += 1
        hidden: Tensor = out.last_hidden_state[:, -1]
        return hidden

    def keep(self, kept: Tensor) -> None:
        """Go on with the rows `kept`, in this order."""
        self._padding = self._padding[kept]
        self._cache.batch_select_indices(kept)

    def _read(self) -> Tensor:
        """Run the distinct prompts; last hidden states (P, D)."""
        device, decoder = self._model.device, decoder_of(self._model)
        pads = [self._longest - len(prompt) for prompt in self._prompts]
        ids = torch.tensor([[*[0] * pad, *p] for pad, p in zip(pads, self._prompts, strict=True)], device=device)
        real = torch.arange(self._longest, device=device) >= torch.tensor(pads, device=device)[:, None]
        out = decoder(
            input_ids=ids,
            attention_mask=real.long(),
            position_ids=(real.cumsum(-1) - 1).clamp(min=0),
            past_key_values=DynamicCache(config=decoder.config) if self._plain_masks else DynamicCache(),
            use_cache=True,
        )
        self._cache = self._spread(out.past_key_values)
        hidden: Tensor = out.last_hidden_state[:, -1]
        return hidden

    def _spread(self, cache: Any) -> Any:
        """The prompts' cache with one row per sample."""
        if self._plain_masks:
            cache.batch_select_indices(self._owner)
            return cache
        room = self._longest + self._new_tokens
        return Cache(layers=[_Buffer(layer, self._owner, room) for layer in cache.layers])

    def _masks(self) -> Any:
        columns = torch.arange(self._column + 1, device=self._model.device)
        allowed = columns >= self._padding[:, None]
        if self._plain_masks:
            return allowed.long()
        return attention_masks(self._model, allowed[:, None, None], (self._column - columns)[None, None, None])


class _Buffer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """A cache layer with room for what is to come: a step writes its keys in place instead of copying all of them."""

    def __init__(self, prompt: Any, owner: Tensor, room: int) -> None:
        super().__init__()
        self.dtype, self.device = prompt.keys.dtype, prompt.keys.device
        self._length = prompt.keys.shape[-2]
        self._all_keys = self._roomy(prompt.keys, owner, room)
        self._all_values = self._roomy(prompt.values, owner, room)
        self.is_initialized = True
        self._show(len(owner))

    def _roomy(self, states: Tensor, owner: Tensor, room: int) -> Tensor:
        _, heads, length, width = states.shape
        out = states.new_empty(len(owner), heads, room, width)
        out[:, :, :length] = states[owner]
        return out

    def _show(self, rows: int) -> tuple[Tensor, Tensor]:
        keys = self._all_keys[:rows, :, : self._length]
        values = self._all_values[:rows, :, : self._length]
        self.keys, self.values = keys, values
        return keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append one step's keys and values and return all of them."""
        rows, end = key_states.shape[0], self._length + key_states.shape[-2]
        self._all_keys[:rows, :, self._length : end] = key_states
        self._all_values[:rows, :, self._length : end] = value_states
        self._length = end
        return self._show(rows)

    def get_seq_length(self) -> int:
        """Tokens held, padding included."""
        return int(self._length)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows `indices`; only those that change their place are copied."""
        move_rows((states[:, :, : self._length] for states in (self._all_keys, self._all_values)), indices)
        self._show(len(indices))


def grouped_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """sdpa that reads grouped keys and values where they lie when one token per row is decoded.

    The query heads that share a key head become the query positions of that head: (R, H, 1, D) -> (R, H / G, G, D).
    """
    groups = getattr(module, "num_key_value_groups", 1)
    simple = attention_mask is None or attention_mask.shape[1:3] == (1, 1)
    if query.shape[2] != 1 or groups == 1 or not simple or kwargs.get("position_bias") is not None:
        out: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return out
    rows, heads, _, width = query.shape
    folded = query.reshape(rows, heads // groups, groups, width)
    mixed = F.scaled_dot_product_attention(folded, key, value, attn_mask=attention_mask, scale=kwargs.get("scaling"))
    return mixed.reshape(rows, 1, heads, mixed.shape[-1]), None


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


def _grouped_attention(model: Any) -> AbstractContextManager[None]:
    """Use `grouped_attention` in place of sdpa; other attention implementations stay."""
    decoder = decoder_of(model)
    wanted = decoder.config._attn_implementation == "sdpa" and fast()
    return attention_named(decoder, GROUPED) if wanted else nullcontext()
