"""The log of a fit."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.contracts.progress import Progress, Silent
from harness.util.checked import Damaged
from harness.util.hashes import file_hash

EMPTY = hashlib.sha256(b"").hexdigest()


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

    def digest(self) -> str:
        """sha256 (hex) of what was written so far."""
        return file_hash(self.path) if self.path.exists() else EMPTY

    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def since(self, size: int) -> list[str]:
        """The lines that were written after `size` bytes."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(size)
            return file.read().decode().splitlines()

    def cut(self, size: int) -> None:
        """Forget what was written after `size` bytes: work that is about to be done again."""
        if self.size() > size:
            os.truncate(self.path, size)

    def check(self, size: int, digest: str) -> None:
        """Raise `Damaged` unless the first `size` bytes are those that had this digest."""
        begun = self.path.read_bytes()[:size] if self.path.exists() else b""
        if hashlib.sha256(begun).hexdigest() != digest:
            raise Damaged(f"{self.path.name} is not what was written")


@dataclass
class Unwritten(Journal):
    """The log of a process whose fit another one writes down."""

    def write(self, event: str, **figures: float | int | str | bool) -> None:
        """Nothing: the first process logs the same."""

    def digest(self) -> str:
        """That of an empty log."""
        return EMPTY

    def size(self) -> int:
        """None."""
        return 0

    def cut(self, size: int) -> None:
        """Nothing was written."""

    def check(self, size: int, digest: str) -> None:
        """The first process checks what it has written."""
