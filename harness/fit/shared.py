"""What the base model says of texts, computed once for all fits of a store.

Kept are whole calls that ask the model with its adapter off, and nothing else: rows of a call are laid out together, so
that a part of it could differ in its last bit. A call is kept under the hash of `basis`, which holds everything that
can change the model's figures, and of all its tokens. What the call cost is kept beside it and is counted again
wherever the figures are taken from here: what a method spends does not depend on which cell came first. Under a cap
nothing is taken or kept, since a call may have to stop in its midst. Files are written whole, and checked where they
are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.contracts import BASE, Engine, Span, TokenScores
from harness.meter import Meter
from harness.util.checked import Damaged, read_checked, write_checked
from harness.util.hashes import content_hash

if TYPE_CHECKING:
    from harness.contracts import FloatArray
    from harness.fit.adapters import Adapters
    from harness.lm.rows import Group

Arrays = dict[str, Any]
"""numpy arrays by name."""
COST = "cost"


class BaseCalls:
    """What an engine is asked without gradient; what the base model answers is kept once `keep_in` says where."""

    def __init__(self, engine: Engine, adapters: Adapters, meter: Meter) -> None:
        self._engine, self._adapters, self._meter = engine, adapters, meter
        self._folder: Path | None = None
        self._basis = ""
        self.hits = 0

    def keep_in(self, folder: Path, basis: str) -> None:
        """Share calls through a folder with all fits of the same `basis`."""
        self._folder, self._basis = folder, basis

    def score(self, groups: Sequence[Group], *, of: str, entropy: bool) -> list[list[TokenScores]]:
        """Token figures of the groups' completions under the adapter `of`."""
        asked = [[list(group.prompt), [list(one) for one in group.completions]] for group in groups]
        found: list[list[list[TokenScores]]] = []

        def computed() -> Arrays:
            with self._adapters.quiet(of):
                found.append(self._engine.score(groups, entropy=entropy))
            flat = [one for group in found[0] for one in group]
            arrays = {"logprobs": _joined([one.logprobs for one in flat])}
            return arrays | ({"entropies": _joined([one.entropies for one in flat])} if entropy else {})

        arrays = self._call(of, ["score", entropy, asked], computed)
        return found[0] if found else _unpacked(arrays, groups)

    def embed(
        self,
        texts: Sequence[str],
        *,
        of: str,
        layer: int,
        pool: Literal["mean", "last"],
        spans: Sequence[Span] | None,
    ) -> FloatArray:
        """Pooled hidden states (N, D) of texts under the adapter `of`."""

        def computed() -> Arrays:
            with self._adapters.quiet(of):
                return {"vectors": self._engine.embed(texts, layer=layer, pool=pool, spans=spans)}

        asked = ["embed", list(texts), None if spans is None else [list(span) for span in spans], layer, pool]
        vectors: FloatArray = self._call(of, asked, computed)["vectors"]
        return vectors

    def _call(self, of: str, asked: Sequence[Any], compute: Callable[[], Arrays]) -> Arrays:
        if self._folder is None or of != BASE or self._meter.cap_flops is not None:
            return compute()
        path = self._folder / f"{content_hash([self._basis, list(asked)])}.npz"
        known = _read(path)
        if known is not None:
            self.hits += 1
            self._meter.add(**dict(zip(_COUNTED, known.pop(COST).tolist(), strict=True)))
            return known
        before = asdict(self._meter.spend)
        arrays = compute()
        after = asdict(self._meter.spend)
        cost = np.array([after[name] - before[name] for name in _COUNTED], dtype=np.float64)
        _write(path, {**arrays, COST: cost})
        return arrays


_COUNTED = ("forward_tokens", "flops")
"""What a call without gradient counts."""


def _joined(parts: Sequence[Any]) -> FloatArray:
    return np.concatenate([np.asarray(part) for part in parts]) if parts else np.zeros(0, dtype=np.float32)


def _unpacked(arrays: Arrays, groups: Sequence[Group]) -> list[list[TokenScores]]:
    ends = np.cumsum([len(one) for group in groups for one in group.completions])[:-1]
    logprobs = iter(np.split(arrays["logprobs"], ends))
    entropies = iter(np.split(arrays["entropies"], ends)) if "entropies" in arrays else None
    return [
        [TokenScores(next(logprobs), None if entropies is None else next(entropies)) for _ in group.completions]
        for group in groups
    ]


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
