"""Sampling with a key-value cache: every distinct prompt computed once, then n rows of it decoded together.

Rows that finish leave the batch at once. A row draws from its own random stream, so what it samples does not depend on
its neighbours beyond floating-point noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from harness.contracts import Completion, HarnessError
from harness.lm.drawing import Sampling, choose
from harness.lm.fast_lora import folded_adapters
from harness.lm.paths import fast
from harness.lm.peft_internals import decoder_of, evaluating, head_logits
from harness.lm.probes import tree_attention
from harness.lm.trees import attention_masks
from harness.util.chat import end_of_turn

GROUPED = "harness_grouped"


@dataclass(slots=True)
class _Sample:
    """One row: whose it is and what it has drawn so far."""

    prompt: int
    index: int
    ids: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Job:
    """A distinct prompt and the samples wanted of it."""

    prompt: tuple[int, ...]
    samples: list[_Sample]


def sample(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], how: Sampling, *, max_rows: int, batch_tokens: int
) -> list[list[Completion]]:
    """`how.n` completions per prompt, in order. A batch holds at most `max_rows` rows and `batch_tokens` tokens."""
    drawn = 1 if how.temperature == 0 else how.n
    done: dict[tuple[int, int], Completion] = {}
    with evaluating(model), folded_adapters(decoder_of(model)):
        plain_masks = not tree_attention(model, max(map(len, prompts), default=0) + how.max_new_tokens)
        for jobs in _batches(_jobs(prompts, drawn), how.max_new_tokens, max_rows, batch_tokens):
            done.update(_Decoder(model, tokenizer, jobs, how, plain_masks=plain_masks).run())
    return [[done[p, i % drawn] for i in range(how.n)] for p in range(len(prompts))]


def _jobs(prompts: Sequence[Sequence[int]], n: int) -> list[_Job]:
    """One job per distinct prompt, longest first."""
    jobs: dict[tuple[int, ...], _Job] = {}
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise HarnessError(f"prompt {index} is empty; at least one token was expected")
        job = jobs.setdefault(tuple(prompt), _Job(tuple(prompt), []))
        job.samples.extend(_Sample(index, i) for i in range(n))
    return sorted(jobs.values(), key=lambda job: -len(job.prompt))


def _batches(jobs: Sequence[_Job], new_tokens: int, max_rows: int, batch_tokens: int) -> Iterator[list[_Job]]:
    batch: list[_Job] = []
    free = 0
    for job in jobs:
        samples = job.samples
        while samples:
            if free == 0:
                if batch:
                    yield batch
                batch, free = [], max(1, min(max_rows, batch_tokens // (len(job.prompt) + new_tokens)))
            batch.append(_Job(job.prompt, samples[:free]))
            samples, free = samples[free:], free - len(batch[-1].samples)
    if batch:
        yield batch


# ---------------------------------------------------------------- one batch


class _Decoder:
    """Decodes one batch. Rows keep their order in `rows`; all tensors are parallel to it."""

    def __init__(self, model: Any, tokenizer: Any, jobs: Sequence[_Job], how: Sampling, *, plain_masks: bool) -> None:
        self._model, self._how, self._jobs = model, how, jobs
        self._plain_masks = plain_masks
        self._text = Texts(tokenizer, how.stop)
        self._ends = end_ids(getattr(getattr(model, "generation_config", None), "eos_token_id", None), tokenizer)
        self._device = model.device
        self._rows = [sample for job in jobs for sample in job.samples]
        owner = [j for j, job in enumerate(jobs) for _ in job.samples]
        self._owner = torch.tensor(owner, device=self._device)
        self._uniform = _uniforms(self._rows, how).to(self._device)
        self._longest = max(len(job.prompt) for job in jobs)
        self._padding = torch.tensor([self._longest - len(jobs[j].prompt) for j in owner], device=self._device)

    def run(self) -> Iterator[tuple[tuple[int, int], Completion]]:
        """Completions as they finish, by (prompt, sample)."""
        if self._how.max_new_tokens == 0:
            yield from ((_key(row), Completion("", (), "length")) for row in self._rows)
            return
        with _grouped_attention(self._model):
            logits = self._prefill()
            for step in range(self._how.max_new_tokens):
                chosen = choose(logits, self._uniform[:, step], self._how)
                alive = self._extend(chosen.tolist())
                yield from (self._finished(row) for row, on in zip(self._rows, alive, strict=True) if not on)
                chosen = self._shrink(alive, chosen)
                if not self._rows or step + 1 == self._how.max_new_tokens:
                    break
                logits = self._advance(chosen, self._longest + step)
        yield from (self._finished(row) for row in self._rows)

    def _prefill(self) -> Tensor:
        """Run the distinct prompts, left-padded; logits (rows, V) of the first new token."""
        prompts = [job.prompt for job in self._jobs]
        pads = [self._longest - len(prompt) for prompt in prompts]
        ids = torch.tensor([[*[0] * pad, *p] for pad, p in zip(pads, prompts, strict=True)], device=self._device)
        real = torch.arange(self._longest, device=self._device) >= torch.tensor(pads, device=self._device)[:, None]
        decoder = decoder_of(self._model)
        cache = DynamicCache(config=decoder.config) if self._plain_masks else DynamicCache()
        out = decoder(
            input_ids=ids,
            attention_mask=real.long(),
            position_ids=(real.cumsum(-1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
        )
        self._cache = self._spread(out.past_key_values)
        return head_logits(self._model, out.last_hidden_state[:, -1])[self._owner]

    def _spread(self, cache: Any) -> Any:
        """The prompts' cache with one row per sample."""
        if self._plain_masks:
            cache.batch_select_indices(self._owner)
            return cache
        room = self._longest + self._how.max_new_tokens
        return Cache(layers=[_Buffer(layer, self._owner, room) for layer in cache.layers])

    def _advance(self, chosen: Tensor, column: int) -> Tensor:
        """Feed one token to every row; `column` is its place in the cache. Logits (rows, V)."""
        own = column - self._padding
        out = decoder_of(self._model)(
            input_ids=chosen[:, None],
            attention_mask=self._masks(column),
            position_ids=own[:, None],
            past_key_values=self._cache,
            use_cache=True,
        )
        return head_logits(self._model, out.last_hidden_state[:, -1])

    def _masks(self, column: int) -> Any:
        columns = torch.arange(column + 1, device=self._device)
        allowed = columns >= self._padding[:, None]
        if self._plain_masks:
            return allowed.long()
        return attention_masks(self._model, allowed[:, None, None], (column - columns)[None, None, None])

    def _extend(self, chosen: Sequence[int]) -> list[bool]:
        """Append the drawn tokens; which rows go on."""
        for row, token in zip(self._rows, chosen, strict=True):
            row.ids.append(token)
        return [row.ids[-1] not in self._ends and not self._text.stopped(row.ids) for row in self._rows]

    def _shrink(self, alive: Sequence[bool], chosen: Tensor) -> Tensor:
        """Drop finished rows: the last live rows move into their places, so that little is copied."""
        if all(alive):
            return chosen
        size = sum(alive)
        order = list(range(size))
        movers = iter([i for i in range(size, len(alive)) if alive[i]])
        for place in range(size):
            if not alive[place]:
                order[place] = next(movers)
        self._rows = [self._rows[i] for i in order]
        kept = torch.tensor(order, device=self._device, dtype=torch.long)
        self._padding, self._uniform = self._padding[kept], self._uniform[kept]
        if size:
            self._cache.batch_select_indices(kept)
        return chosen[kept]

    def _finished(self, row: _Sample) -> tuple[tuple[int, int], Completion]:
        return _key(row), self._text.completion(row.ids, self._ends)


