"""In-context opinions: the frozen model reads how the group answered a few questions, as text, and is asked the next.

The few-shot prompt of the group preference paper (arXiv 2310.11523); its prediction is the normalised probability of
the options' labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import (
    Aligned,
    Aligner,
    Bench,
    Capability,
    ChooseRequest,
    EngineCapability,
    FewShot,
    LanguageModel,
    Messages,
    Need,
    Rating,
    Ratings,
    user,
)
from harness.hookspecs import hookimpl
from harness.opinions.groups import Reading, read_ratings, require_groups
from harness.opinions.questions import LABELS, bare, known_group, plain
from harness.opinions.results import GroupAligned, read


class IclGroupsConfig(BaseModel):
    """Hyper-parameters of the prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shots: int = Field(
        8,
        ge=0,
        description="rated questions shown at most, the first of the draw; fewer where the prompt is full (ours)",
        json_schema_extra={"probe": 1},
    )
    context: Reading = Field(
        "own",
        description="whose ratings are shown: the group's own, or as a control the next group's (ours)",
        json_schema_extra={"probe": "swapped"},
    )


def shown_rating(rating: Rating) -> str:
    """One question with the group's answers, in whole per cent."""
    answers = ", ".join(f"{a} {p:.0%}" for a, p in zip(LABELS, rating.probabilities, strict=False))
    return f"{asked(rating.prompt, rating.options)}\nAnswers of this group: {answers.replace('%', ' %')}"


def asked(prompt: str, options: Sequence[str]) -> str:
    """A question and its options."""
    listed = "\n".join(f"{label}. {option}" for label, option in zip(LABELS, options, strict=False))
    return f"Question: {bare(prompt, options)}\nOptions:\n{listed}"


def prompt_of(shown: Sequence[Rating], request: ChooseRequest) -> Messages:
    """The whole prompt: the group's rated questions, then the one that is asked."""
    head = "This is how a group of people answered.\n\n" if shown else ""
    rows = [shown_rating(r) for r in shown]
    target = (
        f"{asked(plain(request.prompt), request.options)}\nWhat does this group answer most often? Give the letter."
    )
    return user(head + "\n\n".join([*rows, target]))


@dataclass(frozen=True)
class InContext:
    """The frozen model and each group's rated questions."""

    model: LanguageModel
    contexts: Ratings

    def predict(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """The labels' probabilities as the next turn, normalised. Asked together: prompts of a group share much."""
        wide = [
            ChooseRequest(self._prompt(one), tuple(LABELS[: len(one.options)]), one.options, one.group)
            for one in requests
        ]
        with self.model.adapter_off():
            return [[math.exp(value) for value in found] for found in self.model.choose(wide)]

    def settings(self) -> dict[str, Any]:
        """The ratings that are shown."""
        return {"contexts": {group: [_row(r) for r in ratings] for group, ratings in self.contexts.items()}}

    def arrays(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def _prompt(self, request: ChooseRequest) -> Messages:
        """As many rated questions as fit: a prompt that fills its length would have been clipped."""
        shown = self.contexts[known_group(request.group, self.contexts)]
        for count in range(len(shown), 0, -1):
            messages = prompt_of(shown[:count], request)
            if len(self.model.render(messages)) < self.model.prompt_tokens:
                return messages
        return prompt_of((), request)


def _row(rating: Rating) -> list[Any]:
    return [rating.question, rating.prompt, list(rating.options), list(rating.probabilities)]


def _rating(row: Sequence[Any]) -> Rating:
    return Rating(row[0], row[1], tuple(row[2]), tuple(row[3]))


def contexts_of(groups: Ratings, config: IclGroupsConfig) -> Mapping[str, tuple[Rating, ...]]:
    """The rated questions shown for each group. Raises HarnessError for a swap with one group only."""
    return {name: ratings[: config.shots] for name, ratings in read_ratings(groups, config.context).items()}


class IclGroups:
    """Shows a group's ratings as text; nothing is trained."""

    name: ClassVar[str] = "icl_groups"
    paper: ClassVar[str] = "2310.11523"
    version: ClassVar[str] = "1"
    requires: ClassVar[frozenset[Need]] = frozenset({"groups"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"choose"})
    asks: ClassVar[frozenset[EngineCapability]] = frozenset({"loglik"})
    Config: ClassVar[type[BaseModel]] = IclGroupsConfig

    def __init__(self, config: IclGroupsConfig) -> None:
        self.config = config

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Aligned:
        """The saved ratings before the model; the model alone where there are none."""
        saved = read(folder, cls.name)
        if saved is None:
            return model
        contexts = {group: tuple(map(_rating, rows)) for group, rows in saved[0]["contexts"].items()}
        return GroupAligned(model, cls.name, InContext(model, contexts))

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Keep the ratings that will be shown. Raises HarnessError without groups."""
        require_groups(self.name, few_shot)
        contexts = contexts_of(few_shot.groups, self.config)
        bench.liveness(demonstrations=max(map(len, contexts.values())))
        model = bench.aligned()
        return GroupAligned(model, self.name, InContext(model, contexts))


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [IclGroups]
