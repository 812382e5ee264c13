"""How long work tells the outside world how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """Given to the engine by whoever wants to watch; the engine never prints.

    A run is a sequence of stages. An implementation must not raise: watching never fails a run.
    """

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins, `total` units long (None: length unknown); the one before it has ended."""
        ...

    def advance(self, done: int, total: int | None = None, **figures: float | int | str | bool) -> None:
        """`done` units of the current stage are behind us; `total` corrects its length; `figures` are worth showing."""
        ...

    def note(self, line: str) -> None:
        """One sentence that the user should read: what was substituted, dropped, or resumed."""
        ...


@runtime_checkable
class MayStop(Protocol):
    """What a Progress adds when whoever watches can ask for an end: a fit then saves where it is, and leaves."""

    stop_asked: bool


@runtime_checkable
class SavesMidStep(Protocol):
    """What a Progress adds when an end can be asked for in the middle of a step that takes long."""

    def may_save(self, save: Callable[[], None]) -> None:
        """From now on `save`, called in another thread, writes a checkpoint of what the last step left."""
        ...

    def must_not_save(self) -> None:
        """No longer: waits for one that is being written."""
        ...


class Silent:
    """Watches nothing."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignored."""

    def advance(self, done: int, total: int | None = None, **figures: float | int | str | bool) -> None:
        """Ignored."""

    def note(self, line: str) -> None:
        """Ignored."""
