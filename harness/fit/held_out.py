"""Pairs that are held out of training, and the score by which they choose."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contracts import Pair, TokenScores

HELD_OUT_SHARE = 0.25
BETA = 0.1
"""Scale of the margin in a held-out score."""

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


def margin_score(policy: Sequence[Sequence[TokenScores]], base: Sequence[Sequence[TokenScores]]) -> float:
    """Mean log sigmoid of the log-ratio margin to the base model, of (chosen, rejected) pairs: higher is better."""
    import torch

    total = 0.0
    for (a, b), (c, d) in zip(policy, base, strict=True):
        margin = torch.tensor((a.total - c.total) - (b.total - d.total), dtype=torch.float64)
        total += float(torch.nn.functional.logsigmoid(BETA * margin))
    return total / len(policy)
