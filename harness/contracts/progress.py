"""How running work reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """Receives the progress of a run. Whoever starts the run passes it to the engine; the engine itself never prints.

    A run is a sequence of stages. An implementation must not raise: watching never fails a run.
    """

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins, `total` units long (None: length unknown); the one before it has ended."""
        ...

    def advance(self, done: int, total: int | None = None, **figures: float | int | str | bool) -> None:
        """`done` units of the stage are finished; `total` corrects the stage's length; `figures` may be shown."""
        ...

    def note(self, line: str) -> None:
        """One sentence that the user should read: what was substituted, dropped, or resumed."""
        ...


@runtime_checkable
class MayStop(Protocol):
    """Implemented by a Progress through which the user can ask for an end. A fit then stores a checkpoint and stops."""

    stop_asked: bool


@runtime_checkable
class SavesMidStep(Protocol):
    """Implemented by a Progress that can store a checkpoint in the middle of a long step."""

    def may_save(self, save: Callable[[], None]) -> None:
        """From now on another thread may call `save`, which writes a checkpoint of the state after the last step."""
        ...

    def must_not_save(self) -> None:
        """From now on `save` may not be called. Waits for a checkpoint that is being written."""
        ...


class Silent:
    """A Progress that ignores everything."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignored."""

    def advance(self, done: int, total: int | None = None, **figures: float | int | str | bool) -> None:
        """Ignored."""

    def note(self, line: str) -> None:
        """Ignored."""
