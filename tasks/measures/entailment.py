"""Does an answer say what a statement says? Judges of that, and how often they are right where the data know.

A judge is a function of claims (premise, hypothesis) that returns P(premise entails hypothesis) for each. Before
anything is counted by it, it is measured on claims that questions with physicians' answers give by themselves, half of
them

    entailed        (the question's own answer, one of its statements)
    not entailed    (another question's answer, the same statement)

The threshold is the one that serves best on half of the questions; agreement is measured on the other half, and its
95 % interval resamples questions. Contradiction is the entailment of the negated statement, by the same threshold:
there the measure is whether the judge tells a statement from its negation (by rule, `negated`), own answer given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from harness.contracts import ChooseRequest, LanguageModel, user
from harness.util.hashes import content_hash
from tasks.datasets.graded import in_turn

if TYPE_CHECKING:
    from harness.contracts import FloatArray

VERSION = "1"
"""Raise it when a change here alters a score: it is part of the task's revision."""
CHANCE = 0.5
MOST = 100
"""Most statements of each half that are measured on: a language model reads every one of them twice or more."""
ANSWERS = ("yes", "no")
QUESTION = "Text:\n{premise}\n\nStatement: {hypothesis}\n\nDoes the text say what the statement says? Answer yes or no."

Claim = tuple[str, str]
"""Premise, hypothesis."""
Entails = Callable[[Sequence[Claim]], list[float]]
"""P(premise entails hypothesis), in [0, 1], of every claim."""
Embed = Callable[[Sequence[str]], "FloatArray"]
"""Unit vectors, shape (N, D)."""


@runtime_checkable
class ReadsClaims(Protocol):
    """What a judge adds when it can say whether a text entails a statement."""

    def entails(self, claims: Sequence[Claim]) -> list[float]:
        """P(premise entails hypothesis), in [0, 1], of every claim."""
        ...


@runtime_checkable
class HasModel(Protocol):
    """What a judge adds when a language model of ours is behind it."""

    def language_model(self) -> LanguageModel:
        """The model that judges."""
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """A question of which the data know an answer and statements that it entails."""

    id: str
    answer: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Share of claims that a judge gets right, the lower end of its 95 % interval over questions, number of claims."""

    mean: float
    low: float
    n: int

    @property
    def above_chance(self) -> bool:
        """Whether the interval lies above one half."""
        return self.low > CHANCE

    def notes(self, name: str) -> dict[str, float]:
        """Figures for a task's notes."""
        return {f"{name}_agreement": self.mean, f"{name}_agreement_low": self.low, f"{name}_agreement_n": float(self.n)}


@dataclass(frozen=True, slots=True)
class Measured:
    """A judge with its threshold and what its verdicts are worth; `negation` None where no statement can be negated."""

    entails: Entails
    threshold: float
    entailment: Agreement
    negation: Agreement | None

    @property
    def tells_contradiction(self) -> bool:
        """Whether it tells a statement from its negation, and entailment from absence, more often than chance."""
        return self.entailment.above_chance and self.negation is not None and self.negation.above_chance

    def says(self, claims: Sequence[Claim]) -> list[bool]:
        """Its verdict on every claim."""
        return [p >= self.threshold for p in self.entails(claims)]

    def notes(self) -> dict[str, float]:
        """Figures for a task's notes."""
        negation = {} if self.negation is None else self.negation.notes("contradiction")
        return {"entailment_threshold": self.threshold, **self.entailment.notes("entailment"), **negation}


# ---------------------------------------------------------------- judges


def remembering(embed: Embed) -> Embed:
    """The same, each text computed once: measuring a judge and using it ask about the same sentences."""
    import numpy as np

    known: dict[str, FloatArray] = {}

    def remembered(texts: Sequence[str]) -> FloatArray:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, embed(new), strict=True))
        return np.stack([known[text] for text in texts])

    return remembered


def by_similarity(embed: Embed) -> Entails:
    """The cosine of a statement and its nearest sentence of the premise, cut at 0: what both are about, no more."""

    def entails(claims: Sequence[Claim]) -> list[float]:
        parts = {premise: sentences(premise) for premise, _ in claims}
        texts = list(dict.fromkeys([s for found in parts.values() for s in found] + [h for _, h in claims]))
        if not texts:
            return [0.0 for _ in claims]
        vectors = dict(zip(texts, embed(texts), strict=True))
        return [
            max((min(1.0, max(0.0, float(vectors[s] @ vectors[h]))) for s in parts[premise]), default=0.0)
            for premise, h in claims
        ]

    return entails


def by_model(model: LanguageModel) -> Entails:
    """P(yes) against P(no) of a language model that is shown the text and asked."""

    def entails(claims: Sequence[Claim]) -> list[float]:
        prompts = [user(QUESTION.format(premise=premise, hypothesis=hypothesis)) for premise, hypothesis in claims]
        chosen = model.choose([ChooseRequest(prompt, ANSWERS, ANSWERS) for prompt in prompts])
        return [math.exp(yes) for yes, _ in chosen]

    return entails


