"""Multiple choice scored as it was trained: closing lines under the study's own chat prompt, whatever their letters.

A model that was trained on conversations which end in "Final Answer: C. Lorazepam" is asked in the same form: the
options' closing lines are scored, summed over their tokens, and a softmax over the options alone makes their shares, so
that learning the form is no skill. A small model likes one letter whatever stands behind it. So the list of options is
turned until each option has stood under each letter, and the shares are averaged over these turns (Liu et al. 2023,
MMBench, arXiv:2307.06281, ask in the same circle).

The turns of a question share its beginning, and the lines of a turn its whole prompt: each is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.contracts import Aligned, ChooseRequest, Chooses, Preference, PreferRequest, Prefers
from tasks.datasets.closing import LETTERS, Closed

METRICS: Mapping[str, str] = {
    "p_gold": "the gold option's share of the probability of all closing lines, averaged over turns of the letters",
    "acc_cyclic": "share of questions whose gold option has the largest share, averaged over turns of the letters",
}

Shares = tuple[float, ...]
"""Of each option, summing to 1."""


def shares(aligned: Aligned, questions: Sequence[Closed]) -> list[Shares] | None:
    """Each question's options' shares, averaged over turns; None for a model that ranks no closing lines.

    A language model is asked for log-probabilities, a method that ranks answers by a rule of its own for its choice.
    """
    turns = [(question, turn) for question in questions for turn in range(question.rotations())]
    found = _by_likelihood(aligned, turns) if isinstance(aligned, Prefers) else None
    if found is None and isinstance(aligned, Chooses):
        found = _by_choice(aligned, turns)
    if found is None:
        return None
    rest = iter(found)
    return [_mean([next(rest) for _ in range(question.rotations())]) for question in questions]


def figures(share: Shares, gold: int) -> dict[str, float]:
    """The metrics of one question. Options that share the first place share the point."""
    best = max(share)
    winners = [place for place, value in enumerate(share) if math.isclose(value, best, rel_tol=1e-9)]
    return {"p_gold": share[gold], "acc_cyclic": 1 / len(winners) if gold in winners else 0.0}


def _by_likelihood(aligned: Prefers, turns: Sequence[tuple[Closed, int]]) -> list[Shares] | None:
    """Softmax of summed log-probabilities, or None where the model's rule is no likelihood."""
    asked = [_couples(question, turn) for question, turn in turns]
    flat = aligned.prefer([request for requests in asked for request in requests])
    answers, out = iter(flat), []
    for (question, _), requests in zip(turns, asked, strict=True):
        sums = _sums([next(answers) for _ in requests], len(question.options))
        if sums is None:
            return None
        out.append(_softmax(sums))
    return out


def _couples(question: Closed, turn: int) -> list[PreferRequest]:
    """Closing lines two by two; with an odd number the first stands in the last couple again, and is scored once."""
    prompt, lines = question.prompt(turn), question.closings(turn)
    even = (*lines, lines[0]) if len(lines) % 2 else lines
    return [PreferRequest(prompt, a, b) for a, b in zip(even[::2], even[1::2], strict=True)]


def _sums(couples: Sequence[Preference], options: int) -> list[float] | None:
    sums = [side[0] for couple in couples for side in (couple.a, couple.b) if side is not None]
    return sums[:options] if len(sums) == 2 * len(couples) else None


def _by_choice(aligned: Chooses, turns: Sequence[tuple[Closed, int]]) -> list[Shares]:
    """The model's own choice among the options, read in the order of `Closed.options`."""
    requests = []
    for question, turn in turns:
        count = len(question.options)
        dealt = [question.options[(place + turn) % count] for place in range(count)]
        labels = LETTERS[:count] if question.lettered else tuple(dealt)
        requests.append(ChooseRequest(question.prompt(turn), labels, tuple(dealt)))
    out = []
    for (question, turn), logs in zip(turns, aligned.choose(requests), strict=True):
        count = len(question.options)
        out.append(tuple(math.exp(logs[(place - turn) % count]) for place in range(count)))
    return out


def _softmax(sums: Sequence[float]) -> Shares:
    top = max(sums)
    powers = [math.exp(value - top) for value in sums]
    return tuple(power / math.fsum(powers) for power in powers)


def _mean(turns: Sequence[Shares]) -> Shares:
    return tuple(math.fsum(column) / len(turns) for column in zip(*turns, strict=True))
