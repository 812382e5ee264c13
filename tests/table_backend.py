"""A second backend, for tests: a language model that is a table of what follows which token. No torch, no transformers
model, nothing of the hf engine; only the tokenizer of the model's folder is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.contracts import (
    Completion,
    EngineCapability,
    HarnessError,
    Loglik,
    LoglikRequest,
    ModelFolder,
    TokenScores,
)
from harness.hookspecs import hookimpl
from harness.meter import Meter
from harness.util.hashes import content_hash

Floats = NDArray[np.float64]


class TableEngine:
    """Log-probabilities of the next token, by the last one; a folder's name seeds them not: all folders are alike."""

    opened: ClassVar[list[str]] = []
    """Where engines were opened, for tests that must see that one ran."""
    asked: ClassVar[list[str]] = []
    """What they were asked for."""
    device = "cpu"

    def __init__(self, tokenizer: Any, parameters: int) -> None:
        self.tokenizer, self.parameters = tokenizer, parameters
        self.max_length = 128
        self.meter: Meter | None = None
        rng = np.random.default_rng(7)
        raw = rng.normal(size=(len(tokenizer), len(tokenizer)))
        self.table: Floats = raw - np.log(np.exp(raw).sum(1, keepdims=True))

    def row(self, context: Sequence[int]) -> Floats:
        return self.table[context[-1]]

    def read(self, tokens: int) -> None:
        if self.meter is not None:
            self.meter.add(forward_tokens=tokens, flops=2.0 * tokens)

    def clipped(self, request: LoglikRequest) -> tuple[int, ...]:
        if not 0 < len(request.continuation) <= self.max_length:
            raise HarnessError(f"a continuation of 1 to {self.max_length} tokens was expected")
        context = request.context or (self.tokenizer.eos_token_id,)
        return context[-(self.max_length + 1 - len(request.continuation)) :]

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        self.asked.append("loglik")
        return [self.one(request) for request in requests]

    def one(self, request: LoglikRequest) -> Loglik:
        context, total, greedy = self.clipped(request), 0.0, True
        self.read(len(context) + len(request.continuation))
        for token in request.continuation:
            row = self.row(context)
            total, greedy = total + float(row[token]), greedy and int(row.argmax()) == token
            context = (*context, token)
        return Loglik(total, len(request.continuation), greedy)

    def score(self, groups: Sequence[Any], *, entropy: bool = False) -> list[list[TokenScores]]:
        self.asked.append("score")
        return [[self.scores(g.prompt, c, entropy) for c in g.completions] for g in groups]

    def scores(self, prompt: Sequence[int], completion: Sequence[int], entropy: bool) -> TokenScores:
        rows = np.stack([self.row([*prompt, *completion[:i]]) for i in range(len(completion))])
        logprobs = rows[np.arange(len(completion)), list(completion)].astype(np.float32)
        return TokenScores(logprobs, -(np.exp(rows) * rows).sum(1).astype(np.float32) if entropy else None)

    def logits(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], *, chunk: int = 256
    ) -> Iterator[Any]:
        for prompt, completion in zip(prompts, completions, strict=True):
            rows = [self.row([*prompt, *completion[:i]]) for i in range(len(completion))]
            for start in range(0, len(rows), chunk):
                yield np.stack(rows[start : start + chunk]).astype(np.float32)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[list[Completion]]:
        self.asked.append("generate")
        return [
            [self.sample(prompt, temperature, max_new_tokens, stop, f"{seed} {one}") for one in range(n)]
            for prompt in prompts
        ]

    def sample(
        self, prompt: Sequence[int], temperature: float, most: int, stop: Sequence[str], seed: str
    ) -> Completion:
        rng = np.random.default_rng(int(content_hash(seed, list(prompt))[:8], 16))
        ids: list[int] = []
        while len(ids) < most:
            row = self.row([*prompt, *ids])
            ids.append(int((row if not temperature else row / temperature + rng.gumbel(size=len(row))).argmax()))
            self.read(1)
            text = self.text(ids)
            if ids[-1] == self.tokenizer.eos_token_id:
                return Completion(text, tuple(ids), "stop")
            if any(one in text for one in stop):
                return Completion(text[: min(text.find(s) for s in stop if s in text)], tuple(ids), "stop")
        return Completion(self.text(ids), tuple(ids), "length")

    def text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    @contextmanager
    def metered(self, meter: Meter) -> Iterator[None]:
        self.meter = meter
        try:
            yield
        finally:
            self.meter = None

    def close(self) -> None:
        del self.table


class TableBackend:
    """A table in place of a model; it loads no adapter and embeds nothing."""

    name: ClassVar[str] = "table"
    capabilities: ClassVar[frozenset[EngineCapability]] = frozenset(
        {"generate", "loglik", "score", "entropy", "logits"}
    )
    engine: ClassVar[type[TableEngine]] = TableEngine

    def open(self, files: ModelFolder, *, device: str, precision: str) -> Any:
        from safetensors import safe_open
        from transformers import AutoTokenizer

        self.engine.opened.append(files.name)
        with safe_open(str(files.folder / "model.safetensors"), "np") as weights:
            parameters = sum(int(np.prod(weights.get_slice(key).get_shape())) for key in sorted(weights.keys()))
        return self.engine(AutoTokenizer.from_pretrained(files.folder), parameters)


@hookimpl
def harness_backends() -> list[Any]:
    return [TableBackend]
