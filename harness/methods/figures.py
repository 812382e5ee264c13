"""Figures of samples: is a method that samples alive?"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from harness.contracts import Completion


def sampled(groups: Sequence[Sequence[Completion]]) -> dict[str, float]:
    """Share of samples cut off, tokens a sample, and the distinct share of all their bigrams of tokens."""
    flat = [one for group in groups for one in group]
    bigrams = [pair for one in flat for pair in zip(one.ids, one.ids[1:], strict=False)]
    return {
        "truncation": fmean(one.finish == "length" for one in flat),
        "sample_tokens": fmean(len(one.ids) for one in flat),
        "distinct_2": len(set(bigrams)) / max(1, len(bigrams)),
    }


def grouped(samples: Sequence[Sequence[Completion]], kept: Sequence[Sequence[object]]) -> dict[str, float]:
    """`sampled` of all samples, the share that left their group, and the share of groups that kept at least two."""
    return sampled(samples) | {
        "dropped": 1 - sum(map(len, kept)) / sum(map(len, samples)),
        "groups_used": fmean(len(group) >= 2 for group in kept),
    }
