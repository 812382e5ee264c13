"""The events of a study, one JSON object for each line, for dashboards, logs and tests, without an extra package."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.util.files import storage

EVENTS = "events.jsonl"
Listener = Callable[[dict[str, Any]], None]


class Events:
    """Appends every event to a file, and passes it on."""

    def __init__(self, path: Path, listener: Listener | None = None) -> None:
        self._path = path
        self._listener = listener
        self._alone = threading.Lock()
        with storage(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            _end_line(path)

    def tell(self, event: str, **facts: Any) -> None:
        """Append an event with the time in seconds since the epoch."""
        value = {"time": round(time.time(), 3), "event": event, **facts}
        with self._alone, storage(self._path.parent), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
        if self._listener is not None:
            self._listener(value)


def _end_line(path: Path) -> None:
    """End a line that a killed process left half written, so that it does not take the next event with it."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def read_events(path: Path) -> list[dict[str, Any]]:
    """All events of a file, in order; lines that were cut off are left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
