"""Did a task return what it promised? If not, the run must not end as a record with status `ok`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from harness.contracts import Judged, NamesMetricsLater, Scores, Task
from harness.util.names import nearest


def faults(task: Task, scores: Scores) -> Iterator[str]:
    """What is wrong with a task's scores, one sentence each: ids, names of metrics, values."""
    yield from _ids(task, scores)
    yield from _names(task, scores)
    for row in scores.rows:
        for name, value in row.values.items():
            if not math.isfinite(value):
                yield f"task {task.name}: sample {row.id}: {name} is {value}; a finite number was expected"
    for name, whole in scores.whole.items():
        if not all(map(math.isfinite, (whole.value, *(whole.ci95 or ())))):
            yield f"task {task.name}: {name} of the whole set is {whole.value}; a finite number was expected"


def check_scores(task: Task, scores: Scores) -> None:
    """Raise ValueError with the first fault of a task's scores."""
    fault = next(faults(task, scores), None)
    if fault is not None:
        raise ValueError(fault)


def returned(scores: Scores) -> set[str]:
    """Every metric that some row has, or the whole set."""
    return {name for row in scores.rows for name in row.values} | set(scores.whole)


def _ids(task: Task, scores: Scores) -> Iterator[str]:
    twice = [identity for identity, count in Counter(row.id for row in scores.rows).items() if count > 1]
    if twice:
        yield f"task {task.name} gives {len(twice)} ids to several samples, first {twice[0]!r}; each needs its own"


def _names(task: Task, scores: Scores) -> Iterator[str]:
    found = returned(scores)
    unknown = sorted(found - set(task.metrics))
    if unknown and not isinstance(task, NamesMetricsLater):
        hint = nearest(unknown[0], sorted(task.metrics))
        yield f"task {task.name} returns metric {unknown[0]!r}, which it does not declare; {hint}"
    lost = task.main_metric not in found
    if lost and task.main_metric not in task.metrics and not isinstance(task, NamesMetricsLater):
        hint = nearest(task.main_metric, sorted(task.metrics))
        yield f"task {task.name} has main metric {task.main_metric!r}, which it does not declare; {hint}"
    # A task that requires nothing, or is judged, may lack it: a model that cannot do it, a judge without a verdict.
    elif lost and found and (unknown or (task.requires and not isinstance(task, Judged))):
        others = ", ".join(sorted(found))
        yield f"task {task.name} never returns its main metric {task.main_metric!r}; it returns {others}"
    if not found:
        yield f"task {task.name} returns {len(scores.rows)} samples without any value"
