"""Judges: who compares two answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from harness.contracts.model import LanguageModel
from harness.contracts.values import Messages


@dataclass(frozen=True, slots=True)
class JudgeItem:
    """Two answers to one instruction, and a reference where there is one."""

    id: str
    prompt: Messages
    a: str
    b: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of two answers."""

    p_a: float
    """P(a better), in [0, 1]; 0.5 is a tie."""
    per_order: tuple[float, ...]
    """P(a is better) for each order in which the answers were shown; `p_a` follows from these values."""
    raw: str
    """What the judge wrote, for audits."""
    tokens: int
    """Tokens that the judge's model read and wrote."""
    cost: float
    """US dollars."""
    status: str = "ok"
    """`ok`, or why there is no verdict."""


@runtime_checkable
class Judge(Protocol):
    """Compares answers. A judge that measures closeness to the reference also implements `ComparesWithReference`."""

    name: ClassVar[str]
    version: ClassVar[str]

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """A verdict for each item, in order. An item that cannot be judged gets a `status` that says why."""
        ...


@runtime_checkable
class ComparesWithReference(Protocol):
    """Implemented by a judge's class if the judge may measure closeness to the reference answer."""

    compares_with_reference: ClassVar[bool]
    """True: the reference would beat everything, so answers are judged against the base model's unless the user says
    otherwise."""


@dataclass(frozen=True, slots=True)
class JudgeTools:
    """What a judge may use beside the answers."""

    load: Callable[[str], LanguageModel]
    """An untouched base model by its harness name, hub id or folder; "" is the study's own."""
    cache: Path
    """A folder for this judge alone, kept between runs. It may not exist yet."""
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    basis: Callable[[str], str | None] = lambda name: None
    """A hash of everything that decides what the model that `load` gives by this name says of a text. What a judge
    keeps of a model's figures it keeps under this; None: it must not keep them."""


@runtime_checkable
class SaysWhatIsMissing(Protocol):
    """Implemented by a judge that can tell in advance that it cannot judge, for lack of a key or a package."""

    def ready(self) -> None:
        """Called before anything is fitted or generated. Raises HarnessError naming what is missing."""
        ...


@runtime_checkable
class TakesTools(Protocol):
    """Implemented by a judge that needs a model, a cache or a progress display."""

    def with_tools(self, tools: JudgeTools) -> Judge:
        """This judge with its tools; called once, before it compares anything."""
        ...


@dataclass(frozen=True, slots=True)
class JudgeBasis:
    """What a judge's verdicts depend on beside its code, its name and its version. It enters the id of judged runs."""

    models: tuple[str, ...] = ()
    """Names that it gives to `JudgeTools.load`; the study's own ("") needs no mention."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Anything else: an endpoint's address without secrets, the hash of a prompt or of a folder of weights."""


@runtime_checkable
class HasBasis(Protocol):
    """Implemented by a judge whose verdicts depend on more than its code: a model, an endpoint, a file."""

    def basis(self) -> JudgeBasis:
        """What the verdicts depend on. Called without tools, before anything is judged; it must ask no endpoint."""
        ...
