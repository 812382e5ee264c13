"""The lengths of a fit's texts under a tokenizer, clipped as the fit clips them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any, TypeVar

from harness.contracts import FewShot, Pair, Regime
from harness.costs.work import PairTokens, Sizes
from harness.util.chat import encode_completion, render_prompt

T = TypeVar("T")
U = TypeVar("U")

SEEN = 128
"""Texts of a kind that are measured; more of them are taken to be as long, in the same order."""
USUAL_SAMPLE = 0.6
"""Tokens of a usual sample, as a share of the longest that is let through, where nothing is known."""


def sizes_of(
    tokenizer: Any,
    regime: Regime,
    few_shot: FewShot,
    halves: tuple[Sequence[Pair], Sequence[Pair]],
    sampled: float | None = None,
    *,
    fast: bool = True,
    width: int = 0,
) -> Sizes:
    """Lengths in tokens. `halves` are the pairs that are trained on, and those that are held out; `width` is that of an
    embedding.

    Raises HarnessError for a prompt that the template refuses.
    """

    def lengths(pair: Pair) -> PairTokens:
        prompt = len(render_prompt(tokenizer, pair.prompt, regime.prompt_tokens))
        answers = [len(encode_completion(tokenizer, t, regime.completion_tokens)) for t in (pair.chosen, pair.rejected)]
        return PairTokens(prompt, *answers)

    return Sizes(
        regime,
        _measured(halves[0], lengths),
        _measured(halves[1], lengths),
        _measured(few_shot.prompts, lambda one: len(render_prompt(tokenizer, one.messages, regime.prompt_tokens))),
        USUAL_SAMPLE * regime.new_tokens if sampled is None else sampled,
        fast=fast,
        few_shot=few_shot,
        halves=(tuple(halves[0]), tuple(halves[1])),
        read=lambda texts: [max(len(ids), 1) for ids in tokenizer(list(texts))["input_ids"]] if texts else [],
        width=width,
    )


def _measured(texts: Sequence[T], length: Callable[[T], U]) -> tuple[U, ...]:
    return tuple(islice(cycle([length(text) for text in texts[:SEEN]]), len(texts)))
