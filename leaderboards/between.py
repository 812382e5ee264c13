"""Rows of a table against each other: methods beside their own controls, and methods among themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.stats import average_seeds, holm, paired_tests
from leaderboards.folds import inflation
from leaderboards.rows import CONTROL_SETTINGS, Draft, SharedDraws, for_new_draws, on_shared_draws, versus
from leaderboards.settings import SHUFFLED, method_of
from leaderboards.table import Between, MethodRow, OnFigure

Named = tuple[str, Draft]
"""A row's label and its runs."""
TURNED = CONTROL_SETTINGS | {SHUFFLED}
"""What makes a control of a method."""
MOST_METHODS = 20
"""Methods up to which every pair is tested: the number of pairs grows with their square."""


def between(drafts: Sequence[Draft], rows: Sequence[MethodRow], main: str) -> tuple[Between, ...]:
    """Paired differences of the main metric: methods less their own controls first, then every pair of methods.

    `rows` are the drafts' rows, which give the labels, in their order. Rows without a mean, degenerate rows and rows
    that answered other items are left out.
    """
    able = _able(drafts, rows, main)
    own = list(_own(able, main))
    methods = [(label, one) for label, one in able if one.in_family]
    if len(methods) > MOST_METHODS:
        return tuple(own)
    most = len(methods) * (len(methods) - 1) // 2
    pairs = [
        found
        for i, one in enumerate(methods)
        for found in _against(one, methods[i + 1 :], main, own=False, comparisons=most)
    ]
    return (*own, *_adjusted(pairs))


def on_other_figures(drafts: Sequence[Draft], rows: Sequence[MethodRow], main: str) -> tuple[OnFigure, ...]:
    """Methods less their own controls on every metric but the main one, p adjusted over the metrics of such a pair.

    A main metric may hold much that any answer of the right form has. This says what else the labels have changed.
    """
    found: dict[tuple[str, str], dict[str, Between]] = {}
    for metric in sorted({name for one in drafts for name in one.metrics} - {main}):
        for one in _own(_able(drafts, rows, metric), metric):
            found.setdefault((one.first, one.second), {})[metric] = one
    return tuple(
        OnFigure(metric, adjusted)
        for figures in found.values()
        for metric, adjusted in zip(figures, _adjusted(list(figures.values())), strict=True)
    )


def _able(drafts: Sequence[Draft], rows: Sequence[MethodRow], metric: str) -> list[Named]:
    """Rows whose items have the metric, in the order of the table."""
    drafted = {tuple(entry.record.id for entry in one.kept): one for one in drafts}
    named = [(row.label, drafted[row.records]) for row in rows if row.records in drafted]
    return [
        (label, one) for label, one in named if metric in one.metrics and metric in one.values and not one.degenerate
    ]


def _own(able: Sequence[Named], metric: str) -> Iterator[Between]:
    """Methods less their own controls."""
    for label, method in able:
        if method.in_family:
            controls = [one for one in able if _is_control_of(one[1], method)]
            yield from _against((label, method), controls, metric, own=True)


def _adjusted(found: Sequence[Between]) -> list[Between]:
    """The same, with p adjusted over all of them by Holm's method."""
    adjusted = holm([1.0 if one.versus.p is None else one.versus.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True)]


def _against(first: Named, others: Sequence[Named], main: str, *, own: bool, comparisons: int = 1) -> Iterator[Between]:
    """The first row less each of the others that answered the same items, on the draws that both ran on."""
    label, one = first
    by_draws: dict[tuple[int, ...], list[tuple[str, SharedDraws]]] = {}
    for name, other in others:
        shared = on_shared_draws(one, other, main) if _same_items(one, other, main) else None
        if shared is not None:
            by_draws.setdefault(shared.draws, []).append((name, shared))
    for draws, met in by_draws.items():
        # The others less the first, turned round: many rows are held against one and share their random signs.
        tests = paired_tests(
            [average_seeds(shared.theirs) for _, shared in met],
            average_seeds(met[0][1].mine),
            one.units,
            comparisons=comparisons,
            inflation=inflation(one.kept),
        )
        for (name, shared), found in zip(met, tests, strict=True):
            ends = None if found.ci95 is None else (0.0 - found.ci95[1], 0.0 - found.ci95[0])
            turned = versus(one, replace(found, difference=0.0 - found.difference, ci95=ends))
            new_draws = for_new_draws(one, shared.mine, shared.theirs)
            yield Between(label, name, own, draws, turned, None, new_draws)


def _same_items(one: Draft, other: Draft, main: str) -> bool:
    items = one.values[main].keys()
    return items == other.values[main].keys() and all(one.units[item] == other.units[item] for item in items)


def _is_control_of(control: Draft, method: Draft) -> bool:
    """Whether it is the method, in the same settings, on shuffled labels, with a swapped context, or less a part."""
    return control.role == "control" and _less_controls(control) == _less_controls(method)


def _less_controls(one: Draft) -> str:
    return method_of(one.kept[0].record, TURNED)
