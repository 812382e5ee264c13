"""Figures of the base model that are computed once for all runs of a store.

Kept are whole calls, and nothing else: rows of a call are laid out together, so that a part of it could differ in its
last bit. A call is kept under the hash of `basis`, which holds everything that can change the model's figures, and of
all that it was asked. What the call cost is kept beside it and is counted again wherever the figures are taken from
here: what a run spends does not depend on which run came first. Files are written whole, and checked where they are
read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from harness.meter import Meter
from harness.util.checked import Damaged, read_checked, write_checked
from harness.util.hashes import content_hash

Arrays = dict[str, Any]
"""numpy arrays by name."""
COST = "cost"
_COUNTED = ("forward_tokens", "flops")
"""What a call without gradient counts."""


class KeptCalls:
    """Calls to the base model in a folder that all runs with the same `basis` share."""

    def __init__(self, folder: Path, basis: str) -> None:
        self._folder, self._basis = folder, basis
        self.hits = 0

    def get(self, asked: Sequence[Any], compute: Callable[[], Arrays], meter: Meter) -> Arrays:
        """What `compute` gives for what was asked, from the folder where it is known."""
        path = self._folder / f"{content_hash([self._basis, list(asked)])}.npz"
        known = _read(path)
        if known is not None:
            self.hits += 1
            meter.add(**dict(zip(_COUNTED, known.pop(COST).tolist(), strict=True)))
            return known
        before = asdict(meter.spend)
        arrays = compute()
        after = asdict(meter.spend)
        cost = np.array([after[name] - before[name] for name in _COUNTED], dtype=np.float64)
        _write(path, {**arrays, COST: cost})
        return arrays


def _read(path: Path) -> Arrays | None:
    """What is kept; None for nothing, and for a file that is not what was written, which is then made again."""
    try:
        content = read_checked(path)
    except Damaged:
        return None
    if content is None:
        return None
    with np.load(BytesIO(content), allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _write(path: Path, arrays: Arrays) -> None:
    content = BytesIO()
    np.savez(content, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_checked(path, content.getvalue())
