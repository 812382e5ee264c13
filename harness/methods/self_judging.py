"""Judges that are made of the policy itself: its likelihoods against a reference's, and the model asked in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from harness.contracts import BASE, Bench, Completion, HarnessError, JudgeItem, Message, Messages
from harness.util.maths import logit, sigmoid

VERDICTS = "verdicts had"
"""Name of the sum of a registered judge's verdicts."""
COMPARE = (
    "{question}\n\nTwo answers were given.\n\nAnswer A: {a}\n\nAnswer B: {b}\n\n"
    "Which answer is better? Reply with A or B only."
)


@dataclass(frozen=True, slots=True)
class Reign:
    """Adapters by their part: the policy that labels, and the one before it."""

    current: str
    before: str


@dataclass(frozen=True, slots=True)
class Duel:
    """Two answers to a prompt: samples, or a labelled pair's texts with the chosen one first."""

    prompt: Messages
    a: str | Completion
    b: str | Completion


Odds = Sequence[float | None]
Rule = Callable[[Bench, Reign, float, Sequence[Duel]], Odds]
"""A judge: from (bench, reign, beta, duels) to the log-odds that each duel's `a` is better; None: no verdict."""


def implicit(bench: Bench, reign: Reign, beta: float, duels: Sequence[Duel]) -> Odds:
    """The reward that DPO implies against the initial model (arXiv 2406.04412, Eq. 7)."""
    return _log_odds(totals(bench, duels, reign.current), totals(bench, duels, BASE), beta)


def previous(bench: Bench, reign: Reign, beta: float, duels: Sequence[Duel]) -> Odds:
    """The same against the policy before."""
    return _log_odds(totals(bench, duels, reign.current), totals(bench, duels, reign.before), beta)


def unreferenced(bench: Bench, reign: Reign, beta: float, duels: Sequence[Duel]) -> Odds:
    """Without a reference: the more likely answer wins."""
    return _log_odds(totals(bench, duels, reign.current), [(0.0, 0.0)] * len(duels), beta)


def asked(bench: Bench, reign: Reign, beta: float, duels: Sequence[Duel]) -> Odds:
    """The model itself is asked which answer is better, in both orders; beta plays no part."""
    shown = [(i, first, second) for i in duels for first, second in ((i.a, i.b), (i.b, i.a))]
    letters = [_letter(bench, "A"), _letter(bench, "B")]
    prompts = [comparison(i.prompt, _text(first), _text(second)) for i, first, second in shown]
    scores = bench.score(prompts, [letters] * len(prompts), of=reign.current)
    odds = [first.total - second.total for first, second in scores]
    return [logit((sigmoid(x) + sigmoid(-y)) / 2) for x, y in zip(odds[::2], odds[1::2], strict=True)]


JUDGES: Mapping[str, Rule] = MappingProxyType(
    {"implicit": implicit, "previous": previous, "none": unreferenced, "llm": asked}
)


def judged(bench: Bench, judge: str, reign: Reign, beta: float, duels: Sequence[Duel]) -> Odds:
    """What the judge of that name says: one of `JUDGES`, or a registered one, which knows neither policy nor beta."""
    if judge in JUDGES:
        return JUDGES[judge](bench, reign, beta, duels)
    items = [JudgeItem(str(i), duel.prompt, _text(duel.a), _text(duel.b)) for i, duel in enumerate(duels)]
    verdicts = bench.judge(judge, items)
    failed = next((v.status for v in verdicts if v.status != "ok"), None)
    ever = bench.tally(**{VERDICTS: float(sum(v.status == "ok" for v in verdicts))})[VERDICTS]
    if failed is not None and not ever:
        raise HarnessError(f"judge {judge!r} gave no verdict on any of {len(duels)} pairs of answers: {failed}")
    return [logit(v.p_a) if v.status == "ok" else None for v in verdicts]


def totals(bench: Bench, duels: Sequence[Duel], of: str) -> list[tuple[float, float]]:
    """Summed log-probability (nats) of both answers of each duel under one policy."""
    scores = bench.score([i.prompt for i in duels], [(i.a, i.b) for i in duels], of=of)
    return [(a.total, b.total) for a, b in scores]


def _log_odds(policy: Sequence[tuple[float, float]], reference: Sequence[tuple[float, float]], beta: float) -> Odds:
    return [beta * ((a - c) - (b - d)) for (a, b), (c, d) in zip(policy, reference, strict=True)]


def comparison(prompt: Messages, a: str, b: str) -> Messages:
    """The prompt that asks which of two answers is better."""
    text = COMPARE.format(question=prompt[-1].content, a=a, b=b)
    return (*prompt[:-1], Message(prompt[-1].role, text))


def _letter(bench: Bench, letter: str) -> Completion:
    """A letter as an open answer, so that no end of turn is counted."""
    return Completion(letter, tuple(bench.tokenizer(letter, add_special_tokens=False)["input_ids"]), "length")


def _text(answer: str | Completion) -> str:
    return answer if isinstance(answer, str) else answer.text
