"""What a model writes, held against a pair's two answers: which of them is it closer to?

A log-ratio says nothing of what a model writes. Closeness is the cosine of the offline sentence embeddings
(`tasks.judges.similarity`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.contracts import GenerateRequest, Generates, Messages, Pair

if TYPE_CHECKING:
    from harness.contracts import Completion, FloatArray

Embed = Callable[[Sequence[str]], "FloatArray"]

TIE = 1e-5
"""Differences of cosines below this come from padding texts together, not from the texts."""

WRITTEN: Mapping[str, str] = {
    "pref_written": "share of held-out pairs where the model's greedy answer is closer in meaning to the chosen answer "
    "than to the rejected one (sentence embeddings, offline; ties and empty answers 0.5)",
}


def greedy_answers(aligned: Generates, pairs: Sequence[Pair], new_tokens: int) -> list[Completion]:
    """The model's greedy answer to every pair's prompt; pairs of one prompt share theirs."""
    prompts: list[Messages] = list(dict.fromkeys(pair.prompt for pair in pairs))
    found = aligned.generate([GenerateRequest(prompt, new_tokens) for prompt in prompts])
    first = {prompt: completions[0] for prompt, completions in zip(prompts, found, strict=True)}
    return [first[pair.prompt] for pair in pairs]


def closer_to_chosen(embed: Embed, pairs: Sequence[Pair], answers: Sequence[str]) -> list[float]:
    """Of every pair 1 where the answer is closer to the chosen one, 0 where it is to the rejected one, else 0.5."""
    written = [answer.strip() for answer in answers]
    known = [(pair, answer) for pair, answer in zip(pairs, written, strict=True) if answer]
    texts = list(dict.fromkeys(text for pair, answer in known for text in (answer, pair.chosen, pair.rejected)))
    vectors = dict(zip(texts, embed(texts), strict=True)) if texts else {}

    def closer(pair: Pair, answer: str) -> float:
        if not answer:
            return 0.5
        chosen, rejected = (float(vectors[answer] @ vectors[side]) for side in (pair.chosen, pair.rejected))
        return 0.5 if abs(chosen - rejected) < TIE else float(chosen > rejected)

    return [closer(pair, answer) for pair, answer in zip(pairs, written, strict=True)]
