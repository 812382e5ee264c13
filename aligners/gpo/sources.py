"""What the module learns from and reads: rated questions of groups, and the pairs as one more source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from aligners.gpo.config import Reads
from harness.contracts import FewShot, HarnessError, Pair, Rating, Ratings
from harness.opinions.groups import read_ratings
from harness.opinions.questions import (
    Question,
    Rated,
    answers_question,
    bare,
    option_question,
    plain,
    rated,
    rated_pairs,
)

Contexts = Mapping[str, tuple[Rated, ...]]
"""Rated questions by source."""
PAIRS = ""
"""Name of the source that the few-shot pairs make; no group may be called so."""
MOST_UNSEEN = 16
"""Questions of one kind on which it is seen whether the module reads its context."""


def training_sources(few_shot: FewShot, pairs: Sequence[Pair]) -> dict[str, tuple[Rated, ...]]:
    """What episodes are cut from: auxiliary groups (without them the target groups' own ratings), and the pairs.

    Raises HarnessError when no source has the two questions that an episode needs.
    """
    sources = {name: rated(ratings) for name, ratings in _learned(few_shot).items()}
    if pairs:
        sources[PAIRS] = rated_pairs(pairs)
    usable = {name: source for name, source in sources.items() if len(source) > 1}
    if not usable:
        raise HarnessError(
            "aligner gpo needs two labelled pairs, or a group with two rated questions, and was given neither; "
            "raise --budget or train on a pool with pairs or groups"
        )
    return usable


def contexts_of(few_shot: FewShot, pairs: Sequence[Pair], rule: Reads) -> dict[str, tuple[Rated, ...]]:
    """What the module reads on behalf of each group (`PAIRS`: on nobody's), by the switch `context`.

    Swapped, a group gets the ratings of the next one in order of name, and pairs have their labels exchanged. Raises
    HarnessError when there is one group only and it should be swapped.
    """
    read = read_ratings(few_shot.groups, "swapped" if rule == "swapped" else "own")
    found = {name: rated(ratings) for name, ratings in read.items()}
    if pairs:
        found[PAIRS] = rated_pairs(pairs, swapped=rule == "swapped")
    return dict.fromkeys(found, ()) if rule == "none" else found


def swappable(few_shot: FewShot, pairs: Sequence[Pair]) -> tuple[Contexts, Contexts] | None:
    """The contexts that have a swapped counterpart, (own, swapped); None where there are none."""
    alone = FewShot(groups=few_shot.groups if len(few_shot.groups) > 1 else {})
    if not (alone.groups or pairs):
        return None
    return contexts_of(alone, pairs, "own"), contexts_of(alone, pairs, "swapped")


def unseen_questions(few_shot: FewShot, pairs: Sequence[Pair], held_out: Sequence[Pair]) -> list[Question]:
    """Questions that the module was never trained on, so that it can remember nothing of them.

    Of groups: two questions asked in one breath, with the second one's options. Of pairs: those held out, or where the
    regime holds none out, each prompt with two other prompts as its answers; what is preferred does not matter here.
    """
    asked = list({option_question(r.prompt, r.options).key: r for r in _every_rating(_learned(few_shot))}.values())
    joined = [
        option_question(f"{bare(a.prompt, a.options)}\n\n{bare(b.prompt, b.options)}", b.options)
        for a, b in pairwise(asked[: MOST_UNSEEN + 1])
    ]
    return joined + (_of_prompts(pairs) if not held_out else _of_pairs(held_out))[:MOST_UNSEEN]


def _of_pairs(pairs: Sequence[Pair]) -> list[Question]:
    return [one.question for one in rated_pairs(pairs)]


def _of_prompts(pairs: Sequence[Pair]) -> list[Question]:
    """None where there are fewer than three prompts."""
    prompts = list(dict.fromkeys(plain(pair.prompt) for pair in pairs))
    following = (prompts[n:] + prompts[:n] for n in (1, 2))
    return [answers_question(a, (b, c)) for a, b, c in zip(prompts, *following, strict=True) if len({a, b, c}) == 3]


def _learned(few_shot: FewShot) -> Ratings:
    return few_shot.auxiliary or few_shot.groups


def _every_rating(groups: Ratings) -> list[Rating]:
    return [rating for ratings in groups.values() for rating in ratings]
