"""Figures by which a search or held-out pairs choose."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.contracts import Aligned, HarnessError, Pair, PreferRequest, Ratings, able_to
from harness.fit.bench import LocalBench
from harness.lm.language_model import ModelAligned
from harness.opinions.questions import closed_question

SMALLEST = 1e-12
"""Probability below which a wrong certainty costs no more."""


def preference_score(bench: LocalBench, aligned: Aligned, pairs: Sequence[Pair]) -> float:
    """How well a fitted model tells held-out pairs apart, in nats, higher is better.

    For the language model itself the method's figure decides (`LocalBench.held_out_score`), for anything else the mean
    log-probability of the label under its own rule.
    """
    if isinstance(aligned, ModelAligned):
        return bench.held_out_score(pairs)
    prefers = able_to("prefer", aligned, by="selection by held-out pairs")
    answers = prefers.prefer([PreferRequest(pair.prompt, a=pair.chosen, b=pair.rejected) for pair in pairs])
    return sum(math.log(max(answer.p_a, SMALLEST)) for answer in answers) / len(pairs)


def rating_score(aligned: Aligned, held_out: Ratings) -> float:
    """How well a fitted model knows groups' held-out ratings, in nats: mean of sum_k y_k log p_k over them.

    Raises HarnessError where nothing is held out.
    """
    asked = [(group, rating) for group, ratings in held_out.items() for rating in ratings]
    if not asked:
        raise HarnessError("no ratings are held out; a score needs at least one")
    chooses = able_to("choose", aligned, by="selection by held-out ratings")
    answers = chooses.choose([closed_question(group, rating) for group, rating in asked])
    total = math.fsum(
        y * max(log_p, math.log(SMALLEST))
        for (_, rating), answer in zip(asked, answers, strict=True)
        for y, log_p in zip(rating.probabilities, answer, strict=True)
    )
    return total / len(asked)
