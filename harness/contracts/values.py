"""Values that all parts share: messages, prompts, pairs, ratings, completions, and the few-shot data of a cell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

from pydantic import ImportString

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]


Role = Literal["system", "user", "assistant"]
"""Who speaks in a turn of a conversation."""


Need = Literal["pairs", "prompts", "verifier", "groups", "auxiliary"]
"""What an aligner may need of the few-shot data: the field of `FewShot` with this name."""


POLICY = "default"
"""Adapter name of the live policy (the name that PEFT and TRL expect)."""


BASE = "base"
"""Pseudo adapter name: the model with every adapter off."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Messages = tuple[Message, ...]


def user(text: str, *, system: str | None = None) -> Messages:
    """A single-turn prompt, with an optional system message before it."""
    turn = Message("user", text)
    return (turn,) if system is None else (Message("system", system), turn)


@dataclass(frozen=True, slots=True)
class Prompt:
    """An unlabelled prompt. `id` is stable across draws and sources."""

    id: str
    messages: Messages


@dataclass(frozen=True, slots=True)
class Pair:
    """One labelled preference: `chosen` is better than `rejected` as the assistant's next turn after `prompt`.

    `cluster` names the independent unit (the question) when several pairs stem from one; intervals resample clusters.
    """

    id: str
    prompt: Messages
    chosen: str
    rejected: str
    cluster: str | None = None

    @property
    def unit(self) -> str:
        """The independent unit this pair belongs to."""
        return self.cluster or self.id


@dataclass(frozen=True, slots=True)
class Rating:
    """A group's opinion on one question: probabilities over `options`, summing to 1."""

    question: str
    prompt: str
    options: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """A sampled answer: its text, its token ids (end-of-turn token included when `finish == "stop"`), how it ended."""

    text: str
    ids: tuple[int, ...]
    finish: Literal["stop", "length"]


@runtime_checkable
class Verifier(Protocol):
    """Checks answers to prompts of a pool. A prompt about which it is asked costs one label, however often."""

    def __call__(self, prompt_id: str, completion: str) -> float:
        """Reward in [0, 1]. Raises KeyError for an unknown prompt."""
        ...


@dataclass(frozen=True, slots=True)
class GoldAnswers:
    """The verifier of a pool: the right answers by prompt id, and a pure function that compares an answer with them.

    It is data, so that it can be passed to the process that fits without passing the pool. `rule` is a function of a
    module and is passed on by its name.
    """

    gold: Mapping[str, str]
    rule: ImportString[Callable[[str, str], float]]
    """A function of (right answer, answer) that returns a reward in [0, 1]."""

    def __call__(self, prompt_id: str, completion: str) -> float:
        """The reward of an answer. Raises KeyError for an unknown prompt."""
        return float(self.rule(self.gold[prompt_id], completion))

    def about(self, prompt_ids: Collection[str]) -> GoldAnswers:
        """The same verifier with the right answers to these prompts alone."""
        return GoldAnswers({name: right for name, right in self.gold.items() if name in prompt_ids}, self.rule)


Ratings = Mapping[str, tuple[Rating, ...]]


Span = tuple[int, int]
"""A range of characters of a text: first, one past the last."""


Spans = Literal["marker", "positional"]
"""How an answer is divided into reasoning and final answer: by a marker's words, or by position alone."""


@dataclass(frozen=True, slots=True)
class FewShot:
    """The data that the budget buys. An aligner sees no other data."""

    pairs: tuple[Pair, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    verifier: GoldAnswers | Verifier | None = None
    groups: Ratings = field(default_factory=dict)
    """The target groups, with those of their ratings that the budget bought."""
    auxiliary: Ratings = field(default_factory=dict)
    """Other groups and all their ratings on the questions that are not held out; counted apart from the labels."""
    spans: Spans = "marker"
    """How the final part of an answer is recognised. An aligner need not declare it: it is not a label."""

    @property
    def there(self) -> frozenset[Need]:
        """The fields that an aligner may need and that are not empty."""
        return frozenset(need for need in get_args(Need) if getattr(self, need))
