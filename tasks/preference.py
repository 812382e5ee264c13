"""Preference accuracy on the held-out pairs of whatever pool a cell trains on.

The pairs are those of the pool's `eval` split; `--train-on` picks the pool. The readings of a pair are those of
`tasks.measures.preference`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import ClassVar

from harness.contracts import (
    Aligned,
    Capability,
    EvalContext,
    HarnessError,
    Pair,
    Pool,
    SampleRow,
    Scores,
    Source,
    Task,
    able_to,
)
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from harness.util.words import comparable
from tasks.datasets.pairs import ULTRAFEEDBACK, asked, read_pairs
from tasks.measures.preference import METRICS, Margin, accuracies, base_margins, base_of, controls, margins


class PreferenceTask:
    """Held-out pairs; the model says which answer is the better one."""

    name: ClassVar[str] = "preference"
    paper: ClassVar[str] = ""
    licence: ClassVar[str] = "that of the pool"
    main_metric: ClassVar[str] = "pref"
    metrics: ClassVar[Mapping[str, str]] = METRICS
    default_pool: ClassVar[str] = "ultrafeedback"
    requires: ClassVar[frozenset[Capability]] = frozenset({"prefer"})
    accepts: ClassVar[frozenset[Capability]] = frozenset()

    def __init__(self, pool: Pool | None = None) -> None:
        self._pool = pool

    def for_pool(self, pool: Pool) -> PreferenceTask:
        """This task on another pool's held-out pairs."""
        return PreferenceTask(pool)

    def revision(self, source: Source) -> str:
        """Hash of every held-out pair as rendered."""
        return content_hash([asdict(pair) for pair in self._held_out(source)])

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """The user's turns of every evaluated pair, by pair id."""
        return {pair.id: asked(pair.prompt) for pair in self._held_out(source)[:limit]}

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per held-out pair, the first `limit` of them; its cluster is the unit.

        A held-out pair whose question a training pair has too is left out and counted in note `held_out_leaks`; there
        is none where the leak gate knew this pool. Raises HarnessError when the pool has no held-out pair.
        """
        held_out = list(ctx.pool.pairs(ctx.source, "eval")) if ctx.pool else self._held_out(ctx.source)
        pairs, leaks = _apart(held_out, ctx.training_pairs)
        pairs = pairs[: ctx.limit]
        if not pairs:
            name = ctx.pool.name if ctx.pool else self.default_pool
            raise HarnessError(f"pool {name!r} has no held-out pairs; expected at least one in its split 'eval'")
        base = base_margins(ctx.base)
        found = margins(able_to("prefer", aligned, by=self.name), pairs, ctx.progress)
        rows = tuple(_row(p, m, base_of(m, base)) for p, m in zip(pairs, found, strict=True))
        return Scores(rows, {"chance": 0.5, "held_out_leaks": float(leaks), **controls(ctx.training_pairs, pairs)})

    def _held_out(self, source: Source) -> list[Pair]:
        """Held-out pairs of the pool that the task was told of, else of UltraFeedback."""
        if self._pool is not None:
            return list(self._pool.pairs(source, "eval"))
        return list(read_pairs(source.rows(ULTRAFEEDBACK, "eval"), "ultrafeedback eval").pairs)


def _apart(held_out: Sequence[Pair], training: Sequence[Pair]) -> tuple[list[Pair], int]:
    """(held-out pairs whose question no training pair has, how many were left out)."""
    known = {comparable(asked(pair.prompt)) for pair in training}
    kept = [pair for pair in held_out if comparable(asked(pair.prompt)) not in known]
    return kept, len(held_out) - len(kept)


def _row(pair: Pair, margin: Margin, base: Margin | None) -> SampleRow:
    detail = {
        "prompt": [asdict(message) for message in pair.prompt],
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "preferences": [margin.as_detail()],
    }
    return SampleRow(pair.id, pair.unit, accuracies(margin, base), detail)


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [PreferenceTask]
