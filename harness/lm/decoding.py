"""Sampling with a key-value cache: every distinct prompt computed once, then n rows of it decoded together.

Rows that finish leave the batch at once. A row draws from its own random stream, so what it samples does not depend on
its neighbours beyond floating-point noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.contracts import Completion, HarnessError
from harness.lm.drawing import Sampling, choose
from harness.lm.fast_lora import folded_adapters
from harness.lm.in_place import without_gaps
from harness.lm.padded_prompts import PaddedPrompts
from harness.lm.peft_internals import decoder_of, evaluating, head_logits
from harness.lm.probes import tree_attention
from harness.lm.shared_prompts import SharedPrompts, shares_prompts
from harness.util.chat import end_of_turn


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
        trees = tree_attention(model, max(map(len, prompts), default=0) + how.max_new_tokens)
        room = _Room(max_rows, batch_tokens, shared=trees and shares_prompts(model))
        for jobs in _batches(_jobs(prompts, drawn), how.max_new_tokens, room):
            rows = [one for job in jobs for one in job.samples]
            cache = _cache(model, jobs, how.max_new_tokens, shared=room.shared, plain_masks=not trees)
            done.update(_Decoder(model, tokenizer, rows, how, cache).run())
    return [[done[p, i % drawn] for i in range(how.n)] for p in range(len(prompts))]


def _cache(model: Any, jobs: Sequence[_Job], new_tokens: int, *, shared: bool, plain_masks: bool) -> RowCache:
    prompts = [job.prompt for job in jobs]
    owner = [number for number, job in enumerate(jobs) for _ in job.samples]
    if shared:
        return SharedPrompts(model, prompts, owner, new_tokens)
    return PaddedPrompts(model, prompts, owner, new_tokens, plain_masks=plain_masks)


def _jobs(prompts: Sequence[Sequence[int]], n: int) -> list[_Job]:
    """One job per distinct prompt, longest first."""
    jobs: dict[tuple[int, ...], _Job] = {}
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise HarnessError(f"prompt {index} is empty; at least one token was expected")
        job = jobs.setdefault(tuple(prompt), _Job(tuple(prompt), []))
        job.samples.extend(_Sample(index, i) for i in range(n))
    return sorted(jobs.values(), key=lambda job: -len(job.prompt))


def _batches(jobs: Sequence[_Job], new_tokens: int, room: _Room) -> Iterator[list[_Job]]:
    """Jobs in batches that fit, a job's samples divided where they do not."""
    batch: list[_Job] = []
    free = room
    for job in jobs:
        samples = job.samples
        while samples:
            longest = len((batch or [job])[0].prompt)
            rows = free.rows_beside(longest, new_tokens)
            if batch and rows < 1:
                yield batch
                batch, free = [], room
                continue
            rows = max(1, rows, 0 if batch else room.rows_behind(longest, new_tokens))
            batch.append(_Job(job.prompt, samples[:rows]))
            free, samples = free.less(len(batch[-1].samples), longest, new_tokens), samples[rows:]
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class _Room:
    """What a batch still has room for. Where rows share their prompt they hold its tokens once, else once each."""

    rows: int
    tokens: int
    shared: bool

    def rows_beside(self, longest: int, new: int) -> int:
        """How many rows of one more prompt fit, where prompts are padded to `longest` tokens."""
        tokens = (self.tokens - longest) // max(new, 1) if self.shared else self.tokens // (longest + new)
        return min(self.rows, tokens)

    def rows_behind(self, prompt: int, new: int) -> int:
        """How many rows of a prompt may hold as much as the prompt itself, which else would be computed for each."""
        return min(self.rows, prompt // max(new, 1)) if self.shared else 0

    def less(self, rows: int, longest: int, new: int) -> _Room:
        """The room that is left after `rows` rows of one prompt."""
        held = longest + rows * new if self.shared else rows * (longest + new)
        return replace(self, rows=self.rows - rows, tokens=self.tokens - held)


# ---------------------------------------------------------------- one batch


class RowCache(Protocol):
    """Keys and values of the rows of a batch."""

    def open(self) -> AbstractContextManager[tuple[Tensor, Tensor]]:
        """Compute the prompts: their last hidden states (P, D), and which of them each row (R,) continues.

        Rows are continued inside the block.
        """
        ...

    def advance(self, chosen: Tensor) -> Tensor:
        """Add one token (R,) to every row; their last hidden states (R, D)."""
        ...

    def keep(self, kept: Tensor) -> None:
        """Go on with the rows `kept`, in this order."""
        ...


class _Decoder:
    """Decodes one batch. Rows keep their order in `rows`; all tensors are parallel to it."""

    def __init__(self, model: Any, tokenizer: Any, rows: Sequence[_Sample], how: Sampling, cache: RowCache) -> None:
        self._model, self._how, self._cache = model, how, cache
        self._text = Texts(tokenizer, how.stop)
        self._ends = end_ids(getattr(getattr(model, "generation_config", None), "eos_token_id", None), tokenizer)
        self._device = model.device
        self._rows = list(rows)
        self._uniform = _uniforms(self._rows, how).to(self._device)

    def run(self) -> Iterator[tuple[tuple[int, int], Completion]]:
        """Completions as they finish, by (prompt, sample)."""
        if self._how.max_new_tokens == 0:
            yield from ((_key(row), Completion("", (), "length")) for row in self._rows)
            return
        with self._cache.open() as (behind, owner):
            logits = head_logits(self._model, behind)[owner]
            for step in range(self._how.max_new_tokens):
                chosen = choose(logits, self._uniform[:, step], self._how)
                alive = self._extend(chosen.tolist())
                yield from (self._finished(row) for row, on in zip(self._rows, alive, strict=True) if not on)
                chosen = self._shrink(alive, chosen)
                if not self._rows or step + 1 == self._how.max_new_tokens:
                    break
                logits = head_logits(self._model, self._cache.advance(chosen))
        yield from (self._finished(row) for row in self._rows)

    def _extend(self, chosen: Sequence[int]) -> list[bool]:
        """Append the drawn tokens; which rows go on."""
        for row, token in zip(self._rows, chosen, strict=True):
            row.ids.append(token)
        return [row.ids[-1] not in self._ends and not self._text.stopped(row.ids) for row in self._rows]

    def _shrink(self, alive: Sequence[bool], chosen: Tensor) -> Tensor:
        """Drop finished rows."""
        if all(alive):
            return chosen
        order = without_gaps(alive)
        self._rows = [self._rows[i] for i in order]
        kept = torch.tensor(order, device=self._device, dtype=torch.long)
        self._uniform = self._uniform[kept]
        if order:
            self._cache.keep(kept)
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
