"""Does a pool keep the promises of `contracts.Pool`? Checks for its author's own tests.

    from harness.conformance.pools import parametrize_pools_with_checks

    @parametrize_pools_with_checks([MyPool], source, expected_failures={"splits_apart": "why it cannot pass"})
    def test_conformance(check):
        check()

Every check reads the pool from `source`; a small one will do, a check that changes rows reads it some dozen times.
"""

from __future__ import annotations

import math
import unittest
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from harness.conformance.checks import Check, CheckFailed, Outcome, known, outcomes, parametrized, required
from harness.conformance.edits import Watched, edits, outcome
from harness.contracts import Budget, HarnessError, Messages, Pair, Pool, Source
from harness.data.draw import draw
from harness.util.words import normalise

NO_ID = "no such prompt: the conformance kit"
NEAR = 4
"""Pairs at either end whose answers the verifier is asked about: rows at the ends are those that are changed."""


class PoolLab:
    """One pool, made anew for every question, and the source that it reads."""

    def __init__(self, pool: Callable[[], Pool], source: Source) -> None:
        self.make = pool
        self.source = source
        self.name = pool().name

    def pairs(self, split: str = "pool") -> list[Pair]:
        """The pairs of a split; none where the source has no such split."""
        try:
            return list(self.make().pairs(self.source, split))
        except HarnessError:
            if split == "pool":
                raise
            return []


def pool_checks(pool: Callable[[], Pool], source: Source) -> Iterator[Check]:
    """All checks of one pool, in order."""
    lab = PoolLab(pool, source)
    for check in CHECKS:
        yield Check(_name(check), partial(check, lab))


def check_pool(
    pool: Callable[[], Pool], source: Source, *, expected_failures: Mapping[str, str] | None = None
) -> tuple[Outcome, ...]:
    """Run every check. Raises NotConformant listing all failures; HarnessError for an unknown name in the mapping."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return outcomes(f"pool {pool().name!r}", pool_checks(pool, source), expected)


def parametrize_pools_with_checks(
    pools: Sequence[Callable[[], Pool]], source: Source, *, expected_failures: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that runs a pytest test function once per pool and check, given as its argument `check`."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return parametrized({pool().name: pool_checks(pool, source) for pool in pools}, expected)


def _name(check: Callable[[PoolLab], str]) -> str:
    return check.__name__.removeprefix("check_")


def _asked(prompt: Messages) -> str:
    return normalise(" ".join(message.content for message in prompt if message.role == "user"))


def _twice(ids: Iterable[str]) -> list[str]:
    return [identity for identity, count in Counter(ids).items() if count > 1]


# ---------------------------------------------------------------- checks


def check_ids_unique(lab: PoolLab) -> str:
    """Every pair has an id of its own, and so has every prompt; no id is empty."""
    pool = lab.make()
    for what, ids in (
        ("pairs", [pair.id for pair in lab.pairs()]),
        ("prompts", [prompt.id for prompt in pool.prompts(lab.source)]),
    ):
        required(all(ids), f"{lab.name} has {what} with an empty id")
        required(not _twice(ids), f"{lab.name} gives several {what} the id {_twice(ids)[:1]}")
    return ""


def check_ids_stable(lab: PoolLab) -> str:
    """The same rows in reverse order give pairs and prompts with the same ids."""
    found = []
    for turned in (False, True):
        source = Watched(lab.source)
        pool = lab.make()
        pool.pairs(source)
        backwards = {key: (lambda rows: list(reversed(rows))) for key in source.read} if turned else {}
        source = Watched(lab.source, backwards)
        pairs = {pair.id: (pair.chosen, pair.rejected) for pair in lab.make().pairs(source)}
        found.append((pairs, {prompt.id: prompt.messages for prompt in lab.make().prompts(source)}))
    required(found[0] == found[1], f"{lab.name}: another order of the rows gives other pairs or other ids")
    return ""


def check_same_twice(lab: PoolLab) -> str:
    """A new instance gives the same pairs, prompts, groups and revision."""
    required(_said(lab, lab.source) == _said(lab, lab.source), f"{lab.name} says something else when read again")
    return ""


def check_sides_differ(lab: PoolLab) -> str:
    """Both answers of a pair hold text and differ, and its prompt ends with the user's turn."""
    for pair in [*lab.pairs(), *lab.pairs("eval")]:
        required(bool(pair.chosen.strip() and pair.rejected.strip()), f"{lab.name}: pair {pair.id!r} has an empty side")
        required(pair.chosen != pair.rejected, f"{lab.name}: both sides of pair {pair.id!r} are equal")
        asked = bool(pair.prompt) and pair.prompt[-1].role == "user"
        required(asked, f"{lab.name}: the prompt of pair {pair.id!r} does not end with the user's turn")
    return ""


def check_questions_cover(lab: PoolLab) -> str:
    """Every pair and every prompt has a question for the leak gate, by its own id or by its unit."""
    pairs, questions = lab.pairs(), lab.make().questions(lab.source)
    missing = [pair.id for pair in pairs if pair.id not in questions and pair.unit not in questions]
    required(not missing, f"{lab.name}: {len(missing)} pairs have no question, first {missing[:1]}")
    reached = set(questions) | {pair.unit for pair in pairs}
    lost = [prompt.id for prompt in lab.make().prompts(lab.source) if prompt.id not in reached]
    required(not lost, f"{lab.name}: {len(lost)} prompts have no question, first {lost[:1]}")
    required(all(text.strip() for text in questions.values()), f"{lab.name} has a question without text")
    return ""


