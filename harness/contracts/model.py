"""A language model and a fitted one: what may be asked of them, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload, runtime_checkable

from harness.contracts.errors import HarnessError
from harness.contracts.values import Completion, Messages, Span

if TYPE_CHECKING:
    from harness.contracts.values import FloatArray

Capability = Literal["generate", "loglik", "choose", "prefer"]

ANSWERS_AT_ONCE = 256
"""Requests that an evaluation passes on together."""


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Figures of one completion's T tokens: nats, shape (T,), fp32, temperature 1; `entropies` only if asked for."""

    logprobs: FloatArray
    entropies: FloatArray | None = None

    @property
    def total(self) -> float:
        """Summed log-probability in nats."""
        return float(self.logprobs.sum(dtype="float64"))


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Asks for `n` samples of at most `max_new_tokens` tokens. Temperature 0 is greedy decoding.

    `context` is a conversation, or a text to which a chat template has been applied already.
    """

    context: str | Messages
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    n: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LoglikRequest:
    """Asks how likely `continuation` is after `context`. Both are token ids, encoded as lm-eval encodes them."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Loglik:
    """Summed log-probability, number of tokens, and whether greedy decoding would have produced it."""

    total: float
    tokens: int
    is_greedy: bool


@dataclass(frozen=True, slots=True)
class ChooseRequest:
    """A closed question with labelled options. If `group` is named, the answer is to be that group's."""

    prompt: Messages
    labels: tuple[str, ...]
    options: tuple[str, ...]
    group: str | None = None


@dataclass(frozen=True, slots=True)
class PreferRequest:
    """Asks which of two answers to a prompt is better."""

    prompt: Messages
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Preference:
    """P(a is better) by the model's own rule; for each answer, its summed log-probability (nats) and number of tokens.

    `a` and `b` are None if the rule does not use likelihoods.
    """

    p_a: float
    a: tuple[float, int] | None
    b: tuple[float, int] | None


class Aligned(Protocol):
    """A fitted model. What it may be asked follows from the further protocols that it implements (`capabilities`)."""

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, with transformers' interface."""
        ...

    @property
    def max_length(self) -> int:
        """Longest context plus continuation, in tokens."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything that is needed to load it again: safetensors and JSON only."""
        ...


@runtime_checkable
class Generates(Protocol):
    """Implemented by a fitted model that can write answers."""

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        """The samples of each request, as many as its `n`."""
        ...


@runtime_checkable
class ScoresText(Protocol):
    """Implemented by a fitted model that can give any text a likelihood."""

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        """Log-likelihood of every continuation, in nats."""
        ...


@runtime_checkable
class Chooses(Protocol):
    """Implemented by a fitted model that can answer closed questions."""

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """Log-probabilities over each request's options, normalised."""
        ...


@runtime_checkable
class Prefers(Protocol):
    """Implemented by a fitted model that can say which of two answers is better."""

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        """P(a is better) of every request, by the model's own rule."""
        ...


_PROTOCOLS: Mapping[Capability, type] = {
    "generate": Generates,
    "loglik": ScoresText,
    "choose": Chooses,
    "prefer": Prefers,
}


def capabilities(aligned: object) -> frozenset[Capability]:
    """What may be asked of a fitted model: the protocols that it implements."""
    return frozenset(name for name, protocol in _PROTOCOLS.items() if isinstance(aligned, protocol))


def require(aligned: object, *wanted: Capability, by: str) -> None:
    """Raise HarnessError, in the name of who asks (`by`), for a model that implements none of the `wanted`."""
    offered = capabilities(aligned)
    if not offered & set(wanted):
        listed = ", ".join(sorted(offered)) or "nothing"
        raise HarnessError(f"{by} asks for {' or '.join(sorted(wanted))}; the model's capabilities are: {listed}")


@overload
def able_to(what: Literal["generate"], aligned: object, *, by: str) -> Generates: ...


@overload
def able_to(what: Literal["loglik"], aligned: object, *, by: str) -> ScoresText: ...


@overload
def able_to(what: Literal["choose"], aligned: object, *, by: str) -> Chooses: ...


@overload
def able_to(what: Literal["prefer"], aligned: object, *, by: str) -> Prefers: ...


def able_to(what: Capability, aligned: object, *, by: str) -> object:
    """The model as something that generates, scores text, chooses or prefers. Raises HarnessError as `require` does."""
    require(aligned, what, by=by)
    return aligned


class LanguageModel(Aligned, Generates, ScoresText, Chooses, Prefers, Protocol):
    """The adapted language model: what `Bench.aligned` returns, and what `Loads.load` is given to build on."""

    @property
    def device(self) -> Any:
        """Where its weights are: torch's device."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """Longest prompt in tokens."""
        ...

    @property
    def completion_tokens(self) -> int:
        """Longest answer in tokens."""
        ...

    def render(self, prompt: Messages) -> list[int]:
        """Token ids of a prompt, ready for the assistant's turn."""
        ...

    def encode(self, completion: str | Completion) -> list[int]:
        """Token ids of an answer, closed by the end-of-turn token unless truncated."""
        ...

    def embed(
        self,
        texts: Sequence[str],
        *,
        layer: int = -1,
        pool: Literal["mean", "last"] = "mean",
        spans: Sequence[Span] | None = None,
    ) -> FloatArray:
        """As `Bench.embed`, of the adapted model."""
        ...

    def adapter_off(self) -> AbstractContextManager[None]:
        """The base model's weights inside a `with` block."""
        ...

    def spend(self, flops: float) -> None:
        """Count FLOPs that an answer took outside the language model. The model's own are always counted."""
        ...
