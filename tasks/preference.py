"""Preference accuracy on held-out pairs: does the model give the better answer the higher log-probability?

Three readings of one pair (s: summed log-probability in nats, T: tokens, answers closed by the end-of-turn token):

    pref_sum    s(chosen) > s(rejected)
    pref_mean   s(chosen) / T(chosen) > s(rejected) / T(rejected)
    pref_ratio  s(chosen) - s_base(chosen) > s(rejected) - s_base(rejected)

A tie counts one half, so a constant model and, for `pref_ratio`, the base model itself score exactly 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contracts import Aligned, HarnessError, Pair, Preference, PreferRequest, SampleRow
from tasks.shortcuts import bag_of_words, length_only

METRICS: Mapping[str, str] = {
    "pref_sum": "share of held-out pairs whose chosen answer has the higher summed log-probability (ties 0.5)",
    "pref_mean": "the same, log-probability per token",
    "pref_ratio": "the same, summed log-probability less the base model's; 0.5 for the base model itself",
}

Side = tuple[float, int]
"""Summed log-probability in nats, number of tokens."""


@dataclass(frozen=True, slots=True)
class Margin:
    """Log-probabilities of one pair's two answers."""

    pair: str
    chosen: Side
    rejected: Side

    def as_detail(self) -> dict[str, Any]:
        """JSON values, read back by `base_margins`."""
        return {"pair": self.pair, "chosen": list(self.chosen), "rejected": list(self.rejected)}


def margins(
    aligned: Aligned, pairs: Sequence[Pair], progress: Callable[[str, int, int], None] = lambda stage, done, total: None
) -> list[Margin]:
    """Log-probabilities of both answers of every pair. Raises FloatingPointError where one is not a finite number."""
    answers = aligned.prefer([PreferRequest(pair.prompt, a=pair.chosen, b=pair.rejected) for pair in pairs])
    progress("preferences", len(pairs), len(pairs))
    return [_margin(pair, answer) for pair, answer in zip(pairs, answers, strict=True)]


def accuracies(margin: Margin, base: Margin | None) -> dict[str, float]:
    """The three metrics of one pair, each 1, 0.5 or 0; `base` None means that this model is the base."""
    reference = base or margin
    gains = (margin.chosen[0] - reference.chosen[0], margin.rejected[0] - reference.rejected[0])
    means = (margin.chosen[0] / margin.chosen[1], margin.rejected[0] / margin.rejected[1])
    return {
        "pref_sum": _better(margin.chosen[0], margin.rejected[0]),
        "pref_mean": _better(*means),
        "pref_ratio": _better(*gains),
    }


def base_margins(rows: Mapping[str, SampleRow] | None) -> Mapping[str, Margin] | None:
    """The base model's margins by pair, from the details of its rows; None when there are no rows."""
    if rows is None:
        return None
    found = [entry for row in rows.values() for entry in row.detail.get("preferences", ())]
    return {entry["pair"]: Margin(entry["pair"], _side(entry["chosen"]), _side(entry["rejected"])) for entry in found}


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
    for total, tokens in (answer.a, answer.b):
        if not math.isfinite(total) or tokens < 1:
            raise FloatingPointError(f"pair {pair.id!r}: log-probability {total} over {tokens} tokens is unusable")
    return Margin(pair.id, answer.a, answer.b)


def _side(value: Sequence[Any]) -> Side:
    return float(value[0]), int(value[1])


def _better(a: float, b: float) -> float:
    return 0.5 if a == b else float(a > b)
