"""The adapted language model as tasks and judges see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.contracts import (
    ChooseRequest,
    Completion,
    Engine,
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
from harness.lm.backends.hf import HfBackend
from harness.lm.resumable import Saver
from harness.meter import Meter
from harness.util.chat import encode_completion, render_prompt
from harness.util.files import read_json, write_json
from harness.util.maths import log_softmax, sigmoid

if TYPE_CHECKING:
    from harness.contracts import FloatArray
    from harness.lm.kept import KeptCalls
    from harness.models.wheels import ModelFiles


@dataclass(frozen=True)
class ModelAligned:
    """A language model, its active adapter, and optional demonstrations before every prompt: `contracts.LanguageModel`.

    Demonstrations enter a conversation as earlier turns (after the system message) and a raw text as plain
    question-answer blocks before it.
    """

    engine: Engine
    prompt_tokens: int
    completion_tokens: int
    demonstrations: tuple[Pair, ...] = ()
    saver: Saver | None = None
    meter: Meter | None = None
    """Counts sampled tokens while the model is evaluated; None: nobody asks what an answer costs."""
    kept: KeptCalls | None = None
    """Embeddings that other runs of the store computed; only where no adapter is loaded, and costs are counted."""

    @property
    def device(self) -> Any:
        """Where the model's weights are."""
        return self.engine.device

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.engine.tokenizer

    @property
    def max_length(self) -> int:
        """Longest context plus continuation, in tokens."""
        return int(self.engine.max_length)

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        """Samples for every request; requests with equal settings share a batch."""
        results: list[list[Completion]] = [[] for _ in requests]
        by_settings: dict[tuple[Any, ...], list[int]] = {}
        for index, request in enumerate(requests):
            key = (request.max_new_tokens, request.stop, request.temperature, request.top_p, request.n, request.seed)
            by_settings.setdefault(key, []).append(index)
        for (length, stop, temperature, top_p, n, seed), indices in by_settings.items():
            prompts = [self._context_ids(requests[i].context, length) for i in indices]
            batch = self.engine.generate(
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
        return self.engine.loglik(requests)

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """Normalised log-probabilities of each request's labels as the next turn, whoever it is asked for."""
        distinct = list(dict.fromkeys((r.prompt, r.labels) for r in requests))
        flat = [
            LoglikRequest(tuple(self._prompt_ids(prompt)), tuple(self._plain(label)))
            for prompt, labels in distinct
            for label in labels
        ]
        totals = iter(item.total for item in self.engine.loglik(flat))
        answers = {(prompt, labels): log_softmax([next(totals) for _ in labels]) for prompt, labels in distinct}
        return [list(answers[r.prompt, r.labels]) for r in requests]

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        """P(a better) = sigmoid(log pi(a) - log pi(b)), summed over tokens, end of turn included."""
        flat = [
            LoglikRequest(tuple(self._prompt_ids(r.prompt)), tuple(self.encode(answer)))
            for r in requests
            for answer in (r.a, r.b)
        ]
        scores = self.engine.loglik(flat)
        return [
            Preference(sigmoid(a.total - b.total), (a.total, a.tokens), (b.total, b.tokens))
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

        def computed() -> dict[str, Any]:
            return {"vectors": self.engine.embed(texts, layer=layer, pool=pool, spans=spans)}

        asked = ["embed", list(texts), None if spans is None else [list(span) for span in spans], layer, pool]
        known = computed() if self.kept is None or self.meter is None else self.kept.get(asked, computed, self.meter)
        vectors: FloatArray = known["vectors"]
        return vectors

    def spend(self, flops: float) -> None:
        """Count an answer's work outside the language model."""
        if self.meter is not None:
            self.meter.flops(flops)

    @contextmanager
    def adapter_off(self) -> Iterator[None]:
        """The base model's weights inside a `with` block; they are the model's own where no adapter is loaded."""
        with self.engine.adapter_off():
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
    from harness.models.find import resolve
    from harness.plugins.registry import load as load_registry

    return open_base(resolve(model, registry_models=load_registry().models if models is None else models), device)


def open_base(files: ModelFiles, device: str = "auto") -> ModelAligned:
    """`load_base` of a model that was found already. Raises HarnessError when its files changed since."""
    from harness.contracts import Lengths
    from harness.models.load import pick_device, pick_precision

    chosen = pick_device(device)
    precision = pick_precision("auto", chosen, files)
    lengths = Lengths()
    engine = HfBackend().open(files, device=chosen, precision=precision)
    return ModelAligned(engine, lengths.prompt, lengths.completion)
