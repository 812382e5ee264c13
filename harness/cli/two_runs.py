"""Two runs in words: how each is named, in what else they differ, and whether their difference is more than chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from harness.cli.find import Found
from harness.contracts import HarnessError
from harness.records.schema import Record
from harness.util.safe_text import line

if TYPE_CHECKING:
    from harness.stats import Paired

NAMED = frozenset({"draw_seeds", "labels", "preset", "weights_hash", "model_hash", "judge_hash", "pairs_hash"})
"""Settings that follow from others or stand in the names."""


def label(record: Record) -> str:
    """A run in few words: method with its settings and control, budget, seed, task."""
    from leaderboards.rows import label as method
    from leaderboards.settings import changed

    seeds = f"seed {record.seed.training}"
    if record.seed.draw != record.seed.training:
        seeds += f", draw {record.seed.draw}"
    if record.data.fold is not None:
        seeds += f", fold {record.data.fold.index + 1} of {record.data.fold.of}"
    named = method(record.aligner.name, changed(record))
    return line(f"{named}, {record.budget.preset} labels, {seeds}, {record.task.name}")


def names_of(first: Record, second: Record) -> tuple[str, str]:
    """The names of two runs, with their ids where the names alone are the same."""
    names = (label(first), label(second))
    return names if names[0] != names[1] else (f"{names[0]} ({first.id})", f"{names[1]} ({second.id})")


def other_differences(first: Record, second: Record) -> str | None:
    """In which settings beyond their names two runs differ, as a sentence; None where they share all."""
    from leaderboards.settings import differences, setting

    found = differences([setting(one, (one.seed.draw,)) for one in (first, second)])
    parts = [f"{name} ({' and '.join(map(str, values))})" for name, values in found.items() if name not in NAMED]
    return f"The two runs differ in more than their names say: {line('; '.join(parts))}." if parts else None


@dataclass(frozen=True, slots=True)
class Difference:
    """The first run against the second on one metric, over the items that both have."""

    metric: str
    falling: bool
    """Whether less of the metric is better."""
    means: tuple[float, float]
    paired: Paired | None
    why_untested: str | None


def is_falling(metric: str, *records: Record) -> bool:
    """Whether the task of these runs says that less of the metric is better."""
    return any(metric in record.task.lower_is_better for record in records)


def difference(first: Found, second: Found, metric: str) -> Difference:
    """Means and paired test, units resampled whole; without a test where a run is unfit or a figure is not finite."""
    from harness.stats import paired_test

    values, units = [], dict[str, str]()
    for found in (first, second):
        rows = [row for row in found.store.samples(found.record) if metric in row.values]
        values.append({row.id: row.values[metric] for row in rows})
        units |= {row.id: row.unit for row in rows}
    a, b = values
    shared = [name for name in a if name in b]
    a, b = ({name: one[name] for name in shared} for one in values)
    means = (sum(a.values()) / len(a), sum(b.values()) / len(b))
    falling = is_falling(metric, first.record, second.record)
    if (unfit := next(_unfit(first.record, second.record), None)) is not None:
        return Difference(metric, falling, means, None, unfit)
    try:
        paired = paired_test(a, b, units)
    except HarnessError as error:
        return Difference(metric, falling, means, None, str(error))
    return Difference(metric, falling, means, paired, None)


def _unfit(*records: Record) -> Iterator[str]:
    from leaderboards.rows import UNFIT

    for record in records:
        if record.status in UNFIT:
            yield f"run {record.id} is {record.status.replace('_', ' ')}"


def in_words(told: Difference, names: tuple[str, str]) -> Iterator[str]:
    """Who A and B are, their difference, what it shows, and what a single run of each cannot show."""
    yield from (f"{letter}: {name}" for letter, name in zip("AB", names, strict=True))
    metric = f"{told.metric} (lower is better)" if told.falling else told.metric
    first = f"On {metric}, A has {told.means[0]:.3f} and B has {told.means[1]:.3f}"
    if told.paired is None:
        yield f"{first}. The difference is not tested: {told.why_untested}."
        return
    found = told.paired
    interval = "" if found.ci95 is None else f" [{found.ci95[0]:+.3f}, {found.ci95[1]:+.3f}]"
    yield (
        f"{first}: a difference of {found.difference:+.3f}{interval} over {found.n_units} independent items, "
        f"p {_p(found.p)} by a sign-flip test."
    )
    yield _verdict(found, told.falling)
    yield "Each is a single run: it says nothing of other draws of the labels and other training seeds."


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _verdict(found: Paired, falling: bool) -> str:
    from harness.stats import ALPHA

    if found.p < ALPHA:
        better = "A" if (found.difference < 0) == falling else "B"
        return f"On these items {better} is better, by more than chance explains."
    seen = "" if found.mdd is None else f"; a difference of {found.mdd:.3f} would be seen four times in five"
    return f"These items cannot tell A and B apart{seen}."


def as_figures(told: Difference) -> Mapping[str, object]:
    """The difference as JSON values."""
    paired = None if told.paired is None else asdict(told.paired)
    figures = {"means": told.means, "paired": paired, "why_untested": told.why_untested}
    return {"lower_is_better": told.falling, **figures}
