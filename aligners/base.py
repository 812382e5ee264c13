"""The base model as it is: the control that every paired test is made against."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from harness.contracts import Aligned, Aligner, Bench, EngineCapability, FewShot, Need
from harness.hookspecs import hookimpl


class BaseConfig(BaseModel):
    """Nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Base:
    """Trains nothing and uses no label."""

    name: ClassVar[str] = "base"
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    requires: ClassVar[frozenset[Need]] = frozenset()
    accepts: ClassVar[frozenset[Need]] = frozenset()
    asks: ClassVar[frozenset[EngineCapability]] = frozenset()
    Config: ClassVar[type[BaseModel]] = BaseConfig

    def __init__(self, config: BaseConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """The model with a fresh adapter, which changes nothing."""
        return bench.aligned()


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Base]
