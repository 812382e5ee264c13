"""The fitted model as tasks see it: a language model behind an adapter and, for in-context learning, demonstrations."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from harness.backends.hf import HfBackend
from harness.budget import Meter
from harness.contracts import (
    Capability,
    ChooseRequest,
    Completion,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    Message,
    Messages,
    ModelSource,
    Pair,
    Preference,
    PreferRequest,
    Span,
)
from harness.store import read_json, write_json
from harness.text import encode_completion, render_prompt

if TYPE_CHECKING:
    from harness.contracts import FloatArray

Saver = Callable[[Path], None]
R = TypeVar("R")
Q = TypeVar("Q")


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


@dataclass(frozen=True)
class ModelAligned:
    """A language model, its active adapter, and optional demonstrations before every prompt.

    Demonstrations enter a conversation as earlier turns (after the system message) and a raw text as plain
    question-answer blocks before it.
    """

    backend: HfBackend
    prompt_tokens: int
    completion_tokens: int
    demonstrations: tuple[Pair, ...] = ()
    saver: Saver | None = None
    meter: Meter | None = None
    """Counts sampled tokens while the model is evaluated; None: nobody asks what an answer costs."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """A language model can do everything that a task may ask."""
        return frozenset({"generate", "loglik", "choose", "prefer"})

    @property
    def device(self) -> Any:
        """Where the model's weights are."""
        return self.backend.model.device

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.backend.tokenizer

    @property
    def max_length(self) -> int:
        """Longest context plus continuation, in tokens."""
        return int(self.backend.max_length)

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        """Samples for every request; requests with equal settings share a batch."""
        results: list[list[Completion]] = [[] for _ in requests]
        by_settings: dict[tuple[Any, ...], list[int]] = {}
        for index, request in enumerate(requests):
            key = (request.max_new_tokens, request.stop, request.temperature, request.top_p, request.n, request.seed)
            by_settings.setdefault(key, []).append(index)
        for (length, stop, temperature, top_p, n, seed), indices in by_settings.items():
            prompts = [self._context_ids(requests[i].context, length) for i in indices]
            batch = self.backend.generate(
                prompts,
                n=n,
                temperature=temperature,
                top_p=top_p,
                top_k=0,
                max_new_tokens=length,
                stop=list(stop),
                seed=seed,
            )
            for index, completions in zip(indices, batch, strict=True):
                results[index] = completions
        if self.meter is not None:
            self.meter.generated(sum(len(one.ids) for row in results for one in row))
        return results

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        """Log-likelihood of every continuation."""
        prefix = self._raw_prefix()
        if prefix:
            requests = [LoglikRequest(prefix + r.context, r.continuation) for r in requests]
        return self.backend.loglik(requests)

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """Normalised log-probabilities of each request's labels as the next turn, whoever it is asked for."""
        distinct = list(dict.fromkeys((r.prompt, r.labels) for r in requests))
        flat = [
            LoglikRequest(tuple(self._prompt_ids(prompt)), tuple(self._plain(label)))
            for prompt, labels in distinct
            for label in labels
        ]
        totals = iter(item.total for item in self.backend.loglik(flat))
        answers = {(prompt, labels): _normalise([next(totals) for _ in labels]) for prompt, labels in distinct}
        return [list(answers[r.prompt, r.labels]) for r in requests]

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        """P(a better) = sigmoid(log pi(a) - log pi(b)), summed over tokens, end of turn included."""
        flat = [
            LoglikRequest(tuple(self._prompt_ids(r.prompt)), tuple(self.encode(answer)))
            for r in requests
            for answer in (r.a, r.b)
        ]
        scores = self.backend.loglik(flat)
        return [
            Preference(_sigmoid(a.total - b.total), (a.total, a.tokens), (b.total, b.tokens))
            for a, b in zip(scores[::2], scores[1::2], strict=True)
        ]

    def save(self, folder: Path) -> None:
        """Write the adapter (if there is one) and the demonstrations."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.saver is not None:
            self.saver(folder)
        write_json(folder / "aligned.json", {"demonstrations": [asdict(p) for p in self.demonstrations]})

    def render(self, prompt: Messages) -> list[int]:
        """Token ids of a prompt, ready for the assistant's turn, demonstrations included."""
        return self._prompt_ids(prompt)

    def encode(self, completion: str | Completion) -> list[int]:
        """Token ids of an answer, closed by the end-of-turn token unless truncated."""
        return encode_completion(self.tokenizer, completion, self.completion_tokens)

    def embed(
        self,
        texts: Sequence[str],
        *,
        layer: int = -1,
        pool: Literal["mean", "last"] = "mean",
        spans: Sequence[Span] | None = None,
    ) -> FloatArray:
        """Pooled hidden states, shape (N, D)."""
        return self.backend.embed(texts, layer=layer, pool=pool, spans=spans)

    def spend(self, flops: float) -> None:
        """Count an answer's work outside the language model."""
        if self.meter is not None:
            self.meter.flops(flops)

    @contextmanager
    def adapter_off(self) -> Iterator[None]:
        """The base model's weights inside a `with` block; they are the model's own where no adapter is loaded."""
        model = self.backend.model
        with model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext():
            yield

    def with_demonstrations(self, messages: Messages) -> Messages:
        """The conversation with the demonstrations as earlier turns."""
        if not self.demonstrations:
            return messages
        system = messages[:1] if messages[0].role == "system" else ()
        turns = tuple(turn for pair in self.demonstrations for turn in _turns(pair))
        return (*system, *turns, *messages[len(system) :])

    def _prompt_ids(self, messages: Messages) -> list[int]:
        limit = self.prompt_tokens
        if self.demonstrations:
            limit = self.max_length - self.completion_tokens
        return render_prompt(self.tokenizer, self.with_demonstrations(messages), limit)

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _raw_prefix(self) -> tuple[int, ...]:
        text = "".join(_block(pair) for pair in self.demonstrations)
        return tuple(self._plain(text)) if text else ()

    def _context_ids(self, context: str | Messages, new_tokens: int) -> list[int]:
        if not isinstance(context, str):
            return self._prompt_ids(context)
        ids = [*self._raw_prefix(), *self.tokenizer.encode(context)]
        return ids[-(self.max_length - new_tokens) :]


