"""Answers of a model that survive an interruption."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness.contracts import (
    Capability,
    ChooseRequest,
    Completion,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    Preference,
    PreferRequest,
)
from harness.meter import Meter

Saver = Callable[[Path], None]


R = TypeVar("R")


Q = TypeVar("Q")


@dataclass
class Resumable:
    """An Aligned whose answers are logged batch by batch, so that an interrupted evaluation goes on where it was.

    A batch is a fixed slice of a call's requests, so a resumed evaluation computes the same batches, and floats are
    written with every digit: the result is bit-equal to an undisturbed one. What a logged batch cost is logged with it
    and counted again on `meter`; its seconds add up in `seconds_before`.
    """

    inner: Any
    log: Path
    meter: Meter
    batch: int = 256
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None

    def __post_init__(self) -> None:
        self._calls = 0
        self._known = {key: (rows, cost) for key, rows, cost in _read_log(self.log)}
        self.seconds_before = 0.0

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Those of the model inside."""
        caps: frozenset[Capability] = self.inner.capabilities
        return caps

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.inner.tokenizer

    @property
    def max_length(self) -> int:
        """Longest context plus continuation, in tokens."""
        return int(self.inner.max_length)

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        """Samples, from the log where it has them."""

        def decode(row: Any) -> list[Completion]:
            return [Completion(text, tuple(ids), finish) for text, ids, finish in row]

        return self._run("generate", requests, decode, lambda row: [(c.text, c.ids, c.finish) for c in row], 32)

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        """Log-likelihoods, from the log where it has them."""
        return self._run(
            "loglik", requests, lambda r: Loglik(*r), lambda r: (r.total, r.tokens, r.is_greedy), self.batch
        )

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """Option log-probabilities, from the log where it has them."""
        return self._run("choose", requests, list, list, self.batch)

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        """Preferences, from the log where it has them."""

        def decode(row: Any) -> Preference:
            a, b = (None if side is None else (float(side[0]), int(side[1])) for side in row[1:])
            return Preference(row[0], a, b)

        return self._run("prefer", requests, decode, lambda r: (r.p_a, r.a, r.b), max(1, self.batch // 16))

    def save(self, folder: Path) -> None:
        """Save the model inside."""
        self.inner.save(folder)

    def _run(
        self, kind: str, requests: Sequence[Q], decode: Callable[[Any], R], encode: Callable[[R], Any], size: int
    ) -> list[R]:
        call, self._calls = self._calls, self._calls + 1
        results: list[R] = []
        for start in range(0, len(requests), size):
            part = requests[start : start + size]
            key = f"{call}:{kind}:{start}:{hashlib.sha256(repr(part).encode()).hexdigest()[:16]}"
            if key in self._known:
                results.extend(decode(row) for row in self._replay(key))
            else:
                results.extend(self._compute(key, kind, part, encode))
            self.progress(kind, start + len(part), len(requests))
        return results

    def _replay(self, key: str) -> list[Any]:
        rows, cost = self._known[key]
        self.seconds_before += cost["seconds"]
        spend = self.meter.spend
        spend.generated_tokens += cost["generated_tokens"]
        spend.forward_tokens += cost["forward_tokens"]
        spend.flops += cost["flops"]
        return list(rows)

    def _compute(self, key: str, kind: str, part: Sequence[Any], encode: Callable[[Any], Any]) -> list[Any]:
        spend, started = self.meter.spend, time.monotonic()
        before = (spend.generated_tokens, spend.forward_tokens, spend.flops)
        answers: list[Any] = getattr(self.inner, kind)(part)
        if kind == "generate" and spend.generated_tokens == before[0]:  # a model of its own, that does not count
            self.meter.generated(sum(len(c.ids) for row in answers for c in row))
        cost = {
            "seconds": time.monotonic() - started,
            "generated_tokens": spend.generated_tokens - before[0],
            "forward_tokens": spend.forward_tokens - before[1],
            "flops": spend.flops - before[2],
        }
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as file:
            file.write(json.dumps([key, [encode(a) for a in answers], cost]) + "\n")
        return answers


def _read_log(path: Path) -> list[tuple[str, Any, dict[str, Any]]]:
    """Whole lines of the log; a last line cut short by a crash is cut off the file."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [(key, rows, cost) for key, rows, cost in map(json.loads, whole.splitlines())]
