"""What a budget buys: the pool read, leaks dropped, labels drawn and, for a control, shuffled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from harness.config import RunConfig
from harness.contracts import (
    Budget,
    DeclaresSpans,
    DividesInFolds,
    FewShot,
    HarnessError,
    Pair,
    Pool,
    Source,
    Task,
    settled,
)
from harness.data.draw import draw, drawable
from harness.data.leaks import find_leaks
from harness.data.left_out import Said, left_out
from harness.run.folds import within_folds
from harness.run.rows import left_out_held
from harness.util.hashes import content_hash


@dataclass(frozen=True)
class Labels:
    """What the budget buys from a pool, and what stays of the pool for shortcut classifiers."""

    few_shot: FewShot = field(default_factory=FewShot)
    training_pairs: tuple[Pair, ...] = ()
    dropped: tuple[str, ...] = ()
    """Ids of pool items that stand in the evaluation."""
    warnings: tuple[str, ...] = ()
    budget: Budget | None = None
    """The budget that `max` came to; None where the budget is what was asked for."""
    left_out: Said = field(default_factory=Said)
    """What the training rows do not give."""
    left_out_held: Said = field(default_factory=Said)
    """What the held-out rows do not give, where they are rows of their own."""


def draw_labels(
    config: RunConfig, task: Task, pool: Pool, needed: bool, *, from_pool: Source, from_task: Source
) -> Labels:
    """Drawn where something is trained or shown, or where groups are asked: the draw says which.

    A source with evaluation rows only still serves the base model. `from_pool` and `from_task` are two views of one
    source, so that what the pool reads and what the task reads can be told apart.
    """
    try:
        pairs = tuple(pool.pairs(from_pool))
    except HarnessError as error:
        if needed or config.num_fewshot:
            raise
        return Labels(warnings=(f"no training rows: {error}",))
    dropped = find_leaks(pool.questions(from_pool), task.questions(from_task, config.limit))
    leaked = set(dropped)
    kept = tuple(p for p in pairs if p.id not in leaked)
    budget = settled(config.budget, len(drawable(pairs, leaked)) or _most_ratings(pool, from_pool))
    if needed and isinstance(pool, DividesInFolds) and pool.folds:
        budget = within_folds(config, task, pool, from_pool)
    said = left_out(pool, from_pool, leaks=sum(pair.id in leaked for pair in pairs))
    held = left_out_held(pool, task, from_task)
    warnings = tuple(line for line in (said.warning, held.warning) if line)
    if not (needed or config.num_fewshot or (not pairs and pool.groups(from_pool))):
        return Labels(
            training_pairs=kept, dropped=dropped, warnings=warnings, budget=budget, left_out=said, left_out_held=held
        )
    drawn = draw(pool, from_pool, budget, config.draw_seed, excluded=dropped, split=config.groups)
    few_shot = _shuffled(drawn.few_shot, pool, config.draw_seed) if config.shuffle_labels else drawn.few_shot
    few_shot = replace(few_shot, spans=pool.spans if isinstance(pool, DeclaresSpans) else "marker")
    return Labels(few_shot, kept, dropped, (*warnings, *drawn.warnings), budget, said, held)


def _most_ratings(pool: Pool, source: Source) -> int:
    """Labels that the group with the most answers can give: half of them, as the draw leaves the others to predict."""
    return max((len(ratings) // 2 for ratings in pool.groups(source).values()), default=0)


def _shuffled(few_shot: FewShot, pool: Pool, seed: int) -> FewShot:
    """Half of the pairs, picked by hash, with their answers swapped: what can be learnt from no label at all."""
    if not few_shot.pairs:
        raise HarnessError(f"pool {pool.name!r} has no pairs whose labels could be shuffled; drop --shuffle-labels")
    if len(few_shot.pairs) < 2:
        raise HarnessError(
            "--shuffle-labels swaps the answers of half of the pairs, and there is 1; take --budget 2 or more"
        )
    order = sorted(few_shot.pairs, key=lambda pair: content_hash(seed, "shuffle", pair.id))
    swapped = {pair.id for pair in order[: len(order) // 2]}
    pairs = (replace(p, chosen=p.rejected, rejected=p.chosen) if p.id in swapped else p for p in few_shot.pairs)
    return replace(few_shot, pairs=tuple(pairs))
