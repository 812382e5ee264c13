"""Rows of a table: a method's runs over their seeds, each metric with its interval and its difference to base."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.contracts import BASE, HarnessError
from harness.records.schema import Record, Score, Status
from harness.stats import (
    Estimate,
    Paired,
    average_seeds,
    mean_interval,
    mean_intervals,
    paired_tests,
    same_items,
    seed_sd,
)
from harness.stats.crossed import crossed_difference
from leaderboards.folds import (
    Place,
    by_seed,
    complete,
    incomplete,
    inflation,
    place,
    run_text,
    together,
    whole_runs,
)
from leaderboards.load import Entry, Samples
from leaderboards.settings import changed
from leaderboards.table import ABLATIONS, Cost, MethodRow, Metric, Role, Versus
from leaderboards.unchanged import gives_the_same_answers

CONTROLS = frozenset({"random", "uniform"})
"""Aligners that learn nothing from the labels: what they reach, chance reaches."""
CONTROL_SETTINGS = ABLATIONS | {("context", "swapped"), ("context", "none")}
"""Settings that take out what a method is about; beside ablations, whose ratings it reads."""
UNFIT = frozenset({"degenerate", "over_cap"})
"""Statuses of a run that has a score and is no result of its method: below the floor of life, or past the cap."""
_SEVERITY: tuple[Status, ...] = ("ok", "degenerate", "over_cap", "failed")
_TOLERANCE = 1e-6
LEAST_DRAWS = 3
"""Draws below which nothing is said of new ones: the interval of two reaches beyond every scale."""
LARGEST = 1e100
"""Values beyond this, and those that are no number, have no mean: sums of their squares would be none."""


@dataclass(frozen=True, slots=True)
class SharedDraws:
    """Two rows' values of one metric, draw by draw."""

    draws: tuple[int, ...]
    mine: list[Mapping[str, float]]
    theirs: list[Mapping[str, float]]


Values = dict[str, dict[str, float]]
"""Metric -> item -> value."""


@dataclass
class Draft:
    """A row before it is compared."""

    kept: list[Entry]
    """One run of each seed (and fold), the newest."""
    scored: list[Entry]
    """Those behind the score: the seeds that are sound, and the others only where none is."""
    values: Values
    """Means over the scored seeds."""
    units: dict[str, str]
    role: Role
    remarks: list[str]
    metrics: dict[str, Metric] = field(default_factory=dict)
    needs_control: bool = False
    control: Draft | None = None
    """The same method on shuffled labels, where the table asks for it and it is there."""
    versus_control: Versus | None = None
    new_draws_ci95: tuple[float, float] | None = None

    @property
    def runs(self) -> list[Samples]:
        """The samples of every scored seed, folds put together."""
        return whole_runs(self.scored)

    @property
    def degenerate(self) -> bool:
        """Whether no seed with a score did, in all its folds, what its method is about."""
        return any(entry.record.status in UNFIT for entry in self.scored)

    @property
    def in_family(self) -> bool:
        """Whether the row's difference to base is a claim that is tested."""
        return self.role == "method" and not self.degenerate and not (self.needs_control and self.control is None)


def draft(entries: Sequence[Entry]) -> Draft:
    """The runs of one row, their values averaged over seeds."""
    kept, replaced = _latest(entries)
    read = [entry for entry in kept if entry.record.status != "failed" and entry.samples is not None]
    scored = sound(read) or read
    runs = whole_runs(scored)
    values, problems = _values(runs)
    units = {item: unit for run in runs for item, unit in run.units.items()}
    role = role_of(kept[0].record)
    # Base is cached per budget, so several equal runs of it are normal and need no remark.
    remarks = [
        *([] if role == "base" else replaced),
        *_reasons(kept),
        *left_out(read, scored),
        *incomplete(scored),
        *problems,
    ]
    return Draft(kept, scored, values, units, role, remarks)


