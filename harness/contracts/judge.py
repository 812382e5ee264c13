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
    """P(a better) with the per-order values behind it; `status` is `ok` or says why there is no verdict."""

    p_a: float
    per_order: tuple[float, ...]
    raw: str
    tokens: int
    cost: float
    status: str = "ok"


@runtime_checkable
class Judge(Protocol):
    """Compares answers. One that measures closeness to the reference answer implements `ComparesWithReference`."""

    name: ClassVar[str]
    version: ClassVar[str]

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]: ...


@runtime_checkable
class ComparesWithReference(Protocol):
    """What a judge's class adds when the judge may measure closeness to the reference answer."""

    compares_with_reference: ClassVar[bool]
    """True: the reference would beat everything, so answers are judged against the base model's unless the user says
    otherwise."""


@dataclass(frozen=True, slots=True)
class JudgeTools:
    """What a judge may use beside the answers."""

    load: Callable[[str], LanguageModel]
    """An untouched base model by its harness name, hub id or folder; "" is the study's own."""
    cache: Path
    """A folder of the judge's own, kept between runs; it may not exist yet."""
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None


@runtime_checkable
class SaysWhatIsMissing(Protocol):
    """What a judge adds when it can tell without its tools that it cannot judge: no key, no package."""

    def ready(self) -> None:
        """Called before anything is fitted or generated. Raises HarnessError naming what is missing."""
        ...


@runtime_checkable
class TakesTools(Protocol):
    """What a judge adds when it needs a model, a cache or progress."""

    def with_tools(self, tools: JudgeTools) -> Judge:
        """This judge with its tools; called once, before it compares anything."""
        ...


@dataclass(frozen=True, slots=True)
class JudgeBasis:
    """What a judge's verdicts rest on beside its code, its name and its version: part of the id of what it judged."""

    models: tuple[str, ...] = ()
    """Names that it gives to `JudgeTools.load`; the study's own ("") needs no mention."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Anything else: an endpoint's address without secrets, the hash of a prompt or of a folder of weights."""


@runtime_checkable
class HasBasis(Protocol):
    """What a judge adds when its verdicts rest on more than its code: a model, an endpoint, a file."""

    def basis(self) -> JudgeBasis:
        """Asked of a judge without tools, before anything is judged; must cost little and ask no endpoint."""
        ...
