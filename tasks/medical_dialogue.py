"""Patients' questions: does the model find the better answer the better one, and what does it answer itself?

The rows are those of `tasks.datasets.dialogues`. Held-out pairs give `expert_agreement`; the model's own answer is
compared with the physician's (or the best graded one), with another model's by a judge, and with the statements that it
should make.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from harness.contracts import (
    BASE,
    Aligned,
    Capability,
    Completion,
    EvalContext,
    GenerateRequest,
    Generates,
    HarnessError,
    JudgeItem,
    Message,
    Messages,
    Pair,
    Prefers,
    SampleRow,
    Scores,
    Source,
    Task,
    require,
)
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.datasets.dialogues import LAYOUTS, Dialogue, dialogues
from tasks.judges.similarity import embed
from tasks.measures.entailment import VERSION, Claim, Embed, Known, Measured, judge_of, measure, negated, remembering
from tasks.measures.judged import win_rates
from tasks.measures.preference import Margin, accuracies, base_margins, base_of, controls, margins

NEW_TOKENS = 256
"""Longest answer that is generated."""
ANSWERS: frozenset[Capability] = frozenset({"generate", "prefer"})
"""Either gives something to score."""
READINGS = {"pref": "expert_agreement", "pref_mean": "expert_agreement_mean", "pref_ratio": "expert_agreement_ratio"}
"""Metrics of `tasks.measures.preference` by their names here; `pref_sum` equals the first for a language model."""
STATEMENTS_ONLY = "k_qa"


class MedicalDialogue:
    """Patients' questions with graded answers; `medical_dialogue:FOLDER` takes one of the folders alone."""

    name: ClassVar[str] = "medical_dialogue"
    paper: ClassVar[str] = "2511.13007"
    licence: ClassVar[str] = "Apache-2.0 (shipped sample), CC BY 4.0 (LiveQA-Med), MIT (K-QA)"
    main_metric: ClassVar[str] = "expert_agreement"
    metrics: ClassVar[Mapping[str, str]] = {
        "expert_agreement": "share of pairs whose better answer is the better one by the model's own rule (ties 0.5)",
        "expert_agreement_mean": "the same, log-probability per token",
        "expert_agreement_ratio": "the same, log-probability less the base model's; 0.5 for the base model itself",
        "rouge_l": "ROUGE-L F1 of the generated answer and the physician's or best graded one; of several the highest",
        "similarity": "the same, cosine of sentence embeddings",
        "win_rate": "P(generated answer better than base's, or the --baseline's) by the judge; 0.5 for base itself",
        "must_have": "share of the statements that an answer must make which the generated one entails",
        "nice_to_have": "the same of the statements that it had better make",
        "contradiction": "share of all statements whose negation the generated answer entails; lower is better",
        "answer_tokens": "length of the generated answer in tokens",
        "answer_words": "length of the generated answer in words",
    }
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"contradiction"})
    relative_to_base: ClassVar[frozenset[str]] = frozenset({"expert_agreement_ratio", "win_rate"})
    graded_metrics: ClassVar[frozenset[str]] = frozenset({"rouge_l", "similarity", "must_have", "nice_to_have"})
    default_pool: ClassVar[str] = "medical_dialogue"
    default_judge: ClassVar[str] = "similarity"
    reference_baseline: ClassVar[str] = BASE
    requires: ClassVar[frozenset[Capability]] = frozenset()
    accepts: ClassVar[frozenset[Capability]] = frozenset({"generate", "prefer"})
    layout: ClassVar[str] = ""
    """The one folder that is read; every known one where empty."""

    def __init__(self, embed: Embed = embed) -> None:
        self._embed = embed

    @classmethod
    def named(cls, argument: str) -> type[MedicalDialogue]:
        """The task on one folder alone. Raises HarnessError for an unknown one."""
        if argument not in LAYOUTS:
            raise HarnessError(f"medical_dialogue has no folder {argument!r}; expected one of {', '.join(LAYOUTS)}")
        main = "similarity" if argument == STATEMENTS_ONLY else cls.main_metric
        return type(cls.__name__, (cls,), {"name": f"{cls.name}:{argument}", "layout": argument, "main_metric": main})

    def revision(self, source: Source) -> str:
        """Hash of every question with all that is known of answers to it, and of the version of the entailment test."""
        return content_hash([asdict(item) for item in self._items(source)], NEW_TOKENS, VERSION)

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """The patient's turns of the first `limit` questions."""
        return {item.id: item.question for item in self._items(source)[:limit]}

    def units(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """The question of every judged pair, where pairs give the main metric; elsewhere of every answer."""
        items = self._items(source)[:limit]
        if self.main_metric == MedicalDialogue.main_metric:
            return {f"pair:{pair.id}": pair.unit for item in items for pair in item.pairs}
        return {item.id: item.id for item in items}

    def prompts(self, source: Source, limit: int | None) -> Mapping[str, Messages]:
        """The first `limit` questions, each with the turns before it."""
        return {item.id: item.prompt for item in self._items(source)[:limit]}

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per pair of judged answers and one per generated answer; the question is the unit of both.

        A metric is absent where a row lacks what it needs. Raises HarnessError when the model can neither generate nor
        prefer, or when the base model's or the baseline's rows are of other questions.
        """
        require(aligned, *ANSWERS, by="medical_dialogue")
        everything = self._items(ctx.source)
        items = everything[: ctx.limit]
        pairs = [pair for item in items for pair in item.pairs] if isinstance(aligned, Prefers) else []
        preferred = _pair_rows(aligned, ctx, pairs) if isinstance(aligned, Prefers) else []
        notes = {"chance": 0.5, **_sizes(items), **(controls(ctx.training_pairs, pairs) if pairs else {})}
        if not isinstance(aligned, Generates):
            return Scores(tuple(preferred), notes)
        embed = remembering(self._embed)
        measured = _measured(embed, ctx, items, everything)
        answered = _generate(aligned, ctx, items)
        judged, judging = _win_rates(ctx, answered)
        figures: list[Mapping[str, Mapping[str, float]]] = [
            {item.id: _length(completion) for item, completion in answered},
            _rouge(answered),
            _similarity(embed, answered),
            judged,
            _coverage(measured, answered),
        ]
        rows = [_answer_row(ctx, item, completion, figures) for item, completion in answered]
        return Scores((*preferred, *rows), {**notes, **judging, **(measured.notes() if measured else {})})

    def _items(self, source: Source) -> list[Dialogue]:
        """Every evaluated question. Raises HarnessError when nothing gives the main metric."""
        found = dialogues(source, "eval", self.layout)
        if self.main_metric == MedicalDialogue.main_metric and not any(item.pairs for item in found):
            raise HarnessError(
                f"{self.name} has no two answers to one question that were judged differently in {source.describe()}; "
                f"statements alone are scored by --task medical_dialogue:{STATEMENTS_ONLY}"
            )
        return found


# ---------------------------------------------------------------- pairs


def _pair_rows(aligned: Prefers, ctx: EvalContext, pairs: Sequence[Pair]) -> list[SampleRow]:
    if not pairs:
        return []
    shown = [Pair(p.id, _shown(ctx, p.prompt), p.chosen, p.rejected, p.cluster) for p in pairs]
    base = base_margins(ctx.base)
    return [
        _pair_row(p, m, base_of(m, base)) for p, m in zip(shown, margins(aligned, shown, ctx.progress), strict=True)
    ]


def _pair_row(pair: Pair, margin: Margin, base: Margin | None) -> SampleRow:
    found = accuracies(margin, base)
    detail = {
        "prompt": [asdict(message) for message in pair.prompt],
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "preferences": [margin.as_detail()],
    }
    values = {name: found[reading] for reading, name in READINGS.items() if reading in found}
    return SampleRow(f"pair:{pair.id}", pair.unit, values, detail)


# ---------------------------------------------------------------- generated answers


@dataclass(frozen=True, slots=True)
class _Opponent:
    """Another model's answers by question, and who it is, for messages."""

    answers: Mapping[str, SampleRow]
    who: str

    def to(self, item: Dialogue) -> str:
        row = self.answers.get(item.id)
        if row is None or "output" not in row.detail:
            raise HarnessError(
                f"question {item.id!r} has no answer among {self.who}'s rows; score it on the same items"
            )
        return str(row.detail["output"])


Answered = Sequence[tuple[Dialogue, Completion]]
Figures = Mapping[str, Mapping[str, float]]
"""Values by metric, by question."""


def _shown(ctx: EvalContext, prompt: Messages) -> Messages:
    """The prompt, after the first `num_fewshot` of the cell's labelled pairs as turns."""
    demonstrations = ctx.demonstrations[: ctx.num_fewshot]
    before = [m for pair in demonstrations for m in (*_turns(pair.prompt), Message("assistant", pair.chosen))]
    return (*before, *prompt)


def _turns(prompt: Messages) -> Iterable[Message]:
    return (message for message in prompt if message.role != "system")


def _generate(aligned: Generates, ctx: EvalContext, items: Sequence[Dialogue]) -> Answered:
    requests = [GenerateRequest(_shown(ctx, item.prompt), NEW_TOKENS) for item in items]
    return [(item, completions[0]) for item, completions in zip(items, aligned.generate(requests), strict=True)]


def _length(completion: Completion) -> dict[str, float]:
    return {"answer_tokens": float(len(completion.ids)), "answer_words": float(len(completion.text.split()))}


def _rouge(answered: Answered) -> Figures:
    from rouge_score.rouge_scorer import RougeScorer

    scorer: Any = RougeScorer(["rougeL"], use_stemmer=True)
    return {
        item.id: {"rouge_l": float(scorer.score_multi(item.references, completion.text)["rougeL"].fmeasure)}
        for item, completion in answered
        if item.references
    }


def _similarity(embed: Embed, answered: Answered) -> Figures:
    """Of an empty answer 0, whatever its embedding."""
    compared = [(item, completion.text.strip()) for item, completion in answered if item.references]
    texts = list(dict.fromkeys(text for item, answer in compared for text in (answer, *item.references) if text))
    vectors = dict(zip(texts, embed(texts), strict=True)) if texts else {}
    return {
        item.id: {"similarity": max(float(vectors[answer] @ vectors[r]) for r in item.references) if answer else 0.0}
        for item, answer in compared
    }


def _win_rates(ctx: EvalContext, answered: Answered) -> tuple[Figures, dict[str, float]]:
    """(values, what the judging cost); an answer equal to the opponent's is a tie and not judged."""
    if ctx.judge is None:
        return {}, {}
    rows = ctx.base if ctx.baseline is None else ctx.baseline
    if rows is None:
        return {item.id: {"win_rate": 0.5} for item, _ in answered}, {}
    opponent = _Opponent(rows, "the base model" if ctx.baseline is None else "the baseline")
    items = [
        JudgeItem(item.id, item.prompt, answer.text, opponent.to(item), item.references[0] if item.references else None)
        for item, answer in answered
    ]
    found, notes = win_rates(ctx.judge, items)
    return {item: {"win_rate": p_a} for item, p_a in found.items()}, notes


def _measured(
    embed: Embed, ctx: EvalContext, items: Sequence[Dialogue], everything: Sequence[Dialogue]
) -> Measured | None:
    """The judge of entailment, measured on the whole split whatever the limit; None where it is not needed."""
    if not any(item.statements for item in items):
        return None
    known = [Known(item.id, item.references[0], item.statements) for item in everything if item.references]
    return measure(judge_of(ctx.judge, embed), known)


def _coverage(measured: Measured | None, answered: Answered) -> Figures:
    """Shares of statements entailed and contradicted, each only where the judge was measured to be above chance."""
    if measured is None or not measured.entailment.above_chance:
        return {}
    claims = {
        "must_have": [(item.id, (answer.text, s)) for item, answer in answered for s in item.must_have],
        "nice_to_have": [(item.id, (answer.text, s)) for item, answer in answered for s in item.nice_to_have],
    }
    if measured.tells_contradiction:
        denied = [(item.id, answer.text, negated(s)) for item, answer in answered for s in item.statements]
        claims["contradiction"] = [(item, (text, no)) for item, text, no in denied if no is not None]
    found: dict[str, dict[str, float]] = {}
    for metric, listed in claims.items():
        for item, share in _shares(measured, listed).items():
            found.setdefault(item, {})[metric] = share
    return found


def _shares(measured: Measured, listed: Sequence[tuple[str, Claim]]) -> dict[str, float]:
    """By question, the share of its claims that the judge finds entailed."""
    verdicts: dict[str, list[bool]] = {}
    for (item, _), verdict in zip(listed, measured.says([claim for _, claim in listed]), strict=True):
        verdicts.setdefault(item, []).append(verdict)
    return {item: sum(given) / len(given) for item, given in verdicts.items()}


def _answer_row(
    ctx: EvalContext, item: Dialogue, completion: Completion, figures: Sequence[Mapping[str, Mapping[str, float]]]
) -> SampleRow:
    values = {name: value for figure in figures for name, value in figure.get(item.id, {}).items()}
    detail = {
        "layout": item.layout,
        "prompt": [asdict(message) for message in _shown(ctx, item.prompt)],
        "output": completion.text,
        "finish": completion.finish,
        "reference": item.references[0] if item.references else None,
    }
    return SampleRow(item.id, item.id, values, detail)


def _sizes(items: Sequence[Dialogue]) -> dict[str, float]:
    return {f"items_{layout}": float(n) for layout in LAYOUTS if (n := sum(item.layout == layout for item in items))}


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [MedicalDialogue]
