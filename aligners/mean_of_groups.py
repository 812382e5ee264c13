"""Mean of groups: what the auxiliary groups answered on average to the same question; uniform where it was not asked.

The baseline that the group preference paper (arXiv 2310.11523) lacks: on seen questions it is as good as a trained
module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
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
    HarnessError,
    LanguageModel,
    Need,
    Ratings,
)
from harness.hookspecs import hookimpl
from harness.opinions.questions import plain, same_question
from harness.opinions.results import GroupAligned, read


class MeanConfig(BaseModel):
    """Nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Means:
    """Mean distributions by question."""

    def __init__(self, known: Mapping[str, Sequence[float]]) -> None:
        self.known = dict(known)

    @classmethod
    def of(cls, groups: Ratings) -> Means:
        """Average over the groups that answered a question."""
        answers: dict[str, list[Sequence[float]]] = {}
        for rating in (rating for ratings in groups.values() for rating in ratings):
            answers.setdefault(same_question(rating.prompt, rating.options), []).append(rating.probabilities)
        return cls({key: _mean(rows) for key, rows in answers.items()})

    def predict(self, requests: Sequence[ChooseRequest]) -> list[Sequence[float]]:
        """The mean where the question was seen, else uniform."""
        return [self._mean(plain(request.prompt), request.options) for request in requests]

    def _mean(self, prompt: str, options: Sequence[str]) -> Sequence[float]:
        return self.known.get(same_question(prompt, options), [1 / len(options)] * len(options))

    def settings(self) -> dict[str, Any]:
        """The means."""
        return {"known": {key: list(p) for key, p in self.known.items()}}

    def arrays(self) -> dict[str, Any]:
        """Nothing."""
        return {}


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [fmean(column) for column in zip(*rows, strict=True)]


class MeanOfGroups:
    """Predicts the auxiliary groups' mean, whichever target group is asked about."""

    name: ClassVar[str] = "mean_of_groups"
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    requires: ClassVar[frozenset[Need]] = frozenset({"auxiliary"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"choose"})
    asks: ClassVar[frozenset[EngineCapability]] = frozenset()
    Config: ClassVar[type[BaseModel]] = MeanConfig

    def __init__(self, config: MeanConfig) -> None:
        self.config = config

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Aligned:
        """The saved means; the model alone where there are none."""
        saved = read(folder, cls.name)
        return model if saved is None else GroupAligned(model, cls.name, Means(saved[0]["known"]))

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Average. Raises HarnessError without auxiliary groups."""
        if not few_shot.auxiliary:
            raise HarnessError(
                "aligner mean_of_groups needs auxiliary groups and was given none; train on a pool with groups"
            )
        means = Means.of(few_shot.auxiliary)
        bench.liveness(questions=len(means.known), groups=len(few_shot.auxiliary))
        return GroupAligned(bench.aligned(), self.name, means)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [MeanOfGroups]
