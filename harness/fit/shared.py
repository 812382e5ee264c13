"""What the base model says of texts, computed once for all fits of a store (`harness.lm.kept`).

Shared are calls that ask the model with its adapter off. Under a cap nothing is taken or kept, since a call may have to
stop in its midst.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.contracts import BASE, Engine, Span, TokenScores
from harness.lm.kept import Arrays, KeptCalls
from harness.meter import Meter

if TYPE_CHECKING:
    from harness.contracts import FloatArray
    from harness.fit.adapters import Adapters
    from harness.lm.rows import Group


class BaseCalls:
    """What an engine is asked without gradient; what the base model answers is kept once `keep_in` says where."""

    def __init__(self, engine: Engine, adapters: Adapters, meter: Meter) -> None:
        self._engine, self._adapters, self._meter = engine, adapters, meter
        self._kept: KeptCalls | None = None

    @property
    def hits(self) -> int:
        """Calls that were not computed."""
        return 0 if self._kept is None else self._kept.hits

    def keep_in(self, folder: Path, basis: str) -> None:
        """Share calls through a folder with all fits of the same `basis`."""
        self._kept = KeptCalls(folder, basis)

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
        if self._kept is None or of != BASE or self._meter.cap_flops is not None:
            return compute()
        return self._kept.get(asked, compute, self._meter)


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
