"""The log of a fit."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.contracts.progress import Progress, Silent


@dataclass
class Journal:
    """The log of a run: one JSON object a line, and the same figures to whoever watches."""

    path: Path
    progress: Progress = field(default_factory=Silent)
    listener: Callable[[dict[str, Any]], None] = lambda entry: None

    def write(self, event: str, **figures: float | int | str | bool) -> None:
        """Append one event and pass it on."""
        entry = {"time": round(time.time(), 3), "event": event, **figures}
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        self.listener(entry)

    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Forget what was written after `size` bytes: work that is about to be done again."""
        if self.size() > size:
            os.truncate(self.path, size)
