"""How well a model predicts what a group answers: OpinionQA and GlobalOpinionQA, seen and unseen questions apart.

For each target group of the cell, every question of that group that is not in its context is asked on its behalf, and
the model's distribution over the options is compared with the group's:

    wasserstein       1 - W(p, q) / (max - min), options on their places (Santurkar et al. 2023)
    jensen_shannon    1 - sqrt(JS(p, q)), natural logarithm (Durmus et al. 2023)

Each task takes one of the two as its own and reports both. Santurkar et al. 2023, arXiv:2303.17548; Durmus et al. 2023,
arXiv:2306.16388; the split by groups: Zhao et al. 2024 (GPO), arXiv:2310.11523, which does not hold out questions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, ClassVar, Literal

from harness.contracts import (
    Aligned,
    Capability,
    Chooses,
    EvalContext,
    HarnessError,
    Pool,
    Rating,
    Ratings,
    SampleRow,
    Scores,
    Source,
    Task,
    able_to,
)
from harness.hookspecs import hookimpl
from harness.opinions.groups import left_to_ask, next_groups
from harness.opinions.questions import closed_question
from harness.util.words import normalise
from tasks.datasets.opinions import GLOBAL_OPINIONS, OPINIONQA, Surveys, revision

Measure = Literal["wasserstein", "jensen_shannon"]

_MEANING: Mapping[Measure, str] = {
    "wasserstein": "1 - Wasserstein distance over the options' places, in units of the whole scale",
    "jensen_shannon": "1 - Jensen-Shannon distance (natural logarithm)",
}
SPREAD = 1e-3
"""How far a model's probabilities may sum from 1."""
_OFF_SCALE = re.compile(
    r"(dk|don t know|not sure|no answer|no opinion|refused|refuse|dk refused|(other )?missing\b.*|.* vol)", re.DOTALL
)
"""Normalised options that have no place on a scale: no answer at all, or one that was volunteered ("(VOL)")."""


def _metrics(own: Measure) -> dict[str, str]:
    """Every metric of a task whose own measure is `own`."""
    main = {
        "similarity": f"{_MEANING[own]}: on unseen questions where there are any, else on all",
        "similarity_swapped": "the same rows, asked on behalf of another group: what the group's own context is worth",
    }
    split = {
        f"{measure}{part}": f"{meaning}{where}"
        for measure, meaning in _MEANING.items()
        for part, where in (("", ""), ("_seen", ", seen questions"), ("_unseen", ", unseen questions"))
    }
    return main | split


class OpinionQA:
    """US demographic groups' answers to Pew's surveys, compared on the options' scale."""

    name: ClassVar[str] = "opinionqa"
    paper: ClassVar[str] = "2303.17548"
    licence: ClassVar[str] = "MIT"
    main_metric: ClassVar[str] = "similarity"
    metrics: ClassVar[Mapping[str, str]] = _metrics("wasserstein")
    graded_metrics: ClassVar[frozenset[str]] = frozenset(metrics)
    default_pool: ClassVar[str] = "opinionqa"
    requires: ClassVar[frozenset[Capability]] = frozenset({"choose"})
    accepts: ClassVar[frozenset[Capability]] = frozenset()

    def __init__(self, pool: Pool | None = None) -> None:
        self._pool = pool

    def for_pool(self, pool: Pool) -> OpinionQA:
        """This task on another pool's groups; on its own pool's where the other has none."""
        return OpinionQA(pool)

    def revision(self, source: Source) -> str:
        """Hash of every rating of the pool: what is context and what is asked is the draw's to say."""
        return _revision(self._pool, OPINIONQA, source)

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """None: the draw holds questions out, so there is nothing for the leak gate to do."""
        return {}

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per target group and question. Raises HarnessError where the pool's groups were not drawn."""
        return _evaluate("wasserstein", OPINIONQA, aligned, ctx)


class GlobalOpinions:
    """Countries' answers to cross-national surveys, compared as distributions."""

    name: ClassVar[str] = "global_opinions"
    paper: ClassVar[str] = "2306.16388"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    main_metric: ClassVar[str] = "similarity"
    metrics: ClassVar[Mapping[str, str]] = _metrics("jensen_shannon")
    graded_metrics: ClassVar[frozenset[str]] = frozenset(metrics)
    default_pool: ClassVar[str] = "global_opinions"
    requires: ClassVar[frozenset[Capability]] = frozenset({"choose"})
    accepts: ClassVar[frozenset[Capability]] = frozenset()

    def __init__(self, pool: Pool | None = None) -> None:
        self._pool = pool

    def for_pool(self, pool: Pool) -> GlobalOpinions:
        """This task on another pool's groups; on its own pool's where the other has none."""
        return GlobalOpinions(pool)

    def revision(self, source: Source) -> str:
        """Hash of every rating of the pool: what is context and what is asked is the draw's to say."""
        return _revision(self._pool, GLOBAL_OPINIONS, source)

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """None: the draw holds questions out, so there is nothing for the leak gate to do."""
        return {}

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per target group and question. Raises HarnessError where the pool's groups were not drawn."""
        return _evaluate("jensen_shannon", GLOBAL_OPINIONS, aligned, ctx)


