"""Aligners: what a method implements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from harness.contracts.bench import Bench
from harness.contracts.model import Aligned, Capability, LanguageModel
from harness.contracts.regime import Regime
from harness.contracts.running import EngineCapability
from harness.contracts.values import FewShot, Need

if TYPE_CHECKING:
    from pydantic import BaseModel


class Aligner(Protocol):
    """A method. One file each; constructed with its validated config; holds no other state.

    It is given what it requires and accepts of the few-shot data, and nothing else. A method whose result is more than
    the adapted language model also implements `Loads`; a method that goes by other names, `HasAliases`; a method whose
    result can do less than a language model, `DeclaresCapabilities`; a method whose result asks other things of the
    engine, `AsksEngine`.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    """arXiv id or URL; empty for controls."""
    version: ClassVar[str]
    """Raise it when a change alters results: it is part of a run's identity."""
    requires: ClassVar[frozenset[Need]]
    """All of these must be there, or the cell is refused before anything runs."""
    accepts: ClassVar[frozenset[Need]]
    """Each of these is given where the pool has it; a method that requires nothing needs at least one of them."""
    Config: ClassVar[type[BaseModel]]
    """Frozen pydantic model. Every field carries `description` (with its source) and, in `json_schema_extra`, a
    `probe`: a second valid value that must change the result."""

    @property
    def config(self) -> BaseModel: ...

    def __init__(self, config: Any) -> None: ...

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on `few_shot` through `bench`."""
        ...


@runtime_checkable
class AsksEngine(Protocol):
    """What an aligner's class adds when the result is no adapter, or asks more of the engine than an adapter does."""

    asks: ClassVar[frozenset[EngineCapability]]
    """What the result needs of the engine, beside what a task asks for; a class that does not say needs `adapters`."""


@runtime_checkable
class HasAliases(Protocol):
    """What an aligner's class adds when the aligner has other names too."""

    aliases: ClassVar[tuple[str, ...]]


@runtime_checkable
class DeclaresCapabilities(Protocol):
    """What an aligner's class adds when the result cannot do all that a language model can."""

    capabilities: ClassVar[frozenset[Capability]]
    """What the result can do at most."""


@runtime_checkable
class Loads(Protocol):
    """What an aligner adds when tasks must not ask the adapted language model directly (a re-ranker, a module)."""

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Aligned:
        """The result of a fit from what its `save` wrote, around the model with the fit's adapter."""
        ...


@runtime_checkable
class Finishes(Protocol):
    """What an aligner adds when its result is not the adapted model itself: called where the cap stopped `fit`."""

    def finish(self, bench: Bench) -> Aligned:
        """The result with the adapter as it stands: the best that was kept, else the last."""
        ...


@runtime_checkable
class SaysAhead(Protocol):
    """What an aligner adds when a user should read something before anything is fitted: a choice, or a cost."""

    def ahead(self, regime: Regime, few_shot: FewShot) -> tuple[str, ...]:
        """Lines to be shown with the plan; called where the method's settings and all its data are known."""
        ...


@runtime_checkable
class AsksJudge(Protocol):
    """What an aligner adds when it may ask a registered judge while it fits; the judge's version is part of the fit."""

    @property
    def asked_judge(self) -> str | None:
        """The judge's name under this aligner's settings, or None."""
        ...
