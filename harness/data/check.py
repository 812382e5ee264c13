"""What a user's data hold, before anybody trains on them: `data check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.contracts import AskedLengths, CountsRows, HarnessError, Lengths, OwnRows, Pair, Pool, Reading, Source
from harness.data.clipping import UNCUT, Clipping, measure, unfit
from harness.data.folds import usual_folds
from harness.data.leaks import find_leaks
from harness.data.left_out import Said, left_out
from harness.data.lengths import Tokens, measured, settled_lengths
from harness.util.chat import encode_completion, render_prompt
from harness.util.hashes import content_hash

LOOKED_AT = 2_000
"""Pairs that are tokenized and classified at most, picked by hash: enough for shares, and done in seconds."""
FOLDS = 5
SHORTCUT = 0.65
"""Accuracy of a classifier that does not read the answers, from which a preference accuracy says little."""
MUCH = 0.1


@dataclass(frozen=True, slots=True)
class Spread:
    """Lengths in tokens: median, 95th percentile, longest."""

    median: int
    p95: int
    longest: int


@dataclass(frozen=True, slots=True)
class Shortcuts:
    """What can be told without reading: shares of pairs, classifiers cross-validated over whole units."""

    length_only: float
    bag_of_words: float
    chosen_longer: float
    """Share of pairs whose better answer is the longer one, ties half."""
    pairs: int


@dataclass(frozen=True, slots=True)
class DataReport:
    """Everything that `data check` says."""

    source: str
    pool: str
    rows: int
    left_out: Mapping[str, int]
    first_left_out: Mapping[str, str]
    train: int
    held_out: int
    folds: int
    """Parts of which a run holds out each once where nobody says otherwise; 1: the pairs are divided once, as above."""
    units: int
    """Independent units: prompts, unless the data name clusters."""
    repeated_prompts: int
    """Prompts that have more than one pair."""
    contradictions: int
    leaks: int
    """Training pairs whose question stands among the held-out ones too."""
    notes: tuple[str, ...]
    lengths: Mapping[str, Spread] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    """A study's lengths: as asked for, else as these data ask for."""
    clipping: Clipping | None = None
    shortcuts: Shortcuts | None = None
    warnings: tuple[str, ...] = ()


def check(
    pool: Pool,
    source: Source,
    asked: AskedLengths,
    tokenizer: Any | None,
    *,
    how: Reading | None = None,
    without_row: Collection[str] = (),
) -> DataReport:
    """Read a pool's rows and describe them; lengths only where there is a tokenizer.

    `how` is how the user's own rows are read, and `without_row` are the texts of tokens that the model has no row for:
    pairs that a run would leave out for its model are left out here. Raises HarnessError where the rows give no pair
    at all, and where the chat template refuses all of them.
    """
    if isinstance(pool, OwnRows) and how is not None and tokenizer is not None:
        refused = _refused(pool, source, tokenizer, without_row)
        pool = pool.reading(replace(how, without=refused)) if refused else pool
    train = list(pool.pairs(source))
    held = _held_out(pool, source)
    pairs = [*train, *held]
    if not pairs:
        raise HarnessError(f"pool {pool.name!r} has no pairs in {source.describe()}; expected at least one")
    said, examples = left_out(pool, source), _examples(pool, source)
    some = sorted(pairs, key=lambda pair: content_hash("looked at", pair.id))[:LOOKED_AT]
    lengths = settled_lengths(asked, measured(tokenizer, train) if tokenizer else Tokens((), ()), Lengths())
    clipping = measure(tokenizer, some, prompt=lengths.prompt, completion=lengths.completion) if tokenizer else None
    shortcuts = find_shortcuts(some)
    prompts = Counter(pair.prompt for pair in pairs)
    leaks = find_leaks(_asked(train), _asked(held))
    found = DataReport(
        source=source.describe(),
        pool=pool.name,
        rows=said.rows,
        left_out=said.reasons,
        first_left_out=examples,
        train=len(train),
        held_out=len(held),
        folds=usual_folds(pool, source),
        units=len({pair.unit for pair in pairs}),
        repeated_prompts=sum(count > 1 for count in prompts.values()),
        contradictions=contradictions(pairs),
        leaks=len(leaks),
        notes=tuple(pool.notes(source)) if isinstance(pool, OwnRows) else (),
        lengths=_lengths(tokenizer, some) if tokenizer else {},
        limits=lengths.model_dump(),
        clipping=clipping,
        shortcuts=shortcuts,
    )
    return _warned(found, said)


