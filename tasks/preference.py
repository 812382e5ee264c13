"""Preference accuracy on the held-out pairs of whatever pool a cell trains on.

The pairs are those of the pool's `eval` split; `--train-on` picks the pool. The readings of a pair are those of
`tasks.measures.preference`; a model that generates also answers every prompt itself, and its answer is held against the
pair's two (`tasks.measures.written`), and by a judge where one is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from harness.contracts import (
    Aligned,
    Capability,
    DividesInFolds,
    EvalContext,
    Generates,
    HarnessError,
    JudgeItem,
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
from tasks.judges.similarity import embed
from tasks.measures.judged import win_rates
from tasks.measures.preference import (
    GAINS,
    METRICS,
    Margin,
    accuracies,
    base_margins,
    base_of,
    controls,
    gains,
    margins,
)
from tasks.measures.written import WRITTEN, Embed, closer_to_chosen, greedy_answers

WIN_RATE = "win_rate"


class PreferenceTask:
    """Held-out pairs of the pool; does the model prefer the better answer?"""

    name: ClassVar[str] = "preference"
    paper: ClassVar[str] = ""
    licence: ClassVar[str] = "that of the pool"
    main_metric: ClassVar[str] = "pref_gain"
    metrics: ClassVar[Mapping[str, str]] = {
        **GAINS,
        **WRITTEN,
        WIN_RATE: "P(greedy answer better than the chosen one, or the --baseline's) by the judge, where one is named",
        **{name: meaning for name, meaning in METRICS.items() if name != "pref_ratio"},
    }
    relative_to_base: ClassVar[frozenset[str]] = frozenset(GAINS)
    judged_metric: ClassVar[str] = WIN_RATE
    null_by: ClassVar[Literal["shuffled"]] = "shuffled"
    default_pool: ClassVar[str] = "ultrafeedback"
    requires: ClassVar[frozenset[Capability]] = frozenset({"prefer"})
    accepts: ClassVar[frozenset[Capability]] = frozenset({"generate"})

    def __init__(self, pool: Pool | None = None, embed: Embed = embed) -> None:
        self._pool = pool
        self._embed = embed

    def for_pool(self, pool: Pool) -> PreferenceTask:
        """This task on another pool's held-out pairs."""
        return PreferenceTask(pool, self._embed)

    def revision(self, source: Source) -> str:
        """Hash of every held-out pair as rendered; the same for all folds of a pool that is read in folds."""
        pool: object = self._pool
        if isinstance(pool, DividesInFolds) and pool.folds:
            return content_hash([asdict(pair) for pair in pool.every(source)], "folds", pool.folds)
        return content_hash([asdict(pair) for pair in self._held_out(source)])

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """The user's turns of every evaluated pair, by pair id."""
        return {pair.id: asked(pair.prompt) for pair in self._held_out(source)[:limit]}

    def units(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """The cluster of every evaluated pair."""
        return {pair.id: pair.unit for pair in self._held_out(source)[:limit]}

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
        written = self._written(aligned, ctx, pairs) if isinstance(aligned, Generates) else _Written()
        rows = tuple(_row(p, m, base_of(m, base), written) for p, m in zip(pairs, found, strict=True))
        notes = {"chance": 0.5, "held_out_leaks": float(leaks), **controls(ctx.training_pairs, pairs)}
        return Scores(rows, {**notes, **written.notes})

    def _written(self, aligned: Generates, ctx: EvalContext, pairs: Sequence[Pair]) -> _Written:
        """The model's own answers, and what they score."""
        answers = greedy_answers(aligned, pairs, ctx.new_tokens)
        texts = [answer.text for answer in answers]
        values = {
            pair.id: {"pref_written": closer}
            for pair, closer in zip(pairs, closer_to_chosen(self._embed, pairs, texts), strict=True)
        }
        detail = {p.id: {"output": a.text, "finish": a.finish} for p, a in zip(pairs, answers, strict=True)}
        judged, notes = _judged(ctx, pairs, texts)
        for identity, p_a in judged.items():
            values[identity][WIN_RATE] = p_a
        return _Written(values, detail, notes)

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


@dataclass(frozen=True, slots=True)
class _Written:
    """What a model wrote: values and details by pair, and notes; empty where it cannot write."""

    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    detail: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Mapping[str, float] = field(default_factory=dict)


def _judged(
    ctx: EvalContext, pairs: Sequence[Pair], answers: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Win rates by pair, and what the judging cost; nothing without a judge."""
    if ctx.judge is None:
        return {}, {}
    items = [
        JudgeItem(pair.id, pair.prompt, answer, _opponent(ctx, pair), pair.chosen)
        for pair, answer in zip(pairs, answers, strict=True)
    ]
    return win_rates(ctx.judge, items)


def _opponent(ctx: EvalContext, pair: Pair) -> str:
    """The answer to be beaten: the chosen one, or the baseline's. Raises HarnessError where the baseline has none."""
    if ctx.baseline is None:
        return pair.chosen
    row = ctx.baseline.get(pair.id)
    if row is None or "output" not in row.detail:
        raise HarnessError(f"pair {pair.id!r} has no answer among the baseline's rows; score it on the same items")
    return str(row.detail["output"])


def _row(pair: Pair, margin: Margin, base: Margin | None, written: _Written) -> SampleRow:
    readings = {name: value for name, value in accuracies(margin, base).items() if name != "pref_ratio"}
    values = {**gains(margin, base), **readings, **written.values.get(pair.id, {})}
    detail = {
        "prompt": [asdict(message) for message in pair.prompt],
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "preferences": [margin.as_detail()],
        **written.detail.get(pair.id, {}),
    }
    return SampleRow(pair.id, pair.unit, values, detail)


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [PreferenceTask]
