"""Uniform: every option of a question is equally likely, whoever is asked. The floor of every table about groups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from harness.contracts import (
    Aligned,
    Aligner,
    Bench,
    Capability,
    ChooseRequest,
    EngineCapability,
    FewShot,
    LanguageModel,
    Need,
)
from harness.hookspecs import hookimpl
from harness.opinions.groups import require_groups
from harness.opinions.results import GroupAligned


class UniformConfig(BaseModel):
    """Nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Flat:
    """p = 1/k."""

    def predict(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """The same share for each option."""
        return [[1 / len(request.options)] * len(request.options) for request in requests]

    def settings(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def arrays(self) -> dict[str, Any]:
        """Nothing."""
        return {}


class Uniform:
    """Predicts the same probability for every option; a control."""

    name: ClassVar[str] = "uniform"
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    requires: ClassVar[frozenset[Need]] = frozenset({"groups"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"choose"})
    asks: ClassVar[frozenset[EngineCapability]] = frozenset()
    Config: ClassVar[type[BaseModel]] = UniformConfig

    def __init__(self, config: UniformConfig) -> None:
        self.config = config

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Aligned:
        """There is nothing to load."""
        return GroupAligned(model, cls.name, Flat())

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Raises HarnessError without groups: it cannot stand beside methods that learn from pairs."""
        require_groups(self.name, few_shot)
        return GroupAligned(bench.aligned(), self.name, Flat())


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Uniform]
