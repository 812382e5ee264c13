"""Pairs that are held out of training, and the figures by which they choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from harness.contracts import Aligner, ChosenBy, HarnessError, HeldOutFigure, Pair, TokenScores

HELD_OUT_SHARE = 0.25
BETA = 0.1
"""Scale of the margin in a held-out score."""

FIGURES: dict[str, HeldOutFigure] = {figure: figure for figure in get_args(HeldOutFigure)}

Halves = tuple[tuple[Pair, ...], tuple[Pair, ...]]


def split(pairs: Sequence[Pair], selection: str) -> Halves:
    """(training, held-out) pairs; whole units are held out, the last quarter of the draw's order."""
    everything = tuple(pairs)
    if selection != "holdout25":
        return everything, ()
    units = list(dict.fromkeys(p.unit for p in everything))
    if len(units) < 2:
        return everything, ()
    held = set(units[-max(1, int(len(units) * HELD_OUT_SHARE)) :])
    return tuple(p for p in everything if p.unit not in held), tuple(p for p in everything if p.unit in held)


def chosen_by(aligner: Aligner | type[Aligner]) -> HeldOutFigure:
    """By what held-out pairs choose among the method's states. Raises HarnessError where that is no known figure."""
    stated: str = aligner.chosen_by if isinstance(aligner, ChosenBy) else "margin"
    if stated not in FIGURES:
        raise HarnessError(f"aligner {aligner.name}: chosen_by is {stated!r}; expected one of {', '.join(FIGURES)}")
    return FIGURES[stated]


def likelihood_score(chosen: Sequence[TokenScores]) -> float:
    """Mean log-probability of a token over all chosen answers, in nats: higher is better."""
    return sum(scores.total for scores in chosen) / sum(len(scores.logprobs) for scores in chosen)


def margin_score(policy: Sequence[Sequence[TokenScores]], base: Sequence[Sequence[TokenScores]]) -> float:
    """Mean log sigmoid of the log-ratio margin to the base model, of (chosen, rejected) pairs: higher is better."""
    import torch

    total = 0.0
    for (a, b), (c, d) in zip(policy, base, strict=True):
        margin = torch.tensor((a.total - c.total) - (b.total - d.total), dtype=torch.float64)
        total += float(torch.nn.functional.logsigmoid(BETA * margin))
    return total / len(policy)