def sound(read: Sequence[Entry]) -> list[Entry]:
    """The runs of the seeds that are fit in all their folds."""
    seeds = by_seed(read).values()
    return [entry for runs in seeds if not any(run.record.status in UNFIT for run in runs) for entry in runs]


def left_out(read: Sequence[Entry], scored: Sequence[Entry]) -> Iterator[str]:
    """A remark where the score is not of all seeds, because some are unfit."""
    all_, kept = len(by_seed(read)), len(by_seed(scored))
    if kept < all_:
        gone = "1 unfit is" if all_ - kept == 1 else f"{all_ - kept} unfit are"
        yield f"the score is of {kept} of {all_} seeds: {gone} left out"


def compared(drafts: Sequence[Draft], base: Draft | None, main: str) -> None:
    """Fill in every metric of the drafts and of base; rows with the same items share their draws."""
    everyone = [*drafts, *([base] if base is not None else [])]
    for name in sorted({name for one in everyone for name in one.values}):
        _estimate(everyone, name)
        if base is not None:
            _compare(drafts, base, name, main)
    _compare_with_controls(drafts, main)
    for one in everyone:
        _add_what_has_no_rows(one)
        one.remarks += _disagreements(one.scored)
    if base is not None:
        for one in drafts:
            one.remarks += _without_effect(one, base)
            one.new_draws_ci95 = _for_new_draws(one, base, main)


def finished(one: Draft, main: str) -> MethodRow:
    """The row of a draft, before Holm's adjustment."""
    statuses = Counter(entry.record.status for entry in one.kept)
    first = one.kept[0].record
    whole = complete(one.scored)
    costly = [entry.record for entry in one.scored or one.kept]
    return MethodRow(
        label=label(first.aligner.name, changed(first)),
        aligner=first.aligner.name,
        version=first.aligner.version,
        changed=changed(first),
        role=one.role,
        degenerate=one.degenerate,
        seeds=tuple(by_seed(one.kept)),
        n_scored=len(whole),
        n_draws=len({draw for draw, _ in whole}),
        status=max(statuses, key=_SEVERITY.index),
        statuses={status: statuses[status] for status in _SEVERITY if statuses[status]},
        metrics=dict(sorted(one.metrics.items(), key=lambda item: (item[0] != main, item[0]))),
        p_holm=None,
        verdict=None,
        cost=None if one.role == "outputs" else _cost(costly),
        liveness=_liveness(costly),
        records=tuple(entry.record.id for entry in one.kept),
        scored=tuple(entry.record.id for folds in whole.values() for entry in folds),
        remarks=tuple(one.remarks),
        versus_control=one.versus_control,
        new_draws_ci95=one.new_draws_ci95,
    )


def role_of(record: Record) -> Role:
    """Base, another model's outputs, a control, or a method whose differences are claims."""
    if record.outputs is not None:
        return "outputs"
    if record.aligner.name == BASE:
        return "base"
    turned = any(record.aligner.config.get(name) == value for name, value in CONTROL_SETTINGS)
    return "control" if record.aligner.name in CONTROLS or turned or record.data.shuffled_labels else "method"


# ---------------------------------------------------------------- metrics


def _estimate(drafts: Sequence[Draft], name: str) -> None:
    """Mean and interval of one metric in every draft that has it."""
    for group in _same_items([one for one in drafts if name in one.values], name):
        for one, estimate in zip(group, _estimates(group, name), strict=True):
            runs = [run.values[name] for run in one.runs]
            if estimate is not None:
                one.metrics[name] = Metric(estimate, seed_sd(runs), None)


def _estimates(group: Sequence[Draft], name: str) -> list[Estimate | None]:
    """The estimate of a single run is its record's, that of several is computed; None, and a remark, without a mean."""
    found: list[Estimate | None] = [_by_definition(one, name) or _stated(one, name) for one in group]
    open_ = [i for i, estimate in enumerate(found) if estimate is None and _finite(group[i], name)]
    made = mean_intervals([group[i].values[name] for i in open_], group[0].units, inflation=inflation(group[0].kept))
    for i, estimate in zip(open_, made, strict=True):
        found[i] = estimate
    return found