def _key(row: _Sample) -> tuple[int, int]:
    return row.prompt, row.index


def end_ids(own: int | Sequence[int] | None, tokenizer: Any) -> frozenset[int]:
    """Every id that ends a turn: the model's `own` end-of-sequence ids and the template's end-of-turn token."""
    listed: list[int | None] = [own] if own is None or isinstance(own, int) else list(own)
    return frozenset(i for i in (*listed, tokenizer.eos_token_id, end_of_turn(tokenizer)) if i is not None)


def _uniforms(rows: Sequence[_Sample], how: Sampling) -> Tensor:
    """(rows, max_new_tokens) draws from [0, 1), each row's from its own stream."""
    if how.temperature == 0:
        return torch.zeros(len(rows), how.max_new_tokens)
    draws = []
    for row in rows:
        digest = hashlib.sha256(f"{how.seed}/{row.prompt}/{row.index}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        draws.append(torch.rand(how.max_new_tokens, generator=generator))
    return torch.stack(draws)


class Texts:
    """Decodes ids and looks for stop strings."""

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(filter(None, stop))
        # A token holds at least one byte, so a stop string that just ended lies within this many tokens.
        self._window = max((len(s.encode()) for s in self._stop), default=0) + 4

    def stopped(self, ids: Sequence[int]) -> bool:
        """Whether the newest tokens complete a stop string."""
        if not self._stop:
            return False
        tail = self._decode(ids[-self._window :], skip_special=False)
        return any(s in tail for s in self._stop)

    def completion(self, ids: Sequence[int], ends: frozenset[int]) -> Completion:
        """A finished sample: why it ended, and its text, which neither the end nor a stop string belongs to."""
        ended = ids[-1] in ends
        text, stopped = self._final(ids[:-1] if ended else ids)
        return Completion(text, tuple(ids), "stop" if ended or stopped else "length")

    def _final(self, ids: Sequence[int]) -> tuple[str, bool]:
        """The text before the first stop string, and whether there was one."""
        raw = self._decode(ids, skip_special=False)
        text = self._decode(ids, skip_special=True)
        cut = min((text.find(s) for s in self._stop if s in text), default=len(text))
        return text[:cut], any(s in raw for s in self._stop)

    def _decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=skip_special, clean_up_tokenization_spaces=False))


# ---------------------------------------------------------------- cache and attention


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
        places = torch.arange(len(indices), device=indices.device)
        moved = places[indices != places]
        if len(moved):
            for states in (self._all_keys, self._all_values):
                states[moved, :, : self._length] = states[indices[moved], :, : self._length]
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


@contextmanager
def _grouped_attention(model: Any) -> Iterator[None]:
    """Use `grouped_attention` in place of sdpa; other attention implementations stay."""
    config = decoder_of(model).config
    before = config._attn_implementation
    if before == "sdpa" and fast():
        config._attn_implementation = GROUPED
    try:
        yield
    finally:
        config._attn_implementation = before
