"""Preference accuracy on held-out pairs: does the model find the better answer the better one?

Four readings of one pair (p_a: P(chosen better) by the model's own rule, s: summed log-probability in nats, T: tokens,
answers closed by the end-of-turn token):

    pref        p_a > 0.5
    pref_sum    s(chosen) > s(rejected)
    pref_mean   s(chosen) / T(chosen) > s(rejected) / T(rejected)
    pref_ratio  s(chosen) - s_base(chosen) > s(rejected) - s_base(rejected)

A tie counts one half, so a constant model and, for `pref_ratio`, the base model itself score exactly 0.5. A language
model's own rule is p_a = sigmoid(s(chosen) - s(rejected)), so `pref` equals `pref_sum`. A model whose rule is no
likelihood (a re-ranker) has `pref` alone.

What a method gained is read against the base model, for raw sums hardly move under few labels:

    pref_gain        a language model: pref_ratio (TRL's rewards/accuracies); a ranker: its own rule, p_a > 0.5
    pref_gain_token  (s - s_base) / T of chosen > (s - s_base) / T of rejected; language models alone

The base model has gained nothing and scores 0.5 on both by definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contracts import HarnessError, Pair, Preference, PreferRequest, Prefers, SampleRow
from tasks.measures.shortcuts import bag_of_words, length_only

METRICS: Mapping[str, str] = {
    "pref": "share of held-out pairs whose chosen answer is the better one by the model's own rule (ties 0.5)",
    "pref_sum": "share of held-out pairs whose chosen answer has the higher summed log-probability (ties 0.5)",
    "pref_mean": "the same, log-probability per token",
    "pref_ratio": "the same, summed log-probability less the base model's; 0.5 for the base model itself",
}

RELATIVE = frozenset({"pref_ratio"})
"""Those of them that are read against the base model, which has one half of them."""
GAINS: Mapping[str, str] = {
    "pref_gain": "share of held-out pairs whose chosen answer gained more on the base model's log-probability than the "
    "rejected one; of a ranker, whose chosen answer its own rule prefers (ties 0.5; base 0.5 by definition)",
    "pref_gain_token": "the same, gain per token",
}

Side = tuple[float, int]
"""Summed log-probability in nats, number of tokens."""


@dataclass(frozen=True, slots=True)
class Margin:
    """What a model says of one pair; the log-probabilities are None where its rule is no likelihood."""

    pair: str
    p_chosen: float
    """P(chosen better) by the model's own rule."""
    chosen: Side | None
    rejected: Side | None

    def as_detail(self) -> dict[str, Any]:
        """JSON values, read back by `base_margins`."""
        sides = {"chosen": self.chosen, "rejected": self.rejected}
        listed = {name: None if side is None else list(side) for name, side in sides.items()}
        return {"pair": self.pair, "p_chosen": self.p_chosen, **listed}


def margins(
    aligned: Prefers, pairs: Sequence[Pair], progress: Callable[[str, int, int], None] = lambda stage, done, total: None
) -> list[Margin]:
    """What the model says of every pair.

    Raises FloatingPointError where a probability or a log-probability is unusable, HarnessError where one answer has a
    log-probability and the other none.
    """
    answers = aligned.prefer([PreferRequest(pair.prompt, a=pair.chosen, b=pair.rejected) for pair in pairs])
    progress("preferences", len(pairs), len(pairs))
    return [_margin(pair, answer) for pair, answer in zip(pairs, answers, strict=True)]


def accuracies(margin: Margin, base: Margin | None) -> dict[str, float]:
    """The metrics of one pair, each 1, 0.5 or 0; `base` None means that this model is the base.

    `pref` alone where the model has no log-probabilities; no `pref_ratio` where the base model has none.
    """
    values = {"pref": _better(margin.p_chosen, 0.5)}
    if margin.chosen is None or margin.rejected is None:
        return values
    (chosen, n_chosen), (rejected, n_rejected) = margin.chosen, margin.rejected
    values["pref_sum"] = _better(chosen, rejected)
    values["pref_mean"] = _better(chosen / n_chosen, rejected / n_rejected)
    reference = base or margin
    if reference.chosen is not None and reference.rejected is not None:
        values["pref_ratio"] = _better(chosen - reference.chosen[0], rejected - reference.rejected[0])
    return values


def gains(margin: Margin, base: Margin | None) -> dict[str, float]:
    """What a model gained on base in one pair, each 1, 0.5 or 0; `base` None means that this model is the base.

    A model whose rule is no likelihood has `pref_gain` alone, which is its rule.
    """
    if base is None:
        return {"pref_gain": 0.5, **({} if margin.chosen is None else {"pref_gain_token": 0.5})}
    if margin.chosen is None or margin.rejected is None or base.chosen is None or base.rejected is None:
        return {"pref_gain": _better(margin.p_chosen, 0.5)}
    chosen, rejected = margin.chosen[0] - base.chosen[0], margin.rejected[0] - base.rejected[0]
    per_token = _better(chosen / margin.chosen[1], rejected / margin.rejected[1])
    return {"pref_gain": _better(chosen, rejected), "pref_gain_token": per_token}


def base_margins(rows: Mapping[str, SampleRow] | None) -> Mapping[str, Margin] | None:
    """The base model's margins by pair, from the details of its rows; None when there are no rows."""
    if rows is None:
        return None
    found = [entry for row in rows.values() for entry in row.detail.get("preferences", ())]
    return {entry["pair"]: _read(entry) for entry in found}


def base_of(margin: Margin, base: Mapping[str, Margin] | None) -> Margin | None:
    """The base model's margin of the same pair. Raises HarnessError when base was scored on other pairs."""
    if base is None:
        return None
    if margin.pair not in base:
        raise HarnessError(f"pair {margin.pair!r} is missing from the base model's rows; score base on the same items")
    return base[margin.pair]


def controls(train: Sequence[Pair], test: Sequence[Pair]) -> dict[str, float]:
    """Notes for a task's scores: the shortcut classifiers' accuracy on the same held-out pairs, and pair counts."""
    return {
        "length_only": length_only(train, test),
        "bag_of_words": bag_of_words(train, test),
        "preference_pairs": float(len(test)),
        "shortcut_training_pairs": float(len(train)),
    }


def _margin(pair: Pair, answer: Preference) -> Margin:
    if not 0.0 <= answer.p_a <= 1.0:  # also where it is not a number
        raise FloatingPointError(f"pair {pair.id!r}: P(chosen better) is {answer.p_a}, no probability")
    sides = [side for side in (answer.a, answer.b) if side is not None]
    if len(sides) == 1:
        raise HarnessError(
            f"pair {pair.id!r}: one answer has a log-probability and the other none; both or neither were expected"
        )
    for total, tokens in sides:
        if not math.isfinite(total) or tokens < 1:
            raise FloatingPointError(f"pair {pair.id!r}: log-probability {total} over {tokens} tokens is unusable")
    return Margin(pair.id, answer.p_a, answer.a, answer.b)


def _read(entry: Mapping[str, Any]) -> Margin:
    return Margin(entry["pair"], float(entry["p_chosen"]), _side(entry["chosen"]), _side(entry["rejected"]))


def _side(value: Sequence[Any] | None) -> Side | None:
    return None if value is None else (float(value[0]), int(value[1]))


def _better(a: float, b: float) -> float:
    return 0.5 if a == b else float(a > b)
