"""Runners of models. Each backend is listed by a light class here; its engine is imported when it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harness.contracts import Backend, BackendCapability
from harness.hookspecs import hookimpl

if TYPE_CHECKING:
    from harness.backends.hf import HfBackend


class Hf:
    """Transformers, on CPU or CUDA: the reference that every other backend is compared with."""

    name: ClassVar[str] = "hf"
    capabilities: ClassVar[frozenset[BackendCapability]] = frozenset(
        {"generate", "score", "entropy", "logits", "embed"}
    )

    @staticmethod
    def load() -> type[HfBackend]:
        """The class that runs the model. Imports torch and transformers."""
        from harness.backends.hf import HfBackend

        return HfBackend


@hookimpl
def harness_backends() -> list[type[Backend]]:
    """The backends that ship with the harness."""
    return [Hf]
