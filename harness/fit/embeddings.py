"""What a bench remembers of embedded texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.contracts import Span
from harness.util.checked import read_checked, write_checked

if TYPE_CHECKING:
    from harness.contracts import FloatArray

Key = tuple[Any, ...]
"""Text, span, layer and pooling."""


class Embeddings:
    """Pooled hidden states of the base model, which never changes: each text is computed once for each setting."""

    def __init__(self) -> None:
        self._known: dict[Key, Any] = {}

    def embed(
        self,
        texts: Sequence[str],
        spans: Sequence[Span] | None,
        setting: tuple[int, str],
        compute: Callable[[Sequence[str], Sequence[Span] | None], FloatArray],
        *,
        width: int,
        remember: bool,
    ) -> FloatArray:
        """Vectors (N, width); only what is not known is computed, and kept where it may be remembered."""
        import numpy as np

        memory = self._known if remember else {}
        keys: list[Key] = [(text, None if spans is None else spans[i], *setting) for i, text in enumerate(texts)]
        new = list(dict.fromkeys(key for key in keys if key not in memory))
        if new:
            parts = None if spans is None else [key[1] for key in new if key[1] is not None]
            memory.update(zip(new, compute([key[0] for key in new], parts), strict=True))
        return np.stack([memory[key] for key in keys]) if keys else np.zeros((0, width), dtype=np.float32)

    def save(self, path: Path) -> None:
        """Write what is remembered, for a search that is interrupted later; nothing where there is nothing."""
        if self._known:
            content = BytesIO()
            torch.save([(key, torch.from_numpy(row)) for key, row in self._known.items()], content)
            write_checked(path, content.getvalue())

    def load(self, path: Path) -> None:
        """Remember what `save` wrote."""
        content = read_checked(path)
        if content is not None:
            known = torch.load(BytesIO(content), weights_only=True)
            self._known.update((key, row.numpy()) for key, row in known)
