"""A study's methods against base, the reference and their own controls, and what the tests could have shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.contracts import BASE, HarnessError
from harness.stats import average_seeds, holm, paired_tests
from harness.stats.crossed import ENOUGH_DRAWS, Crossed, crossed_difference
from harness.study.power import Design, matched, surely_detectable
from harness.study.report.figures import Contrast
from harness.study.report.results import OWN_CONTROLS, Series, Values
from leaderboards.controls import NO_RUN, NO_SOUND_RUN
from leaderboards.rank import both, verdict

SHUFFLED = "shuffled"


@dataclass(frozen=True)
class Side:
    """A method less another side, and the values behind it."""

    contrast: Contrast
    made: Crossed
    mine: Sequence[Values]
    theirs: Sequence[Values]


Sides = dict[str, Side]
"""By the other side's name."""


def compare(series: Sequence[Series], everyone: Sequence[Series], reference: str) -> dict[str, Sides]:
    """Of every method in `series`, what it is compared with, and the verdicts."""
    found = {one.method: _sides(one, everyone, reference) for one in series}
    _adjust(series, found)
    return found


def tested(one: Series) -> bool:
    """Whether its differences are claims, which count in Holm's family."""
    return one.role == "method" and not one.degenerate and bool(one.by_draw)


def _sides(one: Series, others: Sequence[Series], reference: str) -> Sides:
    """The method less base, less the reference, and less its own controls: shuffled labels, a swapped context."""
    sides: dict[str, Mapping[int, Values]] = {BASE: one.base}
    named = {other.method: other for other in others}
    if reference in named and one.method != reference:
        if named[reference].degenerate:
            one.notes.append(f"not compared with {reference}, which is degenerate")
        else:
            sides[reference] = named[reference].by_draw
    for kind in OWN_CONTROLS:
        twin = next((other for other in others if other.control_of(kind) == one.method), None)
        if twin is None or twin.degenerate:
            one.notes += [NO_RUN if twin is None else NO_SOUND_RUN] if kind == SHUFFLED and one.needs_control else []
        else:
            sides[kind] = twin.by_draw
    found: Sides = {}
    for name, values in sides.items():
        try:
            made = against(name, one, values)
        except HarnessError as error:
            one.notes.append(f"not compared with {name}: {error}")
            continue
        if made is not None:
            found[name] = made
    return found


def against(name: str, one: Series, other: Mapping[int, Values]) -> Side | None:
    """The difference over the draws that both sides have; None without a common draw."""
    common = sorted(set(one.by_draw) & set(other))
    if not common:
        return None
    mine, theirs = ([values[d] for d in common] for values in (one.by_draw, other))
    made = crossed_difference(mine, theirs, one.units, inflation=one.inflation)
    contrast = Contrast(
        against=name, difference=made.mean, ci95=made.ci95, p=None if one.degenerate else made.p, p_holm=None,
        verdict=None, scope=made.scope, n_draws=made.n_draws,
    )  # fmt: skip
    return Side(contrast, made, mine, theirs)


def _adjust(series: Sequence[Series], compared: Mapping[str, Sides]) -> None:
    """Holm's adjustment over the methods, for each of the questions by itself; controls stay outside."""
    claims = {one.method: (one, _claims(one, compared[one.method])) for one in series if tested(one)}
    for question in {name for found in compared.values() for name in found}:
        asked = {method: (one, found[question]) for method, (one, found) in claims.items() if question in found}
        adjusted = holm([p for _, (_, p) in asked.values()])
        for (method, (one, (difference, _))), p in zip(asked.items(), adjusted, strict=True):
            before = compared[method][question]
            update = {"p_holm": p, "verdict": verdict(one.sign * difference, p)}
            compared[method][question] = replace(before, contrast=before.contrast.model_copy(update=update))


def _claims(one: Series, compared: Sides) -> dict[str, tuple[float, float]]:
    """(difference, p) by question. A task may ask that base and the own control are both beaten."""
    found = {name: (side.made.mean, side.made.p) for name, side in compared.items()}
    if one.needs_control and BASE in found:
        whole = both([found[name] for name in _verdict_rests_on(one) if name in found])
        found = found | {BASE: whole} if SHUFFLED in found else {k: v for k, v in found.items() if k != BASE}
    return found


def _verdict_rests_on(one: Series) -> tuple[str, ...]:
    return (BASE, SHUFFLED) if one.needs_control else (BASE,)


# ---------------------------------------------------------------- what could have been shown


@dataclass(frozen=True)
class Showable:
    """What the tests behind the verdicts could have shown."""

    designs: Sequence[Design]
    """Those of the tests that would have found a difference of some size."""
    least: float | None
    """The largest of their detectable differences; None where one of them would find none, and without a test."""
    family: int

    @property
    def components(self) -> tuple[float, float, float] | None:
        """The largest of each variance, over differences that were seen on two draws or more."""
        found = [design.components for design in self.designs if design.draws > 1]
        if not found:
            return None
        return max(c.draws for c in found), max(c.units for c in found), max(c.rest for c in found)


def could_have_shown(series: Sequence[Series], compared: Mapping[str, Sides]) -> Showable:
    """From the comparisons on which the verdicts rest."""
    claims = [one for one in series if tested(one) and _has_verdict(compared[one.method])]
    sides = [(one, compared[one.method][name]) for one in claims for name in _verdict_rests_on(one)]
    found = [(_design(side.made), _detectable(one, side, len(claims))) for one, side in sides]
    known = [(design, least) for design, least in found if least is not None]
    largest = max(least for _, least in known) if known and len(known) == len(found) else None
    return Showable([matched(design, least, len(claims)) for design, least in known], largest, len(claims))


def _has_verdict(compared: Sides) -> bool:
    return BASE in compared and compared[BASE].contrast.verdict is not None


def _detectable(one: Series, side: Side, family: int) -> float | None:
    """The smallest difference that the test in use finds: Student's over draws and units, or the one over units."""
    if side.made.degrees and side.made.n_draws >= ENOUGH_DRAWS:
        least = surely_detectable(_design(side.made), family)
        return None if least is None else least * math.sqrt(one.inflation)
    mine, theirs = average_seeds(side.mine), average_seeds(side.theirs)
    return paired_tests([mine], theirs, one.units, comparisons=family, inflation=one.inflation)[0].mdd


def _design(made: Crossed) -> Design:
    return Design(made.components, made.n_draws, made.n_units)
