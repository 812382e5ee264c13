"""What runs cells and watches them: backends, executors, observers, built-in models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

BackendCapability = Literal["generate", "score", "entropy", "logits", "embed"]


class Backend(Protocol):
    """Runs a model: says which of generate, score, entropy, logits and embed it can do."""

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[BackendCapability]]


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


class Executor(Protocol):
    """Runs independent jobs somewhere: here, on Ray, on Slurm."""

    name: ClassVar[str]

    def map(self, job: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]: ...
