"""Rows of the user's own, read as a cell's model and lengths allow, and told of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.config import RunConfig
from harness.contracts import FollowsPool, HarnessError, OwnRows, Pair, Pool, Reading, Source, Task
from harness.data.clipping import unfit
from harness.data.left_out import Said, left_out
from harness.models.control import control_tokens
from harness.models.tokenizer import kept_tokenizer
from harness.models.wheels import ModelFiles
from harness.run.folds import chosen_fold
from harness.run.lengths import Sized


def as_asked(
    pool: Pool, source: Source, config: RunConfig, files: ModelFiles, size: Callable[[Pool], Sized]
) -> tuple[Pool, Sized]:
    """The pool, its rows read as the user said, without the pairs that this model cannot learn from, and its lengths.

    `size` says the lengths of a pool as it is read. Raises HarnessError where the user says something of rows that are
    not theirs.
    """
    if not isinstance(pool, OwnRows):
        named = (("--columns", config.columns), ("--split-file", config.split_file), ("--folds", chosen_fold(config)))
        for option, value in named:
            if value:
                raise HarnessError(f"pool {pool.name!r} has columns and splits of its own; {option} is for pool pairs")
        return pool, size(pool)
    control = control_tokens(files.folder)
    split_file = None if config.split_file is None else str(config.split_file)
    how = Reading(config.columns, split_file, control.texts, chosen_fold(config))
    read = pool.reading(how)
    lengths = size(read)
    try:
        pairs = [*read.pairs(source), *_held_out(read, source)]
    except HarnessError:  # is raised again where the labels are drawn, if there are any to draw
        return read, lengths
    found = unfit(pairs, lengths.lengths.completion, lambda: kept_tokenizer(files), control.without_row)
    return pool.reading(replace(how, without={reason: ids for reason, ids in found.items() if ids})), lengths


def notes(pool: Pool, source: Source) -> Sequence[str]:
    """What a pool of the user's own rows says of them; nothing where it cannot be read."""
    try:
        return pool.notes(source) if isinstance(pool, OwnRows) else ()
    except HarnessError:
        return ()


def left_out_held(pool: Pool, task: Task, source: Source) -> Said:
    """What the held-out rows do not give: of a task that is scored on them, where they are no part of one file."""
    if not isinstance(task, FollowsPool) or source.kind == "file":
        return Said()
    try:
        return left_out(pool, source, "eval")
    except HarnessError:
        return Said()


def _held_out(pool: Pool, source: Source) -> Sequence[Pair]:
    try:
        return pool.pairs(source, "eval")
    except HarnessError:
        return ()
