"""Which cells a request comes to: one for every fold of a user's own pairs, and its control beside each.

A reading of the data decides, so that this is no work of the command line's; nothing is trained and no model looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.config import RunConfig
from harness.contracts import (
    DividesInFolds,
    FollowsPool,
    HarnessError,
    NeedsControl,
    OwnRows,
    Pool,
    Reading,
    Source,
    Task,
)
from harness.data.folds import usual_folds
from harness.data.sources import open_source
from harness.fit.demands import takes
from harness.run.outputs import aligner_of

if TYPE_CHECKING:
    from harness.plugins.registry import Registry

UNTAUGHT = frozenset({"random", "uniform"})
"""Aligners that read no label: they are controls themselves."""


def every_cell(configs: Sequence[RunConfig], registry: Registry, *, control: bool | None = None) -> list[RunConfig]:
    """The cells of `configs`: folds one after the other, and behind each cell the same on shuffled labels.

    `control` None: controls beside the user's own pairs alone. Raises HarnessError where folds are asked for of data
    that are divided already, or of a task that has items of its own.
    """
    known: dict[str, int] = {}
    found: list[RunConfig] = []
    for config in configs:
        task, pool = registry.task(config.task)(), _pool(config, registry)
        key = repr((config.task, config.train_on, config.data, config.columns, config.split_file, config.folds))
        if key not in known:
            known[key] = _count(config, task, pool)
        for cell in _each_fold(config, known[key]):
            found.append(cell)
            if _wants_control(cell, task, pool, registry, control):
                found.append(cell.model_copy(update={"shuffle_labels": True}))
    return found


def _pool(config: RunConfig, registry: Registry) -> Pool:
    return registry.pool(config.train_on or registry.task(config.task)().default_pool)()


def _each_fold(config: RunConfig, folds: int) -> list[RunConfig]:
    if config.fold is not None:
        return [config]
    if folds == 1:
        return [config.model_copy(update={"folds": None})]
    return [config.model_copy(update={"folds": folds, "fold": index}) for index in range(folds)]


def _count(config: RunConfig, task: Task, pool: Pool) -> int:
    """How many folds: those that are asked for, else what the pairs themselves say."""
    asked = config.folds
    if asked == 1 or config.fold is not None:
        return 1
    able = isinstance(pool, DividesInFolds) and isinstance(pool, OwnRows) and isinstance(task, FollowsPool)
    if not able:
        if asked is not None:
            raise HarnessError(
                f"--folds {asked} is for your own pairs and a task that is asked about them "
                f"(--task preference --train-on pairs), not for {config.task!r} on {pool.name!r}; leave it out"
            )
        return 1
    source_and_pool = _readable(config, pool)
    if source_and_pool is None:
        return asked or 1
    source, read = source_and_pool
    if asked is None:
        return usual_folds(read, source)
    if isinstance(read, DividesInFolds) and read.undivided(source) is None:
        raise HarnessError(
            f"the data say which pairs are held out, so that there are no folds; leave out --folds {asked}"
        )
    return asked


def _readable(config: RunConfig, pool: Pool) -> tuple[Source, Pool] | None:
    """The source, and the pool read as the user says; None where that fails, as the run will say."""
    split_file = None if config.split_file is None else str(config.split_file)
    try:
        source = open_source(config.data, pool.dataset)
        read = pool.reading(Reading(config.columns, split_file)) if isinstance(pool, OwnRows) else pool
        read.pairs(source)
    except HarnessError:
        return None
    return source, read


def _wants_control(config: RunConfig, task: Task, pool: Pool, registry: Registry, control: bool | None) -> bool:
    """Whether a verdict on this cell needs the same method on shuffled labels, and it is wanted."""
    wanted = isinstance(pool, OwnRows) if control is None else control
    aligner = aligner_of(config, registry)
    learns = "pairs" in takes(aligner) and aligner.name not in UNTAUGHT
    return wanted and learns and not config.shuffle_labels and isinstance(task, NeedsControl)
