"""Which labels a budget buys: nested, seeded draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass

from harness.config import GroupSplit
from harness.contracts import Budget, FewShot, HarnessError, Messages, Pair, Pool, Prompt, Ratings, Source
from harness.util.hashes import content_hash


@dataclass(frozen=True, slots=True)
class Draw:
    """What a budget bought from a pool."""

    few_shot: FewShot
    pair_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def draw(
    pool: Pool,
    source: Source,
    budget: Budget,
    draw_seed: int,
    *,
    excluded: Collection[str] = (),
    split: GroupSplit | None = None,
) -> Draw:
    """Draw labelled pairs and unlabelled prompts; the units that `excluded` ids name or belong to are never drawn.

    Scheme. Every independent unit (question) gets a place by hash(draw_seed, unit), so neither the order of rows nor
    rows of other units matter. Pairs are taken from the front, one of each unit before a second of any; prompts are
    taken from the back, one of each unit, units that hold a drawn pair left out. Hence, for one seed:

    - the pairs of a smaller budget are the first pairs of a larger one, always;
    - the prompts of a smaller budget are among those of a larger one, unless the larger labels that question;
    - a prompt of a smaller budget is a pair of a larger one only where the pool has fewer units than the labels of
      the larger and the prompts of the smaller together: there is no other choice then.

    Raises HarnessError when nothing is left to draw from, or less than `budget.labels`. A pool with fewer prompts
    than asked for gives what it has, with a warning. Of a pool of ratings, see `draw_ratings`.
    """
    pairs, prompts = _without(pool, source, frozenset(excluded))
    opinions = {} if pairs else pool.groups(source)
    ratings, auxiliary, short = draw_ratings(opinions, budget, draw_seed, split or GroupSplit())
    if not (pairs or prompts or ratings):
        left = f" once {len(excluded)} leaked items are dropped" if excluded else ""
        raise HarnessError(
            f"pool {pool.name!r} has nothing to draw from{left}; at least one pair or prompt was expected"
        )
    chosen = _draw_pairs(pool.name, pairs, budget, draw_seed) if pairs else []
    taken = {pair.unit for pair in chosen}
    free = _one_each([(unit, prompt) for unit, prompt in prompts if unit not in taken], draw_seed)
    extra = free[: budget.prompts]
    few_shot = FewShot(tuple(chosen), tuple(extra), pool.verifier(source), ratings, auxiliary)
    warnings = short if ratings else _prompt_warnings(pool.name, budget, len(extra))
    return Draw(few_shot, tuple(pair.id for pair in chosen), tuple(prompt.id for prompt in extra), warnings)


def drawable(pairs: Sequence[Pair], excluded: Collection[str]) -> list[Pair]:
    """The pairs that may be drawn: a unit of which anything is excluded is gone whole."""
    gone = {*excluded} | {pair.unit for pair in pairs if pair.id in excluded}
    return [pair for pair in pairs if pair.id not in gone and pair.unit not in gone]


def _without(pool: Pool, source: Source, excluded: Set[str]) -> tuple[list[Pair], list[tuple[str, Prompt]]]:
    """Pairs, and prompts with their units; a unit of which anything is excluded is gone whole."""
    pairs = list(pool.pairs(source))
    units = _Units(pairs)
    prompts = [(units.of(prompt), prompt) for prompt in pool.prompts(source)]
    gone = excluded | {pair.unit for pair in pairs if pair.id in excluded}
    gone |= {unit for unit, prompt in prompts if prompt.id in excluded}
    return [p for p in pairs if p.unit not in gone], [(unit, p) for unit, p in prompts if unit not in gone]


class _Units:
    """Which independent unit a prompt belongs to: that of the pair with its id, else of a pair with its text."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._by_id = {pair.id: pair.unit for pair in pairs} | {pair.unit: pair.unit for pair in pairs}
        self._by_text: dict[Messages, str] = {pair.prompt: pair.unit for pair in pairs}

    def of(self, prompt: Prompt) -> str:
        return self._by_id.get(prompt.id) or self._by_text.get(prompt.messages) or prompt.id


def _draw_pairs(name: str, pairs: Sequence[Pair], budget: Budget, seed: int) -> list[Pair]:
    if len(pairs) < budget.labels:
        raise HarnessError(
            f"pool {name!r} has {len(pairs)} pairs to learn from, {budget.labels} labels were asked for; "
            f"use --budget {len(pairs)}, a smaller number, or max"
        )
    by_unit: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: content_hash(seed, "pair", pair.id)):
        by_unit[pair.unit].append(pair)
    order = sorted(by_unit, key=lambda unit: _place(seed, unit))
    rounds = max(map(len, by_unit.values()))
    ranked = [by_unit[unit][turn] for turn in range(rounds) for unit in order if turn < len(by_unit[unit])]
    return ranked[: budget.labels]


def _one_each(prompts: Sequence[tuple[str, Prompt]], seed: int) -> list[Prompt]:
    """One prompt of each unit, the last place first."""
    first: dict[str, Prompt] = {}
    for unit, prompt in sorted(prompts, key=lambda item: item[1].id):
        first.setdefault(unit, prompt)
    return [first[unit] for unit in sorted(first, key=lambda unit: _place(seed, unit), reverse=True)]


def draw_ratings(
    opinions: Ratings, budget: Budget, seed: int, split: GroupSplit
) -> tuple[Ratings, Ratings, tuple[str, ...]]:
    """(context of the target groups, ratings of the other groups, warnings).

    Groups and questions get places by hash(seed, name). The first `split.train` of the groups are auxiliary and give
    every rating on a seen question; the rest are targets and give `budget.labels` ratings each, on seen questions, at
    most half of those they answered (the other half is left to be predicted). The last `split.unseen` of the questions
    are shown to nobody. Raises HarnessError when there are too few groups or questions to divide.
    """
    if not opinions:
        return {}, {}, ()
    groups = sorted(opinions, key=lambda group: _place(seed, f"group {group}"))
    questions = sorted({r.question for ratings in opinions.values() for r in ratings}, key=lambda q: _place(seed, q))
    trained, shown = round(split.train * len(groups)), len(questions) - round(split.unseen * len(questions))
    if not 0 < trained < len(groups) or shown < 2:
        raise HarnessError(
            f"{len(groups)} groups and {len(questions)} questions cannot be divided {split.train:.0%} to "
            f"{1 - split.train:.0%} with {split.unseen:.0%} of the questions unseen; "
            "change groups.train or groups.unseen"
        )
    place = {question: index for index, question in enumerate(questions[:shown])}
    seen = {
        group: tuple(sorted((r for r in opinions[group] if r.question in place), key=lambda r: place[r.question]))
        for group in groups
    }
    bought = {group: seen[group][: min(budget.labels, len(seen[group]) // 2)] for group in groups[trained:]}
    context = {group: ratings for group, ratings in sorted(bought.items()) if ratings}
    auxiliary = {group: seen[group] for group in sorted(groups[:trained]) if seen[group]}
    return context, auxiliary, _context_warnings(context, budget)


def _context_warnings(context: Ratings, budget: Budget) -> tuple[str, ...]:
    least = min(map(len, context.values()), default=0)
    if least >= budget.labels:
        return ()
    return (f"some groups give {least} labels, {budget.labels} were asked for: half of what they answered is kept",)


def _place(seed: int, unit: str) -> str:
    return content_hash(seed, "unit", unit)


def _prompt_warnings(name: str, budget: Budget, found: int) -> tuple[str, ...]:
    if found >= budget.prompts:
        return ()
    return (f"pool {name!r} has {found} unlabelled prompts beside its pairs, {budget.prompts} were asked for",)
