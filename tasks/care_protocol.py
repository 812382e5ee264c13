"""A clinic's house rules, taught by examples: does a model keep them in answers to patients it has not seen?

Answers are greedy and checked by code (`tasks.datasets.care_rules`). The form can be learned from a few examples; the
level of urgency takes reading the question and grows with labels. Held-out pairs are scored as well, as in
`tasks.measures.preference`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from harness.contracts import (
    Aligned,
    Capability,
    Completion,
    EvalContext,
    GenerateRequest,
    Generates,
    Message,
    Messages,
    Pair,
    Prefers,
    SampleRow,
    Scores,
    Source,
    Task,
    Whole,
    able_to,
)
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from harness.util.words import normalise
from tasks.datasets.care_protocol import LICENCE, Case, cases, pairs_of
from tasks.datasets.care_rules import VERSION, check, count_words, level_of, share
from tasks.judges.similarity import embed
from tasks.measures.preference import METRICS as PREFERENCE
from tasks.measures.preference import RELATIVE, Margin, accuracies, base_margins, base_of, controls, margins

if TYPE_CHECKING:
    from harness.contracts import FloatArray

NEW_TOKENS = 160
"""Longest answer that is generated; the reference answers end well before it."""
WIDTH = 1.96
"""Standard errors from a figure to the end of its 95 % interval."""

Embed = Callable[[Sequence[str]], "FloatArray"]
Answered = Sequence[tuple[Case, Completion]]


class CareProtocol:
    """A clinic's house rules for answers to patients: code checks greedy answers to unseen questions."""

    name: ClassVar[str] = "care_protocol"
    paper: ClassVar[str] = ""
    licence: ClassVar[str] = LICENCE
    main_metric: ClassVar[str] = "adherence"
    metrics: ClassVar[Mapping[str, str]] = {
        "adherence": "mean share of the six house rules that the generated answer keeps",
        "urgency_acc": "share of answers whose first line names the right one of the four levels",
        "all_rules": "share of answers that keep all six rules",
        "urgency_named": "share of answers whose first line names one of the four levels",
        "watch_list": 'share of answers with one list "What to watch for" of two to four different items',
        "no_dose": "share of answers without a dose of a medicine",
        "within_length": "share of answers of at most 90 words",
        "second_person": "share of answers that speak to the reader as you, and neither of the patient nor as I",
        "closing_question": "share of answers whose last line is a question to the reader",
        "closeness": "cosine of sentence embeddings of the generated and the reference answer; 0 for an empty answer",
        "distinct_2": "different pairs of neighbouring words among all such pairs of all answers; low after collapse",
        "same_level": "share of named levels that are the commonest one; lower is better, 0.25 where all are as common",
        "answer_tokens": "length of the generated answer in tokens",
        "answer_words": "length of the generated answer in words",
        "truncated": "share of answers that were cut off at the token limit; lower is better",
        **PREFERENCE,
    }
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"same_level", "truncated"})
    relative_to_base: ClassVar[frozenset[str]] = RELATIVE
    graded_metrics: ClassVar[frozenset[str]] = frozenset({"adherence", "closeness"})
    default_pool: ClassVar[str] = "care_protocol"
    requires: ClassVar[frozenset[Capability]] = frozenset({"generate"})
    accepts: ClassVar[frozenset[Capability]] = frozenset({"prefer"})

    def __init__(self, embed: Embed = embed) -> None:
        self._embed = embed

    def revision(self, source: Source) -> str:
        """Hash of every evaluated row, of the token limit and of the version of the rules."""
        return content_hash([asdict(case) for case in cases(source, "eval")], NEW_TOKENS, VERSION)

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """The first `limit` evaluated questions by id."""
        return {case.id: case.question for case in cases(source, "eval")[:limit]}

    def units(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """The scenario of every evaluated question, which others ask about too."""
        return {case.id: case.scenario for case in cases(source, "eval")[:limit]}

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per generated answer and, where the model can prefer, one per held-out pair.

        Raises HarnessError when the base model's rows are of other pairs.
        """
        found = cases(ctx.source, "eval")[: ctx.limit]
        answered = _generate(able_to("generate", aligned, by=self.name), ctx, found)
        near = _closeness(self._embed, answered)
        rows = [_answer_row(ctx, case, completion, near[case.id]) for case, completion in answered]
        notes: dict[str, float] = {}
        if isinstance(aligned, Prefers):
            pairs = pairs_of(found, "eval")
            rows += _pair_rows(aligned, ctx, pairs)
            notes = controls(ctx.training_pairs, pairs)
        return Scores(tuple(rows), notes, _whole(answered))


# ---------------------------------------------------------------- generated answers


def _shown(ctx: EvalContext, prompt: Messages) -> Messages:
    """The prompt, after the first `num_fewshot` of the cell's labelled pairs as turns."""
    shown = ctx.demonstrations[: ctx.num_fewshot]
    before = [m for pair in shown for m in (*pair.prompt, Message("assistant", pair.chosen))]
    return (*before, *prompt)


def _generate(aligned: Generates, ctx: EvalContext, found: Sequence[Case]) -> Answered:
    requests = [GenerateRequest(_shown(ctx, case.prompt), NEW_TOKENS) for case in found]
    return [(case, completions[0]) for case, completions in zip(found, aligned.generate(requests), strict=True)]


def _closeness(embed: Embed, answered: Answered) -> dict[str, float]:
    """Closeness by question; an empty answer has 0, whatever its embedding."""
    texts = [text for case, completion in answered for text in (completion.text.strip(), case.chosen) if text]
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    vectors: Any = embed(list(places)) if places else []
    return {
        case.id: float(vectors[places[text]] @ vectors[places[case.chosen]])
        if (text := completion.text.strip())
        else 0.0
        for case, completion in answered
    }


def _answer_row(ctx: EvalContext, case: Case, completion: Completion, closeness: float) -> SampleRow:
    kept = check(completion.text)
    named = level_of(completion.text)
    values = {
        "adherence": share(list(kept.values())),
        "urgency_acc": float(named == case.level),
        "all_rules": float(all(kept.values())),
        **{rule: float(holds) for rule, holds in kept.items()},
        "closeness": closeness,
        "answer_tokens": float(len(completion.ids)),
        "answer_words": float(count_words(completion.text)),
        "truncated": float(completion.finish == "length"),
    }
    detail = {
        "prompt": [asdict(message) for message in _shown(ctx, case.prompt)],
        "output": completion.text,
        "finish": completion.finish,
        "level": case.level,
        "named": named,
        "reference": case.chosen,
    }
    return SampleRow(case.id, case.scenario, values, detail)


# ---------------------------------------------------------------- guards against collapse, over all answers


def _whole(answered: Answered) -> dict[str, Whole]:
    """Figures that no single answer has: one answer given to everybody may be fine each time it is read."""
    by_scenario: dict[str, list[str]] = {}
    for case, completion in answered:
        by_scenario.setdefault(case.scenario, []).append(completion.text)
    bigrams = [Counter(pair for text in texts for pair in _bigrams(text)) for texts in by_scenario.values()]
    levels = [Counter(level for text in texts if (level := level_of(text))) for texts in by_scenario.values()]
    return {"distinct_2": _jackknifed(bigrams, _distinct), "same_level": _jackknifed(levels, _most_common)}


def _bigrams(text: str) -> list[tuple[str, str]]:
    words = normalise(text).split()
    return list(pairwise(words))


def _distinct(counts: Counter[Any]) -> float:
    """Different things among all that were counted; 0 where there is none."""
    return len(counts) / counts.total() if counts else 0.0


def _most_common(counts: Counter[Any]) -> float:
    """The share of what occurs most often; 1 where nothing was counted, as after a collapse."""
    return counts.most_common(1)[0][1] / counts.total() if counts else 1.0


def _jackknifed(units: Sequence[Counter[Any]], figure: Callable[[Counter[Any]], float]) -> Whole:
    """The figure of all units together, with an interval from leaving out one unit at a time.

    A bootstrap would draw units twice, and repetition is just what these figures measure.
    """
    together: Counter[Any] = Counter()
    for unit in units:
        together.update(unit)
    value, n = figure(together), len(units)
    if n < 2:
        return Whole(value, None, n)
    left = [figure(together - unit) for unit in units]
    middle = sum(left) / n
    error = ((n - 1) / n * sum((each - middle) ** 2 for each in left)) ** 0.5
    return Whole(value, (max(0.0, value - WIDTH * error), min(1.0, value + WIDTH * error)), n)


# ---------------------------------------------------------------- held-out pairs


def _pair_rows(aligned: Prefers, ctx: EvalContext, pairs: Sequence[Pair]) -> list[SampleRow]:
    base = base_margins(ctx.base)
    found = margins(aligned, pairs, ctx.progress)
    return [_pair_row(pair, margin, base_of(margin, base)) for pair, margin in zip(pairs, found, strict=True)]


def _pair_row(pair: Pair, margin: Margin, base: Margin | None) -> SampleRow:
    detail = {
        "prompt": [asdict(message) for message in pair.prompt],
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "preferences": [margin.as_detail()],
    }
    return SampleRow(f"pair:{pair.id}", pair.unit, accuracies(margin, base), detail)


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [CareProtocol]
