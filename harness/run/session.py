"""What several cells of one process share."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.contracts.progress import Progress, Silent
from harness.records.store import Store
from harness.run.plan import Models, Plan

if TYPE_CHECKING:
    from harness.plugins.registry import Registry


@dataclass
class Session:
    """What several cells of one process share: the registry, the store, and the loaded model."""

    registry: Registry
    store: Store
    progress: Progress = field(default_factory=Silent)
    _loaded: tuple[str, Any, Any, float] | None = None

    def __post_init__(self) -> None:
        self.models = Models(self.registry, self.progress.note)

    def model(self, plan: Plan) -> tuple[Any, Any, float]:
        """(model, tokenizer, seconds to load); loaded once."""
        from harness.models.load import load

        machine = plan.machine
        key = f"{plan.files.folder}|{plan.files.contents}|{machine.device}|{machine.precision}"
        if self._loaded is None or self._loaded[0] != key:
            self.progress.stage("load the model")
            started = time.monotonic()
            model, tokenizer = load(plan.files, device=machine.device, precision=machine.precision)
            self._loaded = (key, model, tokenizer, time.monotonic() - started)
        return self._loaded[1], self._loaded[2], self._loaded[3]

    def tell(self, event: str, run_id: str, facts: Mapping[str, Any]) -> None:
        """Call every observer; one that raises is reported and ignored."""
        for name, observer in self.registry.observers.items():
            try:
                getattr(observer, event)(run_id, facts)
            except Exception as error:  # a tracker must not take a run down
                self.progress.note(f"observer {name} failed when a run {event}: {type(error).__name__}: {error}")

    def release(self) -> None:
        """Give the model's memory to the child that fits; loading it again takes less than the fit."""
        self._loaded = None
        gc.collect()
