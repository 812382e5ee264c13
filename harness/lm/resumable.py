"""Answers of a model that survive an interruption."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from harness.contracts import (
    ANSWERS_AT_ONCE,
    Aligned,
    Capability,
    ChooseRequest,
    Completion,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    Preference,
    PreferRequest,
    able_to,
    capabilities,
)
from harness.meter import Meter
from harness.util.hashes import content_hash

Saver = Callable[[Path], None]
Progress = Callable[[str, int, int], None]
COUNTED = ("generated_tokens", "forward_tokens", "flops")
"""What an answer costs."""

Q = TypeVar("Q")
R = TypeVar("R")


class Resumable:
    """An Aligned whose answers are logged batch by batch, so that an interrupted evaluation goes on where it was.

    Made by `resumable`, which adds what the model inside can be asked. A batch is a fixed slice of a call's requests,
    so a resumed evaluation computes the same batches, and floats are written with every digit: the result is bit-equal
    to an undisturbed one. What a logged batch cost is logged with it and counted again on `meter`; its seconds add up
    in `seconds_before`.
    """

    def __init__(self, inner: Aligned, log: Path, meter: Meter, batch: int, progress: Progress) -> None:
        self.inner, self.log, self.meter, self.batch, self.progress = inner, log, meter, batch, progress
        self._calls = 0
        self._known = {key: (rows, cost) for key, rows, cost in _read_log(log)}
        self.seconds_before = 0.0

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.inner.tokenizer

    @property
    def max_length(self) -> int:
        """Longest context plus continuation, in tokens."""
        return self.inner.max_length

    def save(self, folder: Path) -> None:
        """Save the model inside."""
        self.inner.save(folder)

    def _run(
        self,
        kind: str,
        ask: Callable[[Sequence[Q]], list[R]],
        requests: Sequence[Q],
        *,
        decode: Callable[[Any], R],
        encode: Callable[[R], Any],
        size: int,
    ) -> list[R]:
        call, self._calls = self._calls, self._calls + 1
        results: list[R] = []
        for start in range(0, len(requests), size):
            part = requests[start : start + size]
            key = f"{call}:{kind}:{start}:{hashlib.sha256(repr(part).encode()).hexdigest()[:16]}"
            if key in self._known:
                results.extend(decode(row) for row in self._replay(key))
            else:
                results.extend(self._compute(key, ask, part, encode))
            self.progress(kind, start + len(part), len(requests))
        return results

    def _replay(self, key: str) -> list[Any]:
        rows, cost = self._known[key]
        self.seconds_before += cost["seconds"]
        self.meter.add(**{name: cost[name] for name in COUNTED})
        return list(rows)

    def _compute(
        self, key: str, ask: Callable[[Sequence[Q]], list[R]], part: Sequence[Q], encode: Callable[[R], Any]
    ) -> list[R]:
        before, started = self.meter.spend, time.monotonic()
        answers = ask(part)
        cost = {
            "seconds": time.monotonic() - started,
            **{name: getattr(self.meter.spend, name) - getattr(before, name) for name in COUNTED},
        }
        self.log.parent.mkdir(parents=True, exist_ok=True)
        line = [key, [encode(a) for a in answers], cost]
        with self.log.open("a") as file:
            file.write(json.dumps([*line, content_hash(line)]) + "\n")
        return answers


def resumable(
    inner: Aligned,
    log: Path,
    meter: Meter,
    *,
    offered: frozenset[Capability] | None = None,
    batch: int = ANSWERS_AT_ONCE,
    progress: Progress = lambda stage, done, total: None,
) -> Resumable:
    """`inner` with its answers logged in the file `log`.

    It implements just the protocols that are `offered`: by default those that `inner` implements.
    """
    return _offering(capabilities(inner) if offered is None else offered)(inner, log, meter, batch, progress)


class _Generates(Resumable):
    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        """Samples, from the log where it has them."""

        def decode(row: Any) -> list[Completion]:
            return [Completion(text, tuple(ids), finish) for text, ids, finish in row]

        def encode(row: list[Completion]) -> Any:
            return [(c.text, c.ids, c.finish) for c in row]

        return self._run("generate", self._written, requests, decode=decode, encode=encode, size=32)

    def _written(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        before = self.meter.spend.generated_tokens
        answers = able_to("generate", self.inner, by="an evaluation").generate(requests)
        if self.meter.spend.generated_tokens == before:  # a model of its own, that does not count
            self.meter.generated(sum(len(c.ids) for row in answers for c in row))
        return answers


class _ScoresText(Resumable):
    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        """Log-likelihoods, from the log where it has them."""

        def encode(r: Loglik) -> Any:
            return (r.total, r.tokens, r.is_greedy)

        ask = able_to("loglik", self.inner, by="an evaluation").loglik
        return self._run("loglik", ask, requests, decode=lambda r: Loglik(*r), encode=encode, size=self.batch)


class _Chooses(Resumable):
    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """Option log-probabilities, from the log where it has them."""
        ask = able_to("choose", self.inner, by="an evaluation").choose
        return self._run("choose", ask, requests, decode=list, encode=list, size=self.batch)


class _Prefers(Resumable):
    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        """Preferences, from the log where it has them."""

        def decode(row: Any) -> Preference:
            a, b = (None if side is None else (float(side[0]), int(side[1])) for side in row[1:])
            return Preference(row[0], a, b)

        def encode(r: Preference) -> Any:
            return (r.p_a, r.a, r.b)

        ask = able_to("prefer", self.inner, by="an evaluation").prefer
        return self._run("prefer", ask, requests, decode=decode, encode=encode, size=max(1, self.batch // 16))


_PARTS: dict[Capability, type[Resumable]] = {
    "generate": _Generates,
    "loglik": _ScoresText,
    "choose": _Chooses,
    "prefer": _Prefers,
}


@cache
def _offering(offered: frozenset[Capability]) -> type[Resumable]:
    """A class that implements just these: what a model cannot be asked must not look as if it could."""
    parts = tuple(part for name, part in _PARTS.items() if name in offered)
    return type("Resumable", parts or (Resumable,), {"__doc__": Resumable.__doc__})


def _read_log(path: Path) -> list[tuple[str, Any, dict[str, Any]]]:
    """Lines of the log that are what was written; from the first on that is not, the file is cut off."""
    if not path.exists():
        return []
    found: list[tuple[str, Any, dict[str, Any]]] = []
    whole = 0
    with path.open("r+b") as file:
        for line in file:
            whole_line = _checked(line)
            if whole_line is None:
                break
            found.append(whole_line)
            whole += len(line)
        file.truncate(whole)
    return found


def _checked(line: bytes) -> tuple[str, Any, dict[str, Any]] | None:
    """Key, answers and cost of a line that ends and whose hash is that of the rest; None for any other."""
    try:
        key, rows, cost, digest = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    return (key, rows, cost) if line.endswith(b"\n") and digest == content_hash([key, rows, cost]) else None
