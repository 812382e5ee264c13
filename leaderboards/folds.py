"""Runs that hold out one fold each, as the one run that they are together.

The folds of one draw and one training seed answer different pairs; their items side by side are one run's. Units are
independent no longer, for the models share data: `INFLATION` widens what is said of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from harness.records.schema import Record
from harness.stats import SHARED_BY_FOLDS
from leaderboards.load import Entry, Samples

Seed = tuple[int, int]
"""Draw seed, training seed."""
Place = tuple[int, int, int]
"""Draw seed, training seed, index of the fold; 0 where there are no folds."""


def place(record: Record) -> Place:
    """What tells the runs of one row apart."""
    return (record.seed.draw, record.seed.training, 0 if record.data.fold is None else record.data.fold.index)


def run_text(record: Record) -> str:
    """A run among those of its row, in words: `draw 0, seed 1, fold 2 of 5`."""
    fold = record.data.fold
    which = "" if fold is None else f", fold {fold.index + 1} of {fold.of}"
    return f"draw {record.seed.draw}, seed {record.seed.training}{which}"


def inflation(entries: Sequence[Entry]) -> float:
    """Variance of a mean over these runs' units, over that of independent ones."""
    return SHARED_BY_FOLDS if any(entry.record.data.fold is not None for entry in entries) else 1.0


def by_seed(entries: Sequence[Entry]) -> dict[Seed, list[Entry]]:
    """The folds of every draw and training seed."""
    found: dict[Seed, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: place(entry.record)):
        found.setdefault(place(entry.record)[:2], []).append(entry)
    return found


def complete(entries: Sequence[Entry]) -> dict[Seed, list[Entry]]:
    """The folds of every draw and training seed that has all of them."""
    return {seed: folds for seed, folds in by_seed(entries).items() if not missing_folds(folds)}


def whole_runs(entries: Sequence[Entry]) -> list[Samples]:
    """The samples of every seed that has all its folds."""
    return [together(folds) for folds in complete(entries).values()]


def together(entries: Sequence[Entry]) -> Samples:
    """The samples of several folds as those of one run."""
    parts = [entry.samples for entry in entries if entry.samples is not None]
    if len(parts) == 1:
        return parts[0]
    metrics = sorted({name for part in parts for name in part.values})
    units = {item: unit for part in parts for item, unit in part.units.items()}
    return Samples(units, {m: {i: v for part in parts for i, v in part.values.get(m, {}).items()} for m in metrics})


def incomplete(scored: Sequence[Entry]) -> Iterator[str]:
    """Seeds without all their folds: they have no score, for it would be one of other pairs."""
    for seed, folds in by_seed(scored).items():
        if missing := missing_folds(folds):
            listed = ", ".join(str(index + 1) for index in missing)
            yield f"fold {listed} has no score (draw {seed[0]}, seed {seed[1]}): the seed is left out"


def missing_folds(folds: Sequence[Entry]) -> tuple[int, ...]:
    """Indices of the folds, from 0, of which none of these runs has a score."""
    fold = folds[0].record.data.fold if folds else None
    if fold is None:
        return ()
    there = {place(entry.record)[2] for entry in folds}
    return tuple(index for index in range(fold.of) if index not in there)


def mean_notes(entries: Sequence[Entry]) -> dict[str, tuple[float, float]]:
    """Least and greatest of every note; of folds the means of each over the folds."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for entry in entries:
        fold = place(entry.record)[2]
        for name, value in entry.record.task.notes.items():
            low, high = found.setdefault(name, {}).get(fold, (value, value))
            found[name][fold] = (min(low, value), max(high, value))
    return {name: _mean(spans) for name, spans in sorted(found.items())}


def _mean(spans: Mapping[int, tuple[float, float]]) -> tuple[float, float]:
    low, high = (math.fsum(side) / len(spans) for side in zip(*spans.values(), strict=True))
    return low, high
