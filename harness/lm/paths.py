"""Fast paths, on or off: prompts computed once, attention read part by part, LoRA fused into its layer.

They are exact, and how fast they are depends on the device and the model: on a CPU they win, on a GPU plain rows may.
Off means plain padded rows through transformers, TRL and PEFT. `doctor --measure` times both and keeps what it finds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError
from harness.util.files import read_json, write_json

_FAST: ContextVar[bool] = ContextVar("fast", default=True)
MEASURED = "fast_paths.json"
"""What was measured, in the cache folder: by device and kind of model."""


def fast() -> bool:
    """Whether fast paths may be taken here."""
    return _FAST.get()


@contextmanager
def paths(on: bool) -> Iterator[None]:
    """Take fast paths, or none, inside a `with` block."""
    token = _FAST.set(on)
    try:
        yield
    finally:
        _FAST.reset(token)


def chosen(asked: str, device: str, kind: str, model: Path, cache: Path) -> bool:
    """Whether `auto`, `on` or `off` comes to fast paths for a model on a device called `kind`.

    `auto` is what `doctor --measure` measured there, and without a measurement on for a CPU and off for a GPU.
    """
    if asked != "auto":
        return asked == "on"
    found = measured(cache).get(kind_of(kind, model))
    return device == "cpu" if found is None else bool(found["fast_ms"] <= found["plain_ms"])


def measured(cache: Path) -> Mapping[str, Mapping[str, Any]]:
    """All measurements that were kept. Raises HarnessError for a file that is none of ours."""
    found = read_json(cache / MEASURED) or {}
    rows = list(found.values()) if isinstance(found, dict) else [None]
    if not all(isinstance(row, dict) and {"fast_ms", "plain_ms"} <= row.keys() for row in rows):
        raise HarnessError(f"{cache / MEASURED} holds no measurements of fast paths; delete it and measure again")
    return dict(found)


def keep(cache: Path, kind: str, model: Path, figures: Mapping[str, Any]) -> str:
    """Remember a measurement; the key it is kept under."""
    key = kind_of(kind, model)
    cache.mkdir(parents=True, exist_ok=True)
    write_json(cache / MEASURED, {**measured(cache), key: dict(figures)})
    return key


def kind_of(device: str, model: Path) -> str:
    """A device and a kind of model, as its configuration names it."""
    config = json.loads((model / "config.json").read_bytes())
    return f"{device}, {config.get('model_type', 'unknown')}"
