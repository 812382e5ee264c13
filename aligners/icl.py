"""In-context learning: the labelled answers as demonstrations before every prompt; nothing is trained.

Brown et al. 2020, arXiv 2005.14165.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import Aligned, Aligner, Bench, FewShot, Need
from harness.hookspecs import hookimpl
from harness.recipes import require_pairs


class IclConfig(BaseModel):
    """Hyper-parameters of in-context learning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shots: int = Field(
        8,
        ge=1,
        description="demonstrations at most, the first of the draw (ours; all pairs where fewer)",
        json_schema_extra={"probe": 1},
    )


class Icl:
    """Shows the chosen answers of the few-shot pairs as earlier turns."""

    name: ClassVar[str] = "icl"
    paper: ClassVar[str] = "2005.14165"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    Config: ClassVar[type[BaseModel]] = IclConfig

    def __init__(self, config: IclConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """The base model behind demonstrations."""
        require_pairs(self.name, few_shot.pairs)
        shown = few_shot.pairs[: self.config.shots]
        bench.liveness(demonstrations=len(shown))
        return bench.aligned(shown)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Icl]