def _finite(one: Draft, name: str) -> bool:
    if _all_small(one.values[name].values()):
        return True
    bad = max(one.values[name], key=lambda item: math.inf if math.isnan(v := one.values[name][item]) else abs(v))
    one.remarks.append(f"{name} has no mean: it is {one.values[name][bad]} on item {bad}")
    return False


def _all_small(values: Iterable[float]) -> bool:
    return sum(map(abs, values)) <= LARGEST  # which is false of nan, too


def _by_definition(one: Draft, name: str) -> Estimate | None:
    """Base's own half, where a metric is read against base, however many runs or folds it has."""
    record, values = one.kept[0].record, one.values[name]
    if name not in record.task.halves(record.aligner.name) or set(values.values()) != {0.5}:
        return None
    return mean_interval(list(values.values()), [one.units[item] for item in values], half_by_definition=True)


def _stated(one: Draft, name: str) -> Estimate | None:
    """The figure in the record of a row of one run, where it is the mean of the samples."""
    alone = len(one.scored) == 1 and one.scored[0].record.data.fold is None
    score = one.scored[0].record.scores.get(name) if alone else None
    values = one.values[name]
    if score is None or score.whole or not _all_small(values.values()):
        return None
    if not _close(math.fsum(values.values()) / len(values), score.mean):
        return None
    if score.without_width and not (one.role == "base" and score.mean == 0.5):
        return None  # records from before intervals of constants had a width state none; of base it may be a definition
    return Estimate(score.mean, score.ci95, score.n) if score.n == len({one.units[item] for item in values}) else None


def _compare(drafts: Sequence[Draft], base: Draft, name: str, main: str) -> None:
    """Differences to base of one metric; only what is in the family has a p and a detectable difference."""
    against = base.values.get(name)
    if against is not None and name not in base.metrics:  # of base there is no mean, which its own remark says
        for one in drafts:
            if name in one.metrics:
                one.remarks.append(f"{name} is not compared with {BASE}, of which it has no mean")
        return
    able = [one for one in drafts if name in one.metrics and against is not None and _comparable(one, against, name)]
    family = sum(one.in_family for one in able) if name == main else 1
    for group in _same_items(able, name):
        rows = [one.values[name] for one in group]
        tests = paired_tests(
            rows, against or {}, group[0].units, comparisons=max(family, 1), inflation=inflation(group[0].kept)
        )
        for one, paired in zip(group, tests, strict=True):
            before = one.metrics[name]
            one.metrics[name] = Metric(before.score, before.seed_sd, versus(one, paired))


def versus(one: Draft, paired: Paired) -> Versus:
    """A test's figures; a degenerate row is not tested, so that it has neither p nor a detectable difference."""
    untested = {"p": None, "mdd": None} if one.degenerate else {}
    return Versus(**{**asdict(paired), **untested})


def _for_new_draws(one: Draft, base: Draft, main: str) -> tuple[float, float] | None:
    """Interval of the difference to base with the draws as a sample, too."""
    metric = one.metrics.get(main)
    if metric is None or metric.versus_base is None or one.degenerate:
        return None
    return for_new_draws(one, list(by_draw(one, main).values()), [base.values[main]])


def by_draw(one: Draft, main: str) -> dict[int, Mapping[str, float]]:
    """The values of every draw that has all its folds; training seeds of a draw are averaged."""
    draws: dict[int, list[Mapping[str, float]]] = {}
    for (draw, _), folds in complete(one.scored).items():
        draws.setdefault(draw, []).append(together(folds).values[main])
    return {draw: average_seeds(runs) for draw, runs in draws.items()}


def on_shared_draws(one: Draft, other: Draft, main: str) -> SharedDraws | None:
    """Both rows' values on the draws that both have a sound run of; None without such a draw.

    A row's own mean is over all of its sound draws, and draws differ more than methods do.
    """
    mine, theirs = by_draw(one, main), by_draw(other, main)
    shared = tuple(sorted(mine.keys() & theirs.keys()))
    return SharedDraws(shared, [mine[d] for d in shared], [theirs[d] for d in shared]) if shared else None