def _turns(pair: Pair) -> Messages:
    asked = tuple(m for m in pair.prompt if m.role != "system")
    return (*asked, Message("assistant", pair.chosen))


def _block(pair: Pair) -> str:
    asked = "\n".join(m.content for m in pair.prompt if m.role != "system")
    return f"{asked}\n{pair.chosen}\n\n"


def _normalise(totals: Sequence[float]) -> list[float]:
    top = max(totals)
    log_sum = top + math.log(sum(math.exp(t - top) for t in totals))
    return [t - log_sum for t in totals]


def demonstrations(folder: Path) -> tuple[Pair, ...]:
    """The demonstrations that `ModelAligned.save` wrote."""
    value = read_json(folder / "aligned.json") or {"demonstrations": []}
    return tuple(
        Pair(
            id=p["id"],
            prompt=tuple(Message(**m) for m in p["prompt"]),
            chosen=p["chosen"],
            rejected=p["rejected"],
            cluster=p["cluster"],
        )
        for p in value["demonstrations"]
    )


def load_base(model: str, device: str = "auto", models: Mapping[str, ModelSource] | None = None) -> ModelAligned:
    """The untouched base model by its harness name, hub id or folder, as a task sees it.

    `models` are the registry's built-in models; those of every installed plug-in where none are given.
    """
    from harness.config import Lengths
    from harness.models import load, pick_device, pick_precision, resolve
    from harness.registry import load as load_registry

    chosen = pick_device(device)
    files = resolve(model, registry_models=load_registry().models if models is None else models)
    precision = pick_precision("auto", chosen, files)
    loaded, tokenizer = load(files, device=chosen, precision=precision)
    lengths = Lengths()
    return ModelAligned(HfBackend(loaded, tokenizer), lengths.prompt, lengths.completion)


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