def check_prompts_apart(lab: PoolLab) -> str:
    """A draw of pairs leaves prompts that no drawn pair asks: the pool's prompts are more than its pairs' prompts."""
    pairs, prompts = lab.pairs(), lab.make().prompts(lab.source)
    if not (pairs and prompts):
        raise unittest.SkipTest("the pool has no pairs or no prompts")
    labels = max(1, len({pair.unit for pair in pairs}) // 4)
    drawn = draw(lab.make(), lab.source, Budget(labels=labels, prompts=labels), 0).few_shot
    both = {_asked(pair.prompt) for pair in drawn.pairs} & {_asked(prompt.messages) for prompt in drawn.prompts}
    required(not both, f"{lab.name}: {len(both)} prompts of a draw are those of its pairs")
    required(bool(drawn.prompts), f"{lab.name}: no prompt is left beside {labels} pairs")
    return f"{len(drawn.prompts)} prompts beside {len(drawn.pairs)} pairs"


def check_revision_follows_data(lab: PoolLab) -> str:
    """Every change of pairs, prompts, groups or verdicts of the verifier changes the revision."""
    watched = Watched(lab.source)
    before, revision = _said(lab, watched), lab.make().revision(watched)
    if not watched.read:
        raise unittest.SkipTest("the pool reads no rows: what it gives is its code's")
    moved = 0
    for key, rows in list(watched.read.items()):
        for what, edit in edits(rows):
            changed = Watched(lab.source, {key: edit})
            found = outcome(partial(_said_and_named, lab, changed))
            if found is None or found[0] == before:
                continue
            moved += 1
            required(found[1] != revision, f"{lab.name}: {what} changes what it gives, and its revision stays")
    required(moved > 0, f"{lab.name}: no change of its rows changes anything that it gives")
    return f"{moved} changes noticed"


def check_splits_apart(lab: PoolLab) -> str:
    """Held-out pairs share no id, unit or prompt with the pairs that are trained on."""
    train, held = lab.pairs(), lab.pairs("eval")
    if not (train and held):
        raise unittest.SkipTest("the pool has no pairs, or none that are held out")
    for what, of in (("ids", lambda p: p.id), ("units", lambda p: p.unit), ("prompts", lambda p: p.prompt)):
        both = set(map(of, train)) & set(map(of, held))
        required(not both, f"{lab.name}: {len(both)} {what} stand in both splits")
    return f"{len(train)} and {len(held)}"


def check_verifier(lab: PoolLab) -> str:
    """Rewards lie in [0, 1] for every prompt and any text; an unknown prompt raises KeyError."""
    pool = lab.make()
    verifier = pool.verifier(lab.source)
    if verifier is None:
        raise unittest.SkipTest("the pool has no verifier")
    texts = ["", "Final Answer: A", *[text for pair in lab.pairs()[:8] for text in (pair.chosen, pair.rejected)]]
    for prompt in pool.prompts(lab.source)[:32]:
        rewards = [verifier(prompt.id, text) for text in texts]
        required(all(0 <= reward <= 1 for reward in rewards), f"{lab.name}: a reward of {prompt.id!r} is not in 0..1")
        required(rewards == [verifier(prompt.id, t) for t in texts], f"{lab.name}: rewards change when asked again")
    try:
        verifier(NO_ID, "")
    except KeyError:
        return ""
    raise CheckFailed(f"{lab.name}: its verifier knows a prompt that does not exist; a KeyError was expected")


def check_groups_valid(lab: PoolLab) -> str:
    """Every rating has two options or more and shares that sum to 1, and no group rates a question twice."""
    groups = lab.make().groups(lab.source)
    if not groups:
        raise unittest.SkipTest("the pool has no groups")
    for group, ratings in groups.items():
        required(not _twice(r.question for r in ratings), f"{lab.name}: group {group!r} answers a question twice")
        for rating in ratings:
            shares = rating.probabilities
            fits = len(shares) == len(rating.options) > 1 and all(share >= 0 for share in shares)
            sums = math.isclose(math.fsum(shares), 1, abs_tol=1e-6)
            required(
                fits and sums, f"{lab.name}: group {group!r}, question {rating.question!r}: {shares} are no shares"
            )
    return f"{len(groups)} groups"


def _said_and_named(lab: PoolLab, source: Source) -> tuple[dict[str, Any], str]:
    return _said(lab, source), lab.make().revision(source)


def _said(lab: PoolLab, source: Source) -> dict[str, Any]:
    """All that an aligner can see of a pool."""
    pool = lab.make()
    pairs, prompts = list(pool.pairs(source)), list(pool.prompts(source))
    verifier = pool.verifier(source)
    near = [*pairs[:NEAR], *pairs[-NEAR:]]
    texts = sorted({text for pair in pairs[:4] for text in (pair.chosen, pair.rejected)} | _answers(near))
    return {
        "pairs": [asdict(pair) for pair in pairs],
        "prompts": [asdict(prompt) for prompt in prompts],
        "groups": {name: [asdict(rating) for rating in ratings] for name, ratings in pool.groups(source).items()},
        "rewards": [] if verifier is None else [[verifier(prompt.id, text) for text in texts] for prompt in prompts],
    }


def _answers(pairs: Sequence[Pair]) -> set[str]:
    """The last line of every chosen answer: where a verifier finds what it looks for."""
    return {pair.chosen.splitlines()[-1] for pair in pairs if pair.chosen.strip()}


CHECKS: tuple[Callable[[PoolLab], str], ...] = (
    check_ids_unique,
    check_ids_stable,
    check_same_twice,
    check_sides_differ,
    check_questions_cover,
    check_prompts_apart,
    check_revision_follows_data,
    check_splits_apart,
    check_verifier,
    check_groups_valid,
)