def judge_of(judge: object, embed: Embed) -> Entails:
    """The judge's own reading, else its language model's, else sentence embeddings."""
    if isinstance(judge, ReadsClaims):
        return judge.entails
    if isinstance(judge, HasModel):
        return by_model(judge.language_model())
    return by_similarity(embed)


def sentences(text: str) -> list[str]:
    """A text cut after full stops, question and exclamation marks, and at line ends."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]


# ---------------------------------------------------------------- measuring


def measure(entails: Entails, known: Iterable[Known]) -> Measured | None:
    """The judge's threshold and agreement; None with fewer than two questions to set it on and two to measure it on."""
    usable = sorted((k for k in known if k.answer and k.statements), key=lambda k: content_hash("half", k.id))
    calibration, held_out = usable[::2], usable[1::2]
    if min(len(calibration), len(held_out)) < 2:
        return None
    own, other = _claims(calibration)
    threshold = _threshold(entails([c for _, c in own]), entails([c for _, c in other]))
    own, other = _claims(held_out)
    entailed, absent = _verdicts(entails, own, threshold), _verdicts(entails, other, threshold)
    negations = {claim: no for _, claim in own if (no := negated(claim[1])) is not None}
    return Measured(
        entails,
        threshold,
        _agreement(own, [*entailed, *(not v for v in absent)]),
        _negation(entails, threshold, own, entailed, negations),
    )


def _claims(known: Sequence[Known]) -> tuple[list[tuple[str, Claim]], list[tuple[str, Claim]]]:
    """(statements with their own answer, the same ones with the next question's), each under its question's id."""
    listed = [
        [
            (k.id, (k.answer, statement), (known[(place + 1) % len(known)].answer, statement))
            for statement in k.statements
        ]
        for place, k in enumerate(known)
    ]
    taken = in_turn(listed)[:MOST]
    return [(unit, own) for unit, own, _ in taken], [(unit, other) for unit, _, other in taken]


def _verdicts(entails: Entails, claims: Sequence[tuple[str, Claim]], threshold: float) -> list[bool]:
    return [p >= threshold for p in entails([claim for _, claim in claims])]


def _threshold(entailed: Sequence[float], absent: Sequence[float]) -> float:
    """The cut that is right most often; of equally good ones the middle one."""
    scores = sorted({*entailed, *absent})
    cuts = [scores[0], *((a + b) / 2 for a, b in pairwise(scores))]
    right = [sum(p >= cut for p in entailed) + sum(p < cut for p in absent) for cut in cuts]
    best = [cut for cut, count in zip(cuts, right, strict=True) if count == max(right)]
    return best[len(best) // 2]


def _agreement(claims: Sequence[tuple[str, Claim]], right: Sequence[bool]) -> Agreement:
    """`right` holds two verdicts on every claim, all first ones before all second ones."""
    from harness.stats import mean_interval  # numpy: `list` must not wait for it

    units = [unit for unit, _ in claims]
    found = mean_interval([float(verdict) for verdict in right], units * 2)
    return Agreement(found.mean, 0.0 if found.ci95 is None else found.ci95[0], len(right))


def _negation(
    entails: Entails,
    threshold: float,
    own: Sequence[tuple[str, Claim]],
    entailed: Sequence[bool],
    negations: Mapping[Claim, str],
) -> Agreement | None:
    """How often a statement is found entailed and its negation not, by the answer that entails it."""
    kept = [(unit, claim, verdict) for (unit, claim), verdict in zip(own, entailed, strict=True) if claim in negations]
    if not kept:
        return None
    opposite = [(unit, (claim[0], negations[claim])) for unit, claim, _ in kept]
    denied = _verdicts(entails, opposite, threshold)
    return _agreement(opposite, [*(verdict for _, _, verdict in kept), *(not verdict for verdict in denied)])


# ---------------------------------------------------------------- negation by rule

_NOT = re.compile(
    r"\b(?:(can)(?:not|'t)|(is|are|was|were|should|must|will|does|do|did|could)(?:n't| not))\b", re.IGNORECASE
)
_CAN = re.compile(r"\b(?:can|may|might)\b(?! not)", re.IGNORECASE)
_PLAIN = re.compile(r"(?<!that )(?<!which )(?<!who )\b(is|are|was|were|should|must|will|could)\b", re.IGNORECASE)


def negated(statement: str) -> str | None:
    """The statement with its first auxiliary denied or, where one is denied, affirmed; None where it has none."""
    if _NOT.search(statement):
        return _NOT.sub(lambda found: found.group(1) or found.group(2), statement, count=1)
    plain, can = _PLAIN.search(statement), _CAN.search(statement)
    if plain and not (can and can.start() < plain.start()):
        return f"{statement[: plain.end()]} not{statement[plain.end() :]}"
    return f"{statement[: can.start()]}cannot{statement[can.end() :]}" if can else None
