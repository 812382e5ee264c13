"""Folds of a user's own pairs: which one a cell holds out, and how many labels all of them can have."""

from __future__ import annotations

from harness.config import RunConfig
from harness.contracts import Budget, DividesInFolds, FollowsPool, HarnessError, Source, Task, settled
from harness.data.draw import drawable
from harness.data.leaks import find_leaks


def chosen_fold(config: RunConfig) -> tuple[int, int] | None:
    """(index, number) of the fold that a cell holds out; None where the pairs are divided once.

    Raises HarnessError where there are folds and none is chosen, or one that is not there.
    """
    of, index = config.folds or 1, config.fold
    if of == 1 and index is None:
        return None
    if index is None:
        raise HarnessError(
            f"with {of} folds, a cell must say which fold it holds out: fold, a number from 0 to {of - 1}"
        )
    if index >= of or of == 1:
        raise HarnessError(f"there is no fold {index} of {of}; with folds N, fold is a number from 0 to N - 1")
    return index, of


def within_folds(config: RunConfig, task: Task, pool: DividesInFolds, source: Source) -> Budget:
    """The budget that every fold can have: of `max`, as many labels as the smallest of them.

    Raises HarnessError where a number of labels was asked for that not every fold has.
    """
    least = min(_offered(config, task, pool, fold, source) for fold in range(pool.folds or 0))
    budget = settled(config.budget, least)
    if budget.labels > least:
        raise HarnessError(
            f"the smallest of {pool.folds} folds has {least} pairs to learn from, {budget.labels} labels were asked "
            f"for; use --budget {least}, a smaller number, or max"
        )
    return budget


def _offered(config: RunConfig, task: Task, pool: DividesInFolds, fold: int, source: Source) -> int:
    """Pairs that one fold leaves to learn from, once the leak gate has looked."""
    other = pool.holding_out(fold)
    scored = task.for_pool(other) if isinstance(task, FollowsPool) else task
    leaked = find_leaks(other.questions(source), scored.questions(source, config.limit))
    return len(drawable(other.pairs(source), leaked))