def for_new_draws(
    one: Draft, mine: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]
) -> tuple[float, float] | None:
    """Interval of the difference for new draws and new questions; None where there are too few draws to say.

    `theirs` are the values on the same draws, or one mapping for all of them.
    """
    if len(mine) < LEAST_DRAWS:
        return None
    try:
        return crossed_difference(mine, theirs, one.units, inflation=inflation(one.kept)).ci95
    except HarnessError:  # draws that asked for other items: the row's remarks say so
        return None


def _compare_with_controls(drafts: Sequence[Draft], main: str) -> None:
    """The main metric of every method against its own control, on the items of both."""
    family = sum(one.in_family for one in drafts if main in one.metrics)
    for one in drafts:
        control = one.control
        if control is None or main not in control.values or main not in one.metrics:
            continue
        if not _comparable(one, control.values[main], main, "its control"):
            continue
        shared = on_shared_draws(one, control, main)
        if shared is None:
            one.remarks.append(f"{main} is not compared with its control: they have no sound run of one draw in common")
            continue
        mine, theirs = average_seeds(shared.mine), average_seeds(shared.theirs)
        [paired] = paired_tests([mine], theirs, one.units, comparisons=max(family, 1), inflation=inflation(one.kept))
        one.versus_control = versus(one, paired)


def _comparable(one: Draft, against: Mapping[str, float], name: str, whom: str = BASE) -> bool:
    try:
        same_items(one.values[name], against, None)
    except HarnessError as error:
        one.remarks.append(f"{name} is not compared with {whom}: {error}")
        return False
    return True


def _same_items(drafts: Sequence[Draft], name: str) -> list[list[Draft]]:
    """The drafts, those with the same items in the same units together."""
    found: dict[frozenset[tuple[str, str]], list[Draft]] = {}
    for one in drafts:
        items = one.values[name]
        found.setdefault(frozenset(zip(items, map(one.units.__getitem__, items), strict=True)), []).append(one)
    return list(found.values())


def _add_what_has_no_rows(one: Draft) -> None:
    """Metrics of the whole set, and the stated scores of a single run whose samples are gone."""
    if one.scored:
        one.metrics |= _whole(one.scored)
    elif len(one.kept) == 1 and one.kept[0].record.status != "failed":
        scores = one.kept[0].record.scores
        one.metrics |= {name: Metric(Estimate(s.mean, s.ci95, s.n), None, None) for name, s in scores.items()}


def _without_effect(one: Draft, base: Draft) -> Iterator[str]:
    """Runs whose fitted adapter leaves every answer as base gives it."""
    of_base = {place(entry.record)[2]: entry for entry in base.scored}
    for entry in one.scored:
        theirs = of_base.get(place(entry.record)[2])
        if entry.record.aligner.adapter_hash is not None and theirs and gives_the_same_answers(entry, theirs):
            which = run_text(entry.record)
            yield f"the fitted adapter of {which} changes no answer: every item has the answer of {BASE}"


def label(name: str, changed: Mapping[str, Any]) -> str:
    """A row's name: the method and its hyper-parameters that are not the defaults."""
    parts = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in sorted(changed.items())
    ]
    return f"{name} [{', '.join(parts)}]" if parts else name


