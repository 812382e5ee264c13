"""How many folds a user's own pairs are divided in where nobody says."""

from __future__ import annotations

from harness.contracts import DividesInFolds, Pool, Source

FOLDS = 5
"""Folds of pairs that are few and say no split."""
SMALL = 200
"""Pairs from which on a fifth of them is enough to be asked about."""


def usual_folds(pool: Pool, source: Source) -> int:
    """`FOLDS` for fewer than `SMALL` pairs of which nothing says which are held out, else 1: they are divided once.

    Raises HarnessError where the pairs cannot be read.
    """
    pairs = pool.undivided(source) if isinstance(pool, DividesInFolds) else None
    return FOLDS if pairs is not None and FOLDS <= pairs < SMALL else 1
