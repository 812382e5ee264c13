"""A study's lengths from its pool: no text is cut but the longest, and no sample is shorter than an answer.

The whole training split is measured, or `MEASURED` pairs of it in an order that no draw decides: every draw and every
budget of a pool then has the same lengths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.contracts import AskedLengths, HarnessError, Lengths, Pair
from harness.data.clipping import UNCUT
from harness.util.chat import encode_completion, render_prompt
from harness.util.hashes import content_hash

SHARE = 0.95
"""Share of the prompts, and of the answers, that are not cut."""
MEASURED = 512
"""Pairs that are measured at most."""
ROOM = 1.5
"""A sample's length, as a multiple of an answer's: a model that has yet to learn the form says more until it ends."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of some pairs' prompts under the chat template, and of their answers, the end of turn counted."""

    prompts: tuple[int, ...]
    answers: tuple[int, ...]

    def longer(self, lengths: Lengths) -> dict[str, float]:
        """Shares in [0, 1] of the prompts and the answers that `lengths` cut; empty where nothing was measured."""
        limits = {"prompts": (self.prompts, lengths.prompt), "answers": (self.answers, lengths.completion)}
        return {
            f"pool_{name}": sum(count > limit for count in counts) / len(counts)
            for name, (counts, limit) in limits.items()
            if counts
        }


def to_measure(pairs: Sequence[Pair]) -> list[Pair]:
    """A pool's pairs, or the first `MEASURED`, by a hash of their ids."""
    return sorted(pairs, key=lambda pair: content_hash("lengths", pair.id))[:MEASURED]


def measured(tokenizer: Any, pairs: Sequence[Pair]) -> Tokens:
    """Count the pairs that `to_measure` names; what cannot be rendered is passed over."""
    prompts: list[int] = []
    answers: list[int] = []
    for pair in to_measure(pairs):
        try:
            prompt = len(render_prompt(tokenizer, pair.prompt, UNCUT))
            sides = [len(encode_completion(tokenizer, answer, UNCUT)) for answer in (pair.chosen, pair.rejected)]
        except HarnessError:  # the run says so where it draws such a pair
            continue
        prompts.append(prompt)
        answers += sides
    return Tokens(tuple(prompts), tuple(answers))


def settled_lengths(asked: AskedLengths, tokens: Tokens, longest: Lengths) -> Lengths:
    """`asked`, and what it leaves open from the pool: the 95th percentile in tokens, at most `longest`.

    A sample gets half as much again as an answer, as far as `longest` goes, and never less than an answer. Where
    nothing was measured, what is open is `longest`.
    """
    prompt = asked.prompt or max(8, _least(tokens.prompts, longest.prompt))
    completion = asked.completion or max(4, _least(tokens.answers, longest.completion))
    roomy = min(math.ceil(ROOM * completion), longest.new_tokens) if tokens.answers else longest.new_tokens
    new_tokens = asked.new_tokens or max(completion, roomy)
    return Lengths(prompt=prompt, completion=completion, new_tokens=new_tokens, sample_prompts=asked.sample_prompts)


def percentile(counts: Sequence[int]) -> int:
    """The smallest count that a share `SHARE` of the counts does not exceed."""
    return sorted(counts)[math.ceil(SHARE * len(counts)) - 1]


def _least(counts: Sequence[int], most: int) -> int:
    return min(percentile(counts), most) if counts else most
