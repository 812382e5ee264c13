"""Pools of opinions by group: OpinionQA and GlobalOpinionQA. The rows are those of `tasks.datasets.opinions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness.contracts import Dataset, Pair, Pool, Prompt, Ratings, Source, Verifier
from harness.hookspecs import hookimpl
from tasks.datasets.opinions import GLOBAL_OPINIONS, OPINIONQA, Surveys, revision


class OpinionPool:
    """What the two pools share: a pool of another survey sets the four names only."""

    name: ClassVar[str]
    licence: ClassVar[str]
    dataset: ClassVar[Dataset]
    surveys: ClassVar[Surveys]

    def revision(self, source: Source) -> str:
        """Hash of every group's ratings."""
        return revision(self.groups(source))

    def groups(self, source: Source) -> Ratings:
        """Ratings by group, both in a fixed order. Raises HarnessError naming a malformed row."""
        return self.surveys.groups(source)

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """None."""
        return ()

    def questions(self, source: Source) -> Mapping[str, str]:
        """None: the draw holds questions out, so there is nothing for the leak gate to do."""
        return {}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """None."""
        return ()

    def verifier(self, source: Source) -> Verifier | None:
        """None."""
        return None


class OpinionQAPool(OpinionPool):
    """Pew's surveys by US demographic group (the health part of OpinionQA)."""

    name: ClassVar[str] = "opinionqa"
    licence: ClassVar[str] = "MIT"
    dataset: ClassVar[Dataset] = OPINIONQA.dataset
    surveys: ClassVar[Surveys] = OPINIONQA


class GlobalOpinionsPool(OpinionPool):
    """Cross-national surveys by country (GlobalOpinionQA), countries with at least 24 questions."""

    name: ClassVar[str] = "global_opinions"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    dataset: ClassVar[Dataset] = GLOBAL_OPINIONS.dataset
    surveys: ClassVar[Surveys] = GLOBAL_OPINIONS


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pools of this module."""
    return [OpinionQAPool, GlobalOpinionsPool]
