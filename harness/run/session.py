"""What several cells of one process share."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.contracts import Engine
from harness.contracts.progress import Progress, Silent
from harness.records.store import Store
from harness.run.plan import Models, Plan

if TYPE_CHECKING:
    from harness.plugins.registry import Registry


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept of cells beside their results, which do not depend on it."""

    show: int = 0
    """Items to which answers are written to be read, where the task scores none."""
    force: bool = False
    """Set aside what the cell left before, and compute it again."""
    texts: bool = True
    """Keep the texts of rows and labels; else hashes stand in for them."""


@dataclass
class Session:
    """What several cells of one process share: the registry, the store, and the open model."""

    registry: Registry
    store: Store
    progress: Progress = field(default_factory=Silent)
    keeping: Keeping = Keeping()
    forks: bool = False
    """Whether fits are forked from a process that has imported what they need, in place of a fresh interpreter."""
    starts_again: bool = False
    """Whether whoever asks for a cell starts it again where a signal ended its fit: no record is then written."""
    _open: tuple[str, Engine, float] | None = None

    def __post_init__(self) -> None:
        self.models = Models(self.registry, self.progress.note)

    def engine(self, plan: Plan) -> tuple[Engine, float]:
        """(the cell's model, opened by the cell's backend; seconds that it took); opened once."""
        machine, name = plan.machine, plan.config.backend
        key = f"{name}|{plan.files.folder}|{plan.files.contents}|{machine.device}|{machine.precision}"
        if self._open is None or self._open[0] != key:
            self.release()
            self.progress.stage("load the model")
            started = time.monotonic()
            backend = self.registry.backend(name)()
            engine = backend.open(plan.files, device=machine.device, precision=machine.precision)
            self._open = (key, engine, time.monotonic() - started)
        return self._open[1], self._open[2]

    def tell(self, event: str, run_id: str, facts: Mapping[str, Any]) -> None:
        """Call every observer; one that raises is reported and ignored."""
        for name, observer in self.registry.observers.items():
            try:
                getattr(observer, event)(run_id, facts)
            except Exception as error:  # a tracker must not take a run down
                self.progress.note(f"observer {name} failed when a run {event}: {type(error).__name__}: {error}")

    def release(self) -> None:
        """Give the model's memory to the child that fits; loading it again takes less than the fit."""
        if self._open is None:
            return
        self._open[1].close()
        self._open = None
        gc.collect()
        gc.freeze()  # what is left are libraries: the next collection need not look at them, which takes half a second