# ---------------------------------------------------------------- measures


def places(options: Sequence[str]) -> tuple[int, ...]:
    """Indices of the options that stand on the scale, in the order of the survey; the data name no ordinals."""
    return tuple(index for index, option in enumerate(options) if not _OFF_SCALE.fullmatch(normalise(option)))


def wasserstein(options: Sequence[str], gold: Sequence[float], predicted: Sequence[float]) -> float | None:
    """1 - W_1 / (max - min) over the options on the scale, in [0, 1]; `gold` and `predicted` of shape (options,).

    Options off the scale leave both distributions, which are divided by what is left. None where the scale has fewer
    than two places or nobody of the group stands on it; 0.0 where the prediction leaves nothing on it.
    """
    from scipy.stats import wasserstein_distance

    scale = places(options)
    kept = [[values[index] for index in scale] for values in (gold, predicted)]
    if len(scale) < 2 or sum(kept[0]) <= 0:
        return None
    if sum(kept[1]) <= 0:
        return 0.0
    ordinals = range(len(scale))
    distance = wasserstein_distance(ordinals, ordinals, *kept)
    return _finite(1 - distance / (len(scale) - 1))


def jensen_shannon(gold: Sequence[float], predicted: Sequence[float]) -> float:
    """1 - sqrt(JS) of two distributions of shape (options,), in [1 - sqrt(ln 2), 1].

    Of nearly equal distributions the divergence can round to just below 0, where scipy's own distance is no number.
    """
    import numpy as np
    from scipy.special import rel_entr

    p, q = (np.asarray(values, dtype=np.float64) / _total(values) for values in (gold, predicted))
    middle = (p + q) / 2
    divergence = float(rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / 2
    return _finite(1 - math.sqrt(max(divergence, 0.0)))


def _total(shares: Sequence[float]) -> float:
    total = math.fsum(shares)
    if not 0 < total < math.inf:
        raise FloatingPointError(f"a distribution that sums to {total:g}: {list(shares)}")
    return total


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise FloatingPointError(f"a similarity of {value}: one of the two distributions is broken")
    return float(value)


def _measures(rating: Rating, predicted: Sequence[float]) -> dict[Measure, float]:
    """Both measures of one answer; no `wasserstein` where the question has no scale."""
    found: dict[Measure, float] = {"jensen_shannon": jensen_shannon(rating.probabilities, predicted)}
    on_scale = wasserstein(rating.options, rating.probabilities, predicted)
    return found if on_scale is None else {**found, "wasserstein": on_scale}


# ---------------------------------------------------------------- evaluation


@dataclass(frozen=True, slots=True)
class _Item:
    """One question that is asked on behalf of one target group."""

    group: str
    rating: Rating
    seen: bool


Answers = Mapping[tuple[str, str], tuple[float, ...]]
"""Probabilities by group and question."""


def _revision(pool: Pool | None, own: Surveys, source: Source) -> str:
    """Of the groups that are asked: those of the pool that a cell trains on, or the task's own where it has none."""
    if pool is not None and pool.groups(source):
        return pool.revision(source)
    return revision(own.groups(source))


def _evaluate(own: Measure, surveys: Surveys, aligned: Aligned, ctx: EvalContext) -> Scores:
    opinions = {} if ctx.pool is None else ctx.pool.groups(ctx.source)
    if ctx.pool is not None and not opinions:
        # The cell learnt from other data and bought no opinion: every group is a target.
        opinions = surveys.groups(ctx.source)
        ctx = replace(ctx, groups=dict.fromkeys(opinions, ()), auxiliary={})
    items = _items(ctx, opinions)
    others = next_groups(ctx.groups)
    asked = {(group, item.rating.question): item.rating for item in items for group in _askers(item, others)}
    answers = _ask(able_to("choose", aligned, by="a task about groups"), asked)
    ctx.progress("opinions", len(asked), len(asked))
    counts = any(not item.seen for item in items)
    rows = tuple(_row(own, item, answers, others, main=not (counts and item.seen)) for item in items)
    return Scores(rows, _notes(own, items, ctx))


def _items(ctx: EvalContext, opinions: Ratings) -> list[_Item]:
    """What is asked: every rating of a target group but its context, of the first `limit` questions by id.

    A question is seen when a rating of it, of whatever group, was bought or given as auxiliary data.
    """
    if not ctx.groups or ctx.pool is None:
        name = "none" if ctx.pool is None else repr(ctx.pool.name)
        raise HarnessError(f"the cell has no target groups; a pool with groups was expected, the pool is {name}")
    bought = ({rating.question for rating in ratings} for ratings in ctx.groups.values())
    seen = set().union(*bought, ({r.question for ratings in ctx.auxiliary.values() for r in ratings}))
    left = left_to_ask(ctx.groups, opinions, ctx.limit)
    if not left:
        raise HarnessError(f"nothing is left to ask the target groups of pool {ctx.pool.name!r}; lower --budget")
    return [_Item(group, rating, rating.question in seen) for group, rating in left]


def _askers(item: _Item, others: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(group for group in (item.group, others.get(item.group)) if group is not None)


def _ask(aligned: Chooses, asked: Mapping[tuple[str, str], Rating]) -> Answers:
    """The model's distributions. Raises FloatingPointError where one is none, HarnessError for too many options."""
    keys = sorted(
        asked, key=lambda key: key[::-1]
    )  # question by question: a model may share what groups have in common
    answers = aligned.choose([closed_question(group, asked[group, question]) for group, question in keys])
    return {key: _distribution(key, answer) for key, answer in zip(keys, answers, strict=True)}


def _distribution(key: tuple[str, str], logprobs: Sequence[float]) -> tuple[float, ...]:
    found = tuple(math.exp(value) for value in logprobs)
    if not abs(math.fsum(found) - 1) <= SPREAD:  # also where one is not a number
        raise FloatingPointError(f"group {key[0]!r}, question {key[1]!r}: {list(logprobs)} are no log-probabilities")
    return found


def _row(own: Measure, item: _Item, answers: Answers, others: Mapping[str, str], *, main: bool) -> SampleRow:
    question = item.rating.question
    predicted = answers[item.group, question]
    found = _measures(item.rating, predicted)
    values: dict[str, float] = {}
    for measure, value in found.items():
        values[measure] = value
        values[f"{measure}_{'seen' if item.seen else 'unseen'}"] = value
    if main and own in found:
        values["similarity"] = found[own]
        if other := others.get(item.group):
            values["similarity_swapped"] = _measures(item.rating, answers[other, question])[own]
    detail: dict[str, Any] = {
        "group": item.group,
        "prompt": item.rating.prompt,
        "options": list(item.rating.options),
        "gold": list(item.rating.probabilities),
        "answer": list(predicted),
        "seen": item.seen,
    }
    return SampleRow(f"{item.group}: {question}", question, values, detail)


def _notes(own: Measure, items: Sequence[_Item], ctx: EvalContext) -> dict[str, float]:
    """Figures of the data: what was bought and given, what is asked, what a uniform answer scores, and what the mean of
    the auxiliary groups' answers to a seen question does."""
    context = [len(ratings) for ratings in ctx.groups.values()]
    counts = {
        "groups": float(len(ctx.groups)),
        "context_labels": sum(context) / len(context),
        "auxiliary_groups": float(len(ctx.auxiliary)),
        "auxiliary_labels": float(sum(map(len, ctx.auxiliary.values()))),
        "unseen_questions": float(len({item.rating.question for item in items if not item.seen})),
        "without_scale": float(sum(len(_measures(i.rating, i.rating.probabilities)) < 2 for i in items)),
    }
    parts = {
        "uniform": items,
        "uniform_seen": [item for item in items if item.seen],
        "uniform_unseen": [item for item in items if not item.seen],
    }
    uniform = {name: mean for name, part in parts.items() if (mean := _uniform(own, part)) is not None}
    others = _mean_of_groups(own, parts["uniform_seen"], ctx.auxiliary)
    return counts | uniform | ({} if others is None else {"mean_of_groups_seen": others})


def _uniform(own: Measure, items: Sequence[_Item]) -> float | None:
    """Mean of the own measure of a model that gives every option the same probability; None without items."""
    return _mean(own, [(item.rating, [1 / len(item.rating.options)] * len(item.rating.options)) for item in items])


def _mean_of_groups(own: Measure, items: Sequence[_Item], auxiliary: Ratings) -> float | None:
    """Mean of the own measure of whoever answers a seen question as the auxiliary groups do on average."""
    known: dict[tuple[str, tuple[str, ...]], list[tuple[float, ...]]] = {}
    for rating in (rating for ratings in auxiliary.values() for rating in ratings):
        known.setdefault((rating.question, rating.options), []).append(rating.probabilities)
    asked = [(r, known[key]) for r in (item.rating for item in items) if (key := (r.question, r.options)) in known]
    return _mean(own, [(rating, [fmean(shares) for shares in zip(*told, strict=True)]) for rating, told in asked])


def _mean(own: Measure, answers: Iterable[tuple[Rating, Sequence[float]]]) -> float | None:
    """Mean of the own measure over answers that have it; None where none has."""
    found = [_measures(rating, predicted) for rating, predicted in answers]
    values = [measures[own] for measures in found if own in measures]
    return fmean(values) if values else None


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The tasks of this module."""
    return [OpinionQA, GlobalOpinions]
