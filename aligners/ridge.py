"""Ridge: linear regression from an option's embedding to its preference, and a second one to what a group adds.

    p_hat(option) = 1/k + w . x + v_g . x        clipped at 0 and normalised over the question

w is fitted on the auxiliary groups' mean deviation from uniform; v_g on what that leaves of group g's own ratings. Both
penalties are chosen by leaving one question out of the data they are fitted on, in closed form. The embeddings are
those of `gpo`, which also knows the mean answer to seen questions: the two compare on unseen ones. Hoerl and Kennard
1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import (
    BASE,
    Aligned,
    Aligner,
    Bench,
    Capability,
    ChooseRequest,
    EngineCapability,
    FewShot,
    LanguageModel,
    Need,
    Ratings,
)
from harness.hookspecs import hookimpl
from harness.opinions.features import Embedder, Features
from harness.opinions.groups import Reading, read_ratings, require_groups
from harness.opinions.questions import Rated, known_group, option_question, plain, rated
from harness.opinions.results import GroupAligned, read
from harness.opinions.ridge import PENALTIES, Part, best_penalty, ridge

if TYPE_CHECKING:
    from harness.opinions.questions import Floats, Question


class RidgeConfig(BaseModel):
    """Hyper-parameters of the regression."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: bool = Field(
        True,
        description="fit what each group adds to the mean; false predicts the same for all (ours)",
        json_schema_extra={"probe": False},
    )
    context: Reading = Field(
        "own",
        description="whose ratings the second fit reads: the group's own, or as a control the next group's (ours)",
        json_schema_extra={"probe": "swapped"},
    )
    centre: Literal["none", "question", "both"] = Field(
        "question",
        description="embeddings as they are, less the mean of their question's options, or both (ours; gpo takes both)",
        json_schema_extra={"probe": "none"},
    )
    standardise: bool = Field(
        True, description="unit variance per dimension (as in gpo; ours)", json_schema_extra={"probe": False}
    )
    pool: Literal["all", "answer"] = Field(
        "all", description="tokens in the mean (as in gpo)", json_schema_extra={"probe": "answer"}
    )
    layer: int = Field(-1, description="hidden layer, -1 is the last (as in gpo)", json_schema_extra={"probe": 1})


# ---------------------------------------------------------------- from ratings to weights


def rows_of(source: Sequence[Rated], embedder: Embedder, features: Features) -> Part:
    """(x (N, D), y - 1/k (N,), the rows of each question) of rated questions."""
    import numpy as np

    x = np.concatenate([features(embedder(one.question)) for one in source]).astype(np.float64)
    y = np.array([value - 1 / len(one.y) for one in source for value in one.y])
    ends = np.cumsum([len(one.y) for one in source]).tolist()
    return x, y, [slice(end - len(one.y), end) for one, end in zip(source, ends, strict=True)]


def mean_ratings(groups: Ratings) -> tuple[Rated, ...]:
    """Each distinct question once, with the mean of the groups' preferences."""
    import numpy as np

    answers: dict[str, list[Rated]] = {}
    for one in (one for ratings in groups.values() for one in rated(ratings)):
        answers.setdefault(one.question.key, []).append(one)
    means = {key: np.mean([one.y for one in rows], axis=0) for key, rows in answers.items()}
    return tuple(Rated(rows[0].question, tuple(float(v) for v in means[key])) for key, rows in answers.items())


@dataclass(frozen=True, eq=False)
class Linear:
    """The fitted weights: those of all groups, and per group what it adds."""

    embedder: Embedder
    features: Features
    shared: Floats
    own: Mapping[str, Floats]
    config: RidgeConfig

    def predict(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """1/k + w . x + v_g . x, clipped at 0; uniform where nothing is left."""
        questions = [option_question(plain(request.prompt), request.options) for request in requests]
        self.embedder.prepare(questions)
        return [self._of(question, request.group) for question, request in zip(questions, requests, strict=True)]

    def _of(self, question: Question, group: str | None) -> list[float]:
        import numpy as np

        raw = self.embedder(question)
        weights = self.shared + self.own[known_group(group, self.own)]
        p = np.maximum(1 / len(raw) + self.features(raw).astype(np.float64) @ weights, 0.0)
        return [float(v) for v in (p if p.sum() > 0 else np.ones_like(p))]

    def settings(self) -> dict[str, Any]:
        """The config and the groups' names."""
        return {"config": self.config.model_dump(mode="json"), "groups": sorted(self.own)}

    def arrays(self) -> dict[str, Any]:
        """Weights and features."""
        import numpy as np

        own = np.stack([self.own[name] for name in sorted(self.own)])
        return {"shared": self.shared, "own": own, "mean": self.features.mean, "scale": self.features.scale}


class Ridge:
    """Regresses a group's preferences linearly on the frozen model's embeddings of the options."""

    name: ClassVar[str] = "ridge"
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    requires: ClassVar[frozenset[Need]] = frozenset({"groups"})
    accepts: ClassVar[frozenset[Need]] = frozenset({"auxiliary"})
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"choose"})
    asks: ClassVar[frozenset[EngineCapability]] = frozenset({"embed"})
    Config: ClassVar[type[BaseModel]] = RidgeConfig

    def __init__(self, config: RidgeConfig) -> None:
        self.config = config

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Aligned:
        """The saved weights; the model alone where there are none."""
        saved = read(folder, cls.name)
        if saved is None:
            return model
        settings, arrays = saved
        config = RidgeConfig.model_validate(settings["config"])
        own = dict(zip(settings["groups"], arrays["own"], strict=True))
        features = Features(config.centre, arrays["mean"], arrays["scale"])
        return GroupAligned(model, cls.name, Linear(_asking(model, config), features, arrays["shared"], own, config))

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Two closed-form fits. Raises HarnessError without groups."""
        require_groups(self.name, few_shot)
        config = self.config
        embedder = Embedder(partial(bench.embed, of=BASE), config.layer, config.pool)
        training = mean_ratings(few_shot.auxiliary or few_shot.groups)
        raw = [embedder(one.question) for one in training]
        features = Features.of(raw, config.centre, standardise=config.standardise)
        rows = rows_of(training, embedder, features)
        alpha = best_penalty([rows])
        shared = ridge(rows[0], rows[1], alpha)
        shown = read_ratings(few_shot.groups, config.context)
        own = {name: rows_of(rated(r), embedder, features) for name, r in shown.items()}
        added, alpha_group = self._added(own, shared)
        bench.liveness(alpha=alpha, alpha_group=alpha_group, questions=len(training))
        model = bench.aligned()
        return GroupAligned(model, self.name, Linear(_asking(model, config), features, shared, added, config))

    def _added(self, own: Mapping[str, Part], shared: Floats) -> tuple[dict[str, Floats], float]:
        """What each group adds, under one penalty that all groups choose together (0 weights where it is off)."""
        if not self.config.group:
            return dict.fromkeys(own, shared * 0.0), PENALTIES[-1]
        left = {name: (x, y - x @ shared, blocks) for name, (x, y, blocks) in own.items()}
        alpha = best_penalty(list(left.values()))
        return {name: ridge(x, y, alpha) for name, (x, y, _) in left.items()}, alpha


def _asking(model: LanguageModel, config: RidgeConfig) -> Embedder:
    return Embedder(model.embed, config.layer, config.pool, model.adapter_off)


@hookimpl
def harness_aligners() -> list[type[Aligner]]:
    """Register the aligner."""
    return [Ridge]
