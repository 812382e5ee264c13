"""Items of a pool that give away evaluation items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import lru_cache

from harness.util.words import comparable

NGRAM = 13


COMMON = 3
"""n-grams that stand in so many pool items are stock phrases and prove nothing."""


def find_leaks(pool_texts: Mapping[str, str], eval_texts: Mapping[str, str]) -> tuple[str, ...]:
    """Ids of the pool items that the evaluation holds too, sorted.

    A leak is an equal text (by `harness.util.words.comparable`: in any script, and signs count), or a shared passage:
    half or more of the 13-grams of an item (of either side) stand in the other set, n-grams of three or more pool items
    left out of the count as stock phrases. Where it is the evaluation item that is half covered, every pool item that
    shares a counted 13-gram with it goes.
    """
    return _found(tuple(pool_texts.items()), tuple(eval_texts.items()))


Texts = tuple[tuple[str, str], ...]
"""Items' ids and texts."""


@lru_cache(maxsize=16)
def _found(pool_texts: Texts, eval_texts: Texts) -> tuple[str, ...]:
    """Remembered by content: all cells of a study on one pool and one task ask the same."""
    vocabulary: dict[str, int] = {}
    pool = {key: _words(text, vocabulary) for key, text in pool_texts}
    evaluation = {key: _words(text, vocabulary) for key, text in eval_texts}
    equal = set(evaluation.values())
    leaks = {key for key, words in pool.items() if words and words in equal}
    pool_grams = {key: _grams(words) for key, words in pool.items()}
    eval_grams = [_grams(words) for words in evaluation.values()]
    holders: dict[int, list[str]] = defaultdict(list)
    for key, grams in pool_grams.items():
        for gram in grams:
            holders[gram].append(key)
    common = {gram for gram, keys in holders.items() if len(keys) >= COMMON}
    seen = set().union(*eval_grams)
    leaks |= {key for key, grams in pool_grams.items() if _covered(grams - common, seen)}
    for grams in eval_grams:
        counted = grams - common
        if _covered(counted, holders.keys()):
            leaks |= {key for gram in counted for key in holders.get(gram, ())}
    return tuple(sorted(leaks))


def _words(text: str, vocabulary: dict[str, int]) -> tuple[int, ...]:
    return tuple(vocabulary.setdefault(word, len(vocabulary)) for word in comparable(text))


def _grams(words: tuple[int, ...]) -> set[int]:
    """Hashes of the word 13-grams (of integers: equal in every process)."""
    return {hash(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)}


def _covered(grams: set[int], others: Collection[int]) -> bool:
    if not grams:
        return False
    return 2 * sum(gram in others for gram in grams) >= len(grams)
