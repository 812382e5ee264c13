"""Questions as the module meets them, and what groups have in common: the axes of their ratings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aligners.gpo.config import ModuleConfig
from aligners.gpo.sources import Contexts
from harness.opinions.features import Embedder, Features
from harness.opinions.questions import LEAST, Question, Rated
from harness.opinions.ridge import LEAST_SHARE, best_penalty, ridge, ridge_without_each

if TYPE_CHECKING:
    from harness.opinions.questions import Floats, Singles


@dataclass(frozen=True)
class Departs:
    """The two settings in which the module may depart from the paper: its labels, and x."""

    labels: bool = False
    """Labels, and mu, are what a group adds to the training groups' mean."""
    axes: int = 0
    """So many axes of the groups' differences stand in the place of the embeddings; 0: none do."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A question's options as the module meets them: inputs x (options, D), and what groups share (options,)."""

    x: Singles
    shared: Floats


@dataclass(frozen=True, eq=False)
class View:
    """Turns questions into the module's inputs, and preferences into its labels."""

    embedder: Embedder
    features: Features
    outlook: Outlook | None
    """None: there is nothing that groups share, and embeddings are read as they are."""
    relative: bool
    """Labels depart from what groups share, and so does mu."""

    @classmethod
    def of(cls, sources: Contexts, embedder: Embedder, config: ModuleConfig, departs: Departs) -> View:
        """Fit on the training sources."""
        distinct = {one.question.key: one.question for source in sources.values() for one in source}
        raw = [embedder(question) for question in distinct.values()]
        features = Features.of(raw, config.centre, standardise=config.standardise)
        outlook = None
        if departs.labels or departs.axes:
            outlook = Outlook.of(list(sources.values()), lambda q: features(embedder(q)), departs.axes)
        return cls(embedder, features, outlook, departs.labels and outlook is not None)

    def __call__(self, question: Question) -> Seen:
        """The question's options."""
        x = self.features(self.embedder(question)).astype(np.float32)
        if self.outlook is None:
            return Seen(x, np.ones(len(x)))
        shared, axes = self.outlook(question, x)
        return Seen(axes if self.outlook.axes else x, shared)

    @property
    def dim_x(self) -> int:
        """Width of x."""
        return (self.outlook.axes if self.outlook else 0) or len(self.features.mean)

    @property
    def unit(self) -> float:
        """Of labels that are departures."""
        return self.outlook.unit if self.outlook and self.relative else 1.0

    def tokens(self, context: Sequence[Rated]) -> tuple[Singles, Singles]:
        """(x (C, D), labels (C,)) of a context; one null token where it holds nothing."""
        if not context:
            return np.zeros((1, self.dim_x), np.float32), np.zeros(1, np.float32)
        seen = [self(one.question) for one in context]
        y = np.array([value for one in context for value in one.y])
        labels = (y - np.concatenate([one.shared for one in seen])) / self.unit if self.relative else y
        return np.concatenate([one.x for one in seen]), labels.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Outlook:
    """What the training groups share, and the axes along which they differ, read off an option's features by ridge.

    The axes are the first K principal directions of the groups' deviations from their mean, as predicted for each
    training question by the fit without it: a feature then means the same for a question that no group has answered.
    """

    weights: Floats
    """(D, 1 + K): from features, less their question's mean, to the mean's deviation from uniform and to the axes."""
    unit: float
    """Root mean square of the deviations from the mean."""
    known: Mapping[str, Floats]
    """By key of a training question: (options, 1 + K), the mean itself and the axes."""

    @property
    def axes(self) -> int:
        """K."""
        return int(self.weights.shape[1]) - 1

    def __call__(self, question: Question, x: Singles) -> tuple[Floats, Singles]:
        """(what groups share (options,), summing to 1; axes (options, K)) of features x (options, D)."""
        found = self.known.get(question.key)
        if found is None:
            found = _inner(x) @ self.weights
            found[:, 0] += 1 / len(x)
        shared = np.maximum(found[:, 0], LEAST_SHARE)
        return shared / shared.sum(), found[:, 1:].astype(np.float32)

    @classmethod
    def of(
        cls, sources: Sequence[Sequence[Rated]], features: Callable[[Question], Singles], axes: int
    ) -> Outlook | None:
        """Fit on groups' ratings; None unless two groups differ, and on two questions that they share."""
        questions, ratings = _shared(sources)
        if len(questions) < 2:
            return None
        x = np.concatenate([_inner(features(one)) for one in questions])
        mean = np.nanmean(ratings, axis=0)
        apart = np.nan_to_num(ratings - mean)
        _, size, directions = np.linalg.svd(apart, full_matrices=False)
        if size[0] < LEAST:
            return None
        kept = min(axes, int((size > 1e-6 * size[0]).sum()))
        return cls._fit(questions, x, mean, directions[:kept].T * size[:kept], float(np.sqrt((apart**2).mean())))

    @classmethod
    def _fit(cls, questions: Sequence[Question], x: Floats, mean: Floats, axes: Floats, unit: float) -> Outlook:
        ends = np.cumsum([len(one.texts) for one in questions]).tolist()
        blocks = [slice(end - len(one.texts), end) for one, end in zip(questions, ends, strict=True)]
        uniform = np.concatenate([np.full(len(one.texts), 1 / len(one.texts)) for one in questions])
        base = (mean - uniform)[:, None]
        weights = ridge(x, base, best_penalty([(x, base, blocks)]))
        if axes.shape[1]:
            penalty = best_penalty([(x, axes, blocks)])
            axes, slopes = ridge_without_each(x, axes, blocks, penalty), ridge(x, axes, penalty)
            spread = np.where(axes.std(0) > LEAST, axes.std(0), 1.0)
            axes, weights = axes / spread, np.concatenate([weights, slopes / spread], axis=1)
        rows = np.concatenate([mean[:, None], axes], axis=1)
        known = {one.key: rows[block] for one, block in zip(questions, blocks, strict=True)}
        return cls(weights, unit, known)


def _inner(x: Singles) -> Floats:
    """Rows less their mean: what groups think of a question's options sums to 1, so deviations sum to 0."""
    wide = x.astype(np.float64)
    inner: Floats = wide - wide.mean(0)
    return inner


def _shared(sources: Sequence[Sequence[Rated]]) -> tuple[list[Question], Floats]:
    """Questions that two sources or more have rated, and (sources, options of all) ratings; NaN where there is none."""
    given: dict[str, dict[int, tuple[float, ...]]] = {}
    questions: dict[str, Question] = {}
    for number, source in enumerate(sources):
        for one in source:
            questions[one.question.key] = one.question
            given.setdefault(one.question.key, {})[number] = one.y
    shared = [key for key, found in given.items() if len(found) > 1]
    blank = {key: (np.nan,) * len(questions[key].texts) for key in shared}
    rows = [[v for key in shared for v in given[key].get(n, blank[key])] for n in range(len(sources))]
    return [questions[key] for key in shared], np.array(rows, dtype=np.float64)