def _refused(pool: Pool, source: Source, tokenizer: Any, without_row: Collection[str]) -> dict[str, frozenset[str]]:
    """Ids of the pairs that the model's template or embedding refuses, by reason; none where that is all of them."""
    pairs = [*pool.pairs(source), *_held_out(pool, source)]
    found = {reason: ids for reason, ids in unfit(pairs, UNCUT, lambda: tokenizer, without_row).items() if ids}
    return found if len({identity for ids in found.values() for identity in ids}) < len(pairs) else {}


def find_shortcuts(pairs: Sequence[Pair]) -> Shortcuts:
    """Both classifiers by cross-validation in `FOLDS` parts; every unit is in one part alone."""
    from tasks.measures.shortcuts import bag_of_words, length_only

    places = {unit: place for place, unit in enumerate(sorted({pair.unit for pair in pairs}, key=content_hash))}
    parts = [[pair for pair in pairs if places[pair.unit] % FOLDS == part] for part in range(FOLDS)]
    scores = {"length_only": 0.0, "bag_of_words": 0.0}
    for part in parts:
        rest = [pair for other in parts if other is not part for pair in other]
        scores["length_only"] += len(part) * length_only(rest, part)
        scores["bag_of_words"] += len(part) * bag_of_words(rest, part)
    longer = sum(_half(len(pair.chosen), len(pair.rejected)) for pair in pairs)
    count = len(pairs)
    return Shortcuts(scores["length_only"] / count, scores["bag_of_words"] / count, longer / count, count)


def contradictions(pairs: Sequence[Pair]) -> int:
    """How many pairs say that one answer is better than another, of which another pair says the opposite."""
    said = {(pair.prompt, pair.chosen, pair.rejected) for pair in pairs}
    return sum((pair.prompt, pair.rejected, pair.chosen) in said for pair in pairs)


def _half(a: int, b: int) -> float:
    return 0.5 if a == b else float(a > b)


def _held_out(pool: Pool, source: Source) -> list[Pair]:
    """The held-out pairs; none where the source has only training rows."""
    try:
        return list(pool.pairs(source, "eval"))
    except HarnessError:
        return []


def _examples(pool: Pool, source: Source) -> dict[str, str]:
    return dict(pool.left_out(source).examples) if isinstance(pool, CountsRows) else {}


def _asked(pairs: Sequence[Pair]) -> dict[str, str]:
    return {p.id: "\n".join(turn.content for turn in p.prompt if turn.role == "user") for p in pairs}


def _lengths(tokenizer: Any, pairs: Sequence[Pair]) -> dict[str, Spread]:
    counts = {
        "prompt": [len(render_prompt(tokenizer, pair.prompt, UNCUT)) for pair in pairs],
        "chosen": [len(encode_completion(tokenizer, pair.chosen, UNCUT)) for pair in pairs],
        "rejected": [len(encode_completion(tokenizer, pair.rejected, UNCUT)) for pair in pairs],
    }
    return {name: _spread(sorted(lengths)) for name, lengths in counts.items()}


def _spread(ordered: Sequence[int]) -> Spread:
    last = len(ordered) - 1
    return Spread(ordered[last // 2], ordered[round(0.95 * last)], ordered[last])


def _warned(found: DataReport, said: Said) -> DataReport:
    """`found` with what a user should look at before training."""
    lines = [said.warning] if said.warning else []
    if found.contradictions:
        lines.append(f"{found.contradictions} pairs contradict another pair")
    if found.leaks:
        lines.append(f"{found.leaks} training pairs ask what a held-out pair asks; a run leaves them out")
    if found.held_out == 0:
        lines.append("no pair is held out: nothing can be measured on these data alone")
    if found.clipping and max(found.clipping.shares.values()) > MUCH:
        lines += found.clipping.lines(found.limits["prompt"], found.limits["completion"], "all pairs")
    if found.shortcuts:
        told = {"length alone": found.shortcuts.length_only, "a bag of words": found.shortcuts.bag_of_words}
        lines += [f"{what} tells the better answer in {s:.0%} of pairs" for what, s in told.items() if s >= SHORTCUT]
    return replace(found, warnings=tuple(lines))