def _latest(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """One entry per seed, the newest; a remark names the older ones."""
    newest: dict[Place, Entry] = {}
    older: list[str] = []
    for entry in sorted(entries, key=lambda e: (e.record.manifest.created, e.folder)):
        seed = place(entry.record)
        if seed in newest:
            older.append(newest[seed].folder)
        newest[seed] = entry
    remarks = [f"newer runs of the same seeds replace {', '.join(older)}"] if older else []
    return [newest[seed] for seed in sorted(newest)], remarks


def _reasons(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        record = entry.record
        seed = run_text(record)
        if record.status != "ok":
            failure = record.failure.reason if record.failure else None
            reason = record.reason or failure or "no reason given"
            yield f"{record.status} ({seed}): {reason}"
        if entry.problem:
            yield f"{entry.problem} ({seed}): no paired test of this run"


def _values(whole: Sequence[Samples]) -> tuple[Values, list[str]]:
    """Per metric and item, the mean over seeds; a metric whose items differ between seeds is a problem, not a crash."""
    runs = [samples.values for samples in whole]
    found: Values = {}
    problems: list[str] = []
    for metric in sorted({name for run in runs for name in run}):
        try:
            found[metric] = average_seeds([run.get(metric, {}) for run in runs])
        except (HarnessError, ValueError, OverflowError) as error:  # infinities of both signs have no sum
            problems.append(f"{metric} cannot be averaged over seeds: {error}")
    return {metric: values for metric, values in found.items() if values}, problems


def _whole(entries: Sequence[Entry]) -> dict[str, Metric]:
    """Metrics of the whole set, which only records have: means over the seeds, where all of them give the metric.

    The seeds answer the same items, so their intervals are not independent: the mean of the limits is taken for the
    interval of the mean, which is too wide rather than too narrow. There are no rows to pair, hence no test.
    """
    given = [{name: score for name, score in e.record.scores.items() if score.whole} for e in entries]
    return {name: _mean_of([scores[name] for scores in given]) for name in set.intersection(*map(set, given))}


def _mean_of(scores: Sequence[Score]) -> Metric:
    runs = [{"": score.mean} for score in scores]
    limits = [score.ci95 for score in scores if score.ci95 is not None]
    low, high = (math.fsum(side) / len(scores) for side in zip(*limits, strict=True)) if limits else (0.0, 0.0)
    ci95 = (low, high) if len(limits) == len(scores) else None
    return Metric(Estimate(average_seeds(runs)[""], ci95, min(s.n for s in scores)), seed_sd(runs), None)


def _disagreements(entries: Iterable[Entry]) -> list[str]:
    """Records whose stated score is not the mean of their samples: one of the two files was changed."""
    found: list[str] = []
    for entry in entries:
        values = entry.samples.values if entry.samples else {}
        for name, score in entry.record.scores.items():
            column = values.get(name)
            if column and not _close(sum(column.values()) / len(column), score.mean):
                found.append(f"{entry.folder}: {name} in record.json is not the mean of samples.parquet")
    return found


def _close(mean: float, stated: float) -> bool:
    return abs(mean - stated) <= _TOLERANCE * max(1.0, abs(stated))


def _cost(records: Sequence[Record]) -> Cost:
    def mean(figure: Callable[[Record], float]) -> float:
        return sum(figure(record) for record in records) / len(records)

    return Cost(
        labels=mean(lambda r: r.spent.labels),
        auxiliary_labels=mean(lambda r: r.spent.auxiliary_labels),
        prompts=mean(lambda r: r.spent.prompts),
        generated_tokens=mean(lambda r: r.spent.generated_tokens),
        forward_tokens=mean(lambda r: r.spent.forward_tokens),
        trained_tokens=mean(lambda r: r.spent.trained_tokens),
        optimizer_steps=mean(lambda r: r.spent.optimizer_steps),
        flops=mean(lambda r: r.spent.flops),
        inference_flops=mean(lambda r: r.spent.inference.flops),
        fit_seconds=mean(lambda r: r.spent.seconds.fit),
        evaluate_seconds=mean(lambda r: r.spent.seconds.evaluate),
        total_seconds=mean(lambda r: r.spent.seconds.total),
        lost_seconds=mean(lambda r: r.spent.lost.seconds),
        peak_memory_bytes=max(r.spent.peak_memory_bytes for r in records),
    )


def _liveness(records: Sequence[Record]) -> dict[str, float]:
    names = sorted({name for record in records for name in record.aligner.liveness})
    found = {name: [r.aligner.liveness[name] for r in records if name in r.aligner.liveness] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}
