"""Aligners: what a method implements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from harness.contracts.bench import Bench
from harness.contracts.model import Aligned, Capability, LanguageModel
from harness.contracts.regime import Regime
from harness.contracts.running import EngineCapability
from harness.contracts.values import FewShot, Need

if TYPE_CHECKING:
    from pydantic import BaseModel


class Aligner(Protocol):
    """A method that fits a model to labels. It is constructed with its validated config and holds no other state.

    Of the few-shot data it receives what it requires and what it accepts, and nothing else. Further protocols are
    implemented only where they apply: `ChosenBy` if held-out pairs choose among its states by another figure than the
    margin, `DividesBatches` if several processes can make one fit, `Loads` if the result is more than the adapted
    language model, `HasAliases` if the method has other names, `DeclaresCapabilities` if the result can do less than a
    language model, and `AsksEngine` if the result asks other things of the engine.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    """arXiv id or URL; empty for controls."""
    version: ClassVar[str]
    """Part of a run's identity. Raise it when a change alters results."""
    requires: ClassVar[frozenset[Need]]
    """Data without which the method cannot work. If the pool lacks any of them, the cell is refused before it runs."""
    accepts: ClassVar[frozenset[Need]]
    """Data that the method uses if the pool has them. A method that requires nothing needs at least one of them."""
    Config: ClassVar[type[BaseModel]]
    """Frozen pydantic model. Every field carries `description` (with its source) and, in `json_schema_extra`, a
    `probe`: a second valid value that must change the result."""

    @property
    def config(self) -> BaseModel: ...

    def __init__(self, config: Any) -> None: ...

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on `few_shot` through `bench`, and return what answers for the fitted model.

        Raises HarnessError if the data do not suffice. Let BudgetExceeded pass: it ends the fit at the track's cap.
        """
        ...


@runtime_checkable
class AsksEngine(Protocol):
    """Added by an aligner's class if the result is not an adapter, or asks more of the engine than an adapter does."""

    asks: ClassVar[frozenset[EngineCapability]]
    """What the result needs of the engine, in addition to what a task needs. Without this protocol: `adapters`."""


@runtime_checkable
class HasAliases(Protocol):
    """Added by an aligner's class if the aligner has other names too."""

    aliases: ClassVar[tuple[str, ...]]
    """Names that `--aligner` takes beside `name`."""


@runtime_checkable
class DeclaresCapabilities(Protocol):
    """Added by an aligner's class if the result cannot do everything that a language model can do."""

    capabilities: ClassVar[frozenset[Capability]]
    """The most that the result can do."""


HeldOutFigure = Literal["margin", "likelihood"]
"""By what held-out pairs compare the states of a fit, or the trials of a search.

`margin` is the mean log sigmoid of the log-ratio margin to the base model, in nats. `likelihood` is the mean
log-probability of a token of the chosen answers, in nats.
"""


@runtime_checkable
class ChosenBy(Protocol):
    """Added by an aligner's class if held-out pairs choose among its states by another figure than `margin`.

    A method that raises the likelihood of the chosen answers states `likelihood`. While it learns their form, rejected
    answers of the same form become likelier too, so the margin can fall and would choose the state that learnt least.
    """

    chosen_by: ClassVar[HeldOutFigure]


@runtime_checkable
class DividesBatches(Protocol):
    """Added by an aligner's class if several processes can make one fit of it, each on its rows of every batch.

    So it is where all training is done by `Bench.trainers`, and a trainer's loss is a mean over the rows of a batch, or
    over its tokens by `trainers.sft`: then the mean of the processes' gradients is the gradient of one process.
    """

    divides_batches: ClassVar[bool]


@runtime_checkable
class Loads(Protocol):
    """Added by an aligner whose result stands between tasks and the adapted language model (a re-ranker, a module)."""

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Aligned:
        """Rebuild the result of a fit from the files that its `save` wrote; `model` has the fit's adapter."""
        ...


@runtime_checkable
class Finishes(Protocol):
    """Added by an aligner whose result is not the adapted model itself, for fits that the compute cap stops."""

    def finish(self, bench: Bench) -> Aligned:
        """The result, made of the adapter that the fit has: the best that was kept, or else the last.

        Called in place of the rest of `fit`.
        """
        ...


@runtime_checkable
class SaysAhead(Protocol):
    """Added by an aligner that has something to say before anything is fitted: a choice that it made, or a cost."""

    def ahead(self, regime: Regime, few_shot: FewShot) -> tuple[str, ...]:
        """Lines that are shown with the plan. Called once the method's settings and all its data are known."""
        ...


@runtime_checkable
class AsksJudge(Protocol):
    """Added by an aligner that may ask a registered judge while it fits. The judge's version is then part of the id."""

    @property
    def asked_judge(self) -> str | None:
        """The judge's name under this aligner's settings, or None."""
        ...
