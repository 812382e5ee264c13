"""Aligners, and the bench that they work on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from harness.contracts.judge import JudgeItem, Verdict
from harness.contracts.model import Aligned, Capability, LanguageModel, TokenScores
from harness.contracts.regime import Regime
from harness.contracts.values import BASE, POLICY, Completion, FewShot, Messages, Need, Pair, Span

if TYPE_CHECKING:
    from pydantic import BaseModel

    from harness.contracts.values import FloatArray


ConfigT = TypeVar("ConfigT")


class Bench(Protocol):
    """All that an aligner may use. Every use is metered against the budget.

    Adapters go by name: `contracts.POLICY` is the live one, `contracts.BASE` the model with adapters off, others are
    made by `fork`. Completions are given either as text (encoded with a closing end-of-turn token) or as `Completion`
    (its own ids are used: a truncated one has no end-of-turn token).
    """

    @property
    def policy(self) -> Any:
        """The PEFT model with the live adapter."""
        ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def seed(self) -> int: ...

    @property
    def workdir(self) -> Path:
        """A folder that survives a crash and is deleted when the fit is done."""
        ...

    @property
    def regime(self) -> Regime: ...

    def log(self, event: str, **figures: float | int | str | bool) -> None:
        """Append one line to the run's log and show it as progress."""
        ...

    def liveness(self, *, degenerate: str | None = None, **figures: float) -> None:
        """Figures that show the method did its work; `degenerate` says why the run is below its floor."""
        ...

    def render(self, prompt: Messages) -> list[int]:
        """Token ids of a prompt under the study's chat template, ready for the assistant's turn; clipped to length."""
        ...

    def encode(self, completion: str | Completion) -> list[int]:
        """Token ids of an answer, closed by the end-of-turn token unless truncated; clipped to length."""
        ...

    def arguments(self, config_class: type[ConfigT], **method: Any) -> ConfigT:
        """A transformers/TRL training-arguments object with the shared settings filled in.

        Raises HarnessError when `method` sets something that all aligners share (batch, length, precision, seed).
        """
        ...

    def split(self, pairs: Sequence[Pair]) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
        """(training, held-out) pairs under the regime's selection: nothing is held out but under `holdout25`."""
        ...

    def train(self, trainer: Any, *, held_out: Sequence[Pair] = ()) -> None:
        """Run `trainer.train()`: metered, checkpointed, resumed, shown; undoes what the trainer patched on the model.

        With `held_out` pairs the policy is scored on them along the way and the best one is restored at the end.
        A call that an earlier, interrupted process finished is not run again: its adapter is loaded.
        Raises BudgetExceeded at the track's cap.
        """
        ...

    def store(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint of a training loop of the aligner's own; it replaces the one before.

        `state` holds tensors and plain values. What was counted, tallied and logged so far is stored with it; `train`
        does all this by itself.
        """
        ...

    def stored(self) -> Mapping[str, Any] | None:
        """The `state` of the last `store` of an interrupted fit, None where there is none.

        What was spent since then is no longer counted, and what was logged since is forgotten.
        """
        ...

    def tally(self, **figures: float) -> Mapping[str, float]:
        """Add to running sums that survive a resume (unlike attributes of a trainer); returns all sums."""
        ...

    def fork(self, name: str, of: str = POLICY) -> None:
        """Copy an adapter under a new name, frozen."""
        ...

    def drop(self, name: str) -> None:
        """Delete an adapter made by `fork`."""
        ...

    def using(self, adapter: str) -> AbstractContextManager[None]:
        """Make `adapter` the active one inside a `with` block."""
        ...

    def generate(
        self,
        prompts: Sequence[Messages],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int | None = None,
        stop: Sequence[str] = (),
        seed: int = 0,
        of: str = POLICY,
    ) -> list[list[Completion]]:
        """`n` samples per prompt; temperature 0 is greedy; `max_new_tokens` None is the regime's."""
        ...

    def score(
        self,
        prompts: Sequence[Messages],
        completions: Sequence[Sequence[str | Completion]],
        *,
        of: str = POLICY,
        entropy: bool = False,
    ) -> list[list[TokenScores]]:
        """Log-probability of every completion token given its prompt, without gradient."""
        ...

    def logits(
        self,
        prompts: Sequence[Messages],
        completions: Sequence[str | Completion],
        *,
        of: str = POLICY,
        chunk: int = 256,
    ) -> Iterator[FloatArray]:
        """Full-vocabulary log-probabilities at the completion positions, in blocks of `chunk` rows, in order."""
        ...

    def embed(
        self,
        texts: Sequence[str],
        *,
        of: str = BASE,
        layer: int = -1,
        pool: Literal["mean", "last"] = "mean",
        spans: Sequence[Span] | None = None,
    ) -> FloatArray:
        """Hidden states pooled over each text's tokens, shape (N, D); a text is computed once for each setting.

        With `spans`, one range of characters per text, only the tokens that touch it are pooled.
        """
        ...

    def judge(self, name: str, items: Sequence[JudgeItem]) -> list[Verdict]:
        """A registered judge's verdicts. What its model computes counts; calls, tokens and cost are tallied.

        Raises HarnessError for an unknown judge, with the nearest name. An aligner that asks one also implements
        `AsksJudge`.
        """
        ...

    def keep(self, score: float, name: str = POLICY) -> bool:
        """Remember the adapter as the best so far if `score` is the highest; it survives BudgetExceeded."""
        ...

    def restore_best(self) -> bool:
        """Load the kept adapter into the policy; False when nothing was kept."""
        ...

    def spend(self, flops: float) -> None:
        """Count work done outside the language model."""
        ...

    def aligned(self, demonstrations: Sequence[Pair] = ()) -> LanguageModel:
        """The live policy as the result of the fit, behind optional in-context demonstrations."""
        ...


class Aligner(Protocol):
    """A method. One file each; constructed with its validated config; holds no other state.

    It is given what it requires and accepts of the few-shot data, and nothing else. A method whose result is more than
    the adapted language model also implements `Loads`; a method that goes by other names, `HasAliases`; a method whose
    result can do less than a language model, `DeclaresCapabilities`.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    """arXiv id or URL; empty for controls."""
    version: ClassVar[str]
    """Raise it when a change alters results: it is part of a run's identity."""
    requires: ClassVar[frozenset[Need]]
    """All of these must be there, or the cell is refused before anything runs."""
    accepts: ClassVar[frozenset[Need]]
    """Any of these may be there, and is given where it is; a method that requires nothing must find at least one."""
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
class HasAliases(Protocol):
    """What an aligner's class adds that goes by other names too."""

    aliases: ClassVar[tuple[str, ...]]


@runtime_checkable
class DeclaresCapabilities(Protocol):
    """What an aligner's class adds whose result cannot do all that a language model can."""

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
    """What an aligner adds whose result is not the adapted model itself: called where the cap stopped `fit`."""

    def finish(self, bench: Bench) -> Aligned:
        """The result with the adapter as it stands: the best that was kept, else the last."""
        ...


@runtime_checkable
class AsksJudge(Protocol):
    """What an aligner adds that may ask a registered judge while it fits: the judge's version is part of the fit."""

    @property
    def asked_judge(self) -> str | None:
        """The judge's name under this aligner's settings, or None."""
        ...
