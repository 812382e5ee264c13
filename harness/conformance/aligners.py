"""Does a method keep the promises of `contracts.Aligner`? Checks for its author's own tests.

    from harness.conformance import parametrize_with_checks

    @parametrize_with_checks([MyAligner], expected_failures={"positive_control": "why it cannot pass"})
    def test_conformance(check):
        check()

Every check fits the method through the real bench on a tiny random model (`harness.conformance.toy`) and a lesson with
a known answer: what is said of a red thing must close with one phrase, what is said of a green one with another. An
aligner that only likes one phrase, or longer answers, is right on half of the held-out pairs. No network, no GPU.

A hyper-parameter says in `json_schema_extra` how it is checked:

    {"probe": 0.5}                                  another valid value, which must change the result
    {"probe": 0.5, "probe_with": {"f": "bt"}}       ... as long as these other values are set
    {"no_effect": "only for the log"}               it is read but changes nothing; the reason is reported
"""

from __future__ import annotations

import math
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from statistics import fmean
from typing import Any, get_args

from harness.conformance.answers import behaviour, choices, margins
from harness.conformance.checks import Check, CheckFailed, Outcome, known, outcomes, parametrized, required
from harness.conformance.lab import AGAINST, FULL, SHORT, Lab, Trial, bare_model
from harness.conformance.parameters import check_parameters_documented, check_parameters_matter, check_parameters_plain
from harness.conformance.toy import tiny_model
from harness.contracts import Aligned, Aligner, FewShot, Finishes, HarnessError, Loads, Need
from harness.fit.demands import asks, can, takes

COST_TOLERANCE = 0.1
"""How far a stated cost may be off what the meter counts, as a share."""


def aligner_checks(aligner: type[Aligner] | Aligner) -> Iterator[Check]:
    """All checks of one aligner, in order. They share fits, so one generator's checks are cheaper than many's.

    An instance is fitted with its own config; what is asked of each hyper-parameter starts from the class's defaults.
    """
    lab = Lab(aligner)
    for check in CHECKS:
        yield Check(_name(check), partial(check, lab))


def check_aligner(
    aligner: type[Aligner] | Aligner, *, expected_failures: Mapping[str, str] | None = None
) -> tuple[Outcome, ...]:
    """Run every check. Raises NotConformant listing all failures; HarnessError for an unknown name in the mapping."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return outcomes(f"aligner {aligner.name!r}", aligner_checks(aligner), expected)


def parametrize_with_checks(
    aligners: Sequence[type[Aligner] | Aligner], *, expected_failures: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that runs a pytest test function once per aligner and check, given as its argument `check`.

    `expected_failures` maps a check's name to the reason why it fails; a pass there is a failure, so that the list
    stays true. Raises HarnessError for an unknown name.
    """
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return parametrized({aligner.name: aligner_checks(aligner) for aligner in aligners}, expected)


def _name(check: Callable[[Lab], str]) -> str:
    return check.__name__.removeprefix("check_")


NEEDED_ACCURACY = 0.9


UNTAUGHT_ACCURACY = 0.75


SAME = 1e-3
"""How far an answer's log-odds may move with the items that are asked about beside it: other shapes round otherwise."""


ROUNDING = 1e-5
"""How far the log-probability of the same token by the same weights may move, in nats."""


def check_base_untouched(lab: Lab) -> str:
    """A fit changes only the adapter: base's weights stay the same bit for bit, and its answers up to rounding."""
    name, plain = lab.aligner_class.name, lab.plain
    required(
        plain.session.base() == plain.base, f"{name}: the base model's weights are not what they were before the fit"
    )
    pairs = zip(plain.session.base_answers(), plain.base_answers, strict=True)
    moved = max(abs(now - before) for answers in pairs for now, before in zip(*answers, strict=True))
    required(
        moved <= ROUNDING,
        f"{name}: with its adapter off, the model no longer answers as base does; a token's log-probability moved by "
        f"{moved:.2g} nats",
    )
    return ""


def check_takes_what_it_says(lab: Lab) -> str:
    """A fit reads only those parts of the few-shot data that `requires` and `accepts` name."""
    with lab.session() as session:
        guarded = guard(session.few_shot, takes(lab.aligner_class))
        with session.bench:
            session.aligner.fit(session.bench, guarded)
    taken = sorted(guarded.taken)
    required(not taken, f"{lab.aligner_class.name} reads {', '.join(taken)}, which it neither requires nor accepts")
    return ""


def check_can_what_it_says(lab: Lab) -> str:
    """The result can do something, and nothing beyond what the class declares."""
    found, declared = lab.result().capabilities, can(lab.aligner_class)
    name, listed = lab.aligner_class.name, ", ".join(sorted(declared))
    required(bool(found), f"{name}: its result can do nothing; {listed} was declared")
    beyond = ", ".join(sorted(found - declared))
    required(not beyond, f"{name}: its result can {beyond}, but the class declares only {listed}")
    silent = lab.result().trained and "adapters" not in asks(lab.aligner_class)
    required(not silent, f"{name}: it trains the adapter, but its class does not ask the engine for adapters")
    return ""


class Guarded(FewShot):
    """Few-shot data that notes and refuses access to what was not declared."""

    declared: frozenset[str]
    taken: set[str]

    def __getattribute__(self, name: str) -> Any:
        if name in FEW_SHOT and name not in super().__getattribute__("declared"):
            super().__getattribute__("taken").add(name)
            raise CheckFailed(f"an aligner reads {name!r}, which it neither requires nor accepts")
        return super().__getattribute__(name)


FEW_SHOT = frozenset(get_args(Need))


def guard(few_shot: FewShot, declared: frozenset[str]) -> Guarded:
    """The same data, of which only the `declared` parts may be read."""
    guarded = Guarded(**{field.name: getattr(few_shot, field.name) for field in fields(few_shot)})
    object.__setattr__(guarded, "declared", frozenset(declared))
    object.__setattr__(guarded, "taken", set())
    return guarded


def check_same_seed_same_adapter(lab: Lab) -> str:
    """The training seed decides everything: the process's random states do not change the result."""
    first, second = lab.result(), lab.result(Trial(salt=1))
    same = (first.adapter, first.behaviour) == (second.adapter, second.behaviour)
    required(same, f"{lab.aligner_class.name}: two fits with one seed differ; draw every random number from bench.seed")
    return ""


def check_other_seed_other_adapter(lab: Lab) -> str:
    """Another training seed gives another adapter, even from the same start."""
    first, second = lab.result(), lab.result(Trial(seed=1))
    if not first.trained:
        raise unittest.SkipTest(f"aligner {lab.aligner_class.name} trains nothing")
    required(
        first.adapter != second.adapter, f"{lab.aligner_class.name}: bench.seed is not used; two seeds give one adapter"
    )
    return ""


def check_trained_by_the_bench(lab: Lab) -> str:
    """Trainers are run by `bench.train`, which meters, checkpoints and resumes them, and never by themselves."""
    outside = sorted(set(lab.result().outside))
    required(
        not outside,
        f"{lab.aligner_class.name}: {', '.join(outside)}.train() is called; bench.train(trainer) was expected, "
        "which counts its steps, stores checkpoints and goes on after an interruption",
    )
    return ""


def check_budget_stops(lab: Lab) -> str:
    """At the cap a fit ends at once and in good order, with the best adapter that it has kept, if any."""
    name = lab.aligner_class.name
    trial = Trial(regime=SHORT.with_budget(selection="holdout25"))
    whole = lab.result(trial).flops
    if not whole:
        raise unittest.SkipTest(f"aligner {name} spends no compute")
    for share in (0.0, 0.4, 0.8):
        with lab.session(replace(trial, cap=share * whole)) as session:
            fitted = session.fit()
            required(session.meter.stops == 1, f"{name}: goes on after BudgetExceeded ({session.meter.stops} refusals)")
            best = session.kept[-1] if session.kept else session.adapter()
            own = isinstance(session.aligner, Finishes)  # which makes something else of its best candidate
            required(
                own or session.adapter() == best, f"{name}: stopped at the cap, it does not return its best candidate"
            )
            finite = all(abs(m) < float("inf") for m in margins(fitted.aligned))
            required(finite, f"{name}: stopped at the cap, it returns a model whose answers are not finite")
    return ""


def check_positive_control(lab: Lab) -> str:
    """From 32 pairs the method learns which closing phrase goes with which colour: held-out accuracy above 0.9."""
    lab.unless_it_takes("pairs")
    result = lab.result(FULL)
    figures = f"held-out accuracy {result.accuracy:.2f}, mean margin {fmean(result.margins):+.2f} nats"
    name = lab.aligner_class.name
    reversed_labels = result.accuracy < 1 - NEEDED_ACCURACY
    required(not reversed_labels, f"{name} looks reversed: it learns to prefer the rejected answers ({figures})")
    learned = result.accuracy > NEEDED_ACCURACY
    required(learned, f"{name} does not learn the lesson: {figures}; above {NEEDED_ACCURACY} is needed")
    return figures


def check_labels_swapped(lab: Lab) -> str:
    """If chosen and rejected are exchanged, the method learns the opposite: the held-out margin changes its sign."""
    lab.unless_it_takes("pairs")
    right, swapped = (lab.gain(lab.result(trial)) for trial in (FULL, replace(AGAINST, swapped=True)))
    figures = f"over base the mean margin is {right:+.3f} nats with the labels and {swapped:+.3f} with swapped ones"
    required(right > 0 > swapped, f"{lab.aligner_class.name}: the labels do not decide what is learned: {figures}")
    return figures


def check_labels_shuffled(lab: Lab) -> str:
    """If half of the labels are exchanged, there is nothing to learn: held-out accuracy stays near one half."""
    lab.unless_it_takes("pairs")
    accuracy = lab.result(replace(FULL, shuffled=True)).accuracy
    figures = f"held-out accuracy {accuracy:.2f} after labels that say nothing"
    required(
        accuracy <= UNTAUGHT_ACCURACY,
        f"{lab.aligner_class.name}: {figures}; at most {UNTAUGHT_ACCURACY} was expected, so something else teaches it",
    )
    return figures


def check_groups_swapped(lab: Lab) -> str:
    """The result tells a group that likes everything from one that likes nothing, also if they change places."""
    lab.unless_it_takes("groups")
    leans = [_lean(lab.result(Trial(opinions=True, swapped=swapped)).choices) for swapped in (False, True)]
    figures = f"P(yes) of the first group less that of the second: {leans[0]:+.3f}, and {leans[1]:+.3f} when swapped"
    required(leans[0] > 0 > leans[1], f"{lab.aligner_class.name}: what a group said does not decide: {figures}")
    return figures


def _lean(choices: Sequence[Sequence[float]]) -> float:
    """Mean P(yes) for the first target group less that for the second."""
    yes = [math.exp(row[0]) for row in choices]
    half = len(yes) // 2
    return fmean(yes[:half]) - fmean(yes[half:])


def check_no_data_no_harm(lab: Lab) -> str:
    """Without any data a fit is refused with HarnessError, or leaves a model that answers as base does."""
    name = lab.aligner_class.name
    with lab.session() as session:
        try:
            with session.bench:
                aligned = session.aligner.fit(session.bench, FewShot())
        except HarnessError as refusal:
            return f"refused: {refusal}"
        except Exception as error:
            raise CheckFailed(f"{name}: without data it crashes with {type(error).__name__}: {error}") from error
        moved = max(abs(a - b) for a, b in zip(margins(aligned), lab.base_margins, strict=True))
    required(moved < 1e-3, f"{name}: without data it still changes the model, by up to {moved:.3f} nats")
    return ""


def check_alone_as_in_company(lab: Lab) -> str:
    """An answer does not depend on what else is asked in the same call: padding and batches change nothing."""
    name, aligned = lab.aligner_class.name, lab.plain.aligned
    together = (*margins(aligned), *(value for row in choices(aligned) for value in row))
    alone = (*margins(aligned, at_once=1), *(value for row in choices(aligned, at_once=1) for value in row))
    moved = max((abs(a - b) for a, b in zip(together, alone, strict=True)), default=0.0)
    required(moved <= SAME, f"{name}: asked one by one, its answers differ by up to {moved:.4f} nats")
    return ""


def check_save_load(lab: Lab) -> str:
    """`save` writes only safetensors and JSON, and on the base model they answer as the fitted model did."""
    from peft import PeftModel

    name, aligned, folder = lab.aligner_class.name, lab.plain.aligned, lab.plain.session.folder / "saved"
    answers = behaviour(aligned)
    aligned.save(folder)
    odd = sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix not in SAVED_SUFFIXES)
    required(not odd, f"{name}: save writes {', '.join(odd)}; only safetensors and JSON are allowed")
    model = tiny_model()
    if (folder / "adapter_model.safetensors").exists():
        model = PeftModel.from_pretrained(model, str(folder))
    again: Aligned = bare_model(model, folder)
    if issubclass(lab.aligner_class, Loads):
        again = lab.aligner_class.load(bare_model(model, folder), folder)
    required(behaviour(again) == answers, f"{name}: loaded again, the model answers differently")
    return ""


SAVED_SUFFIXES = (".safetensors", ".json", ".md")
"""Markdown is the model card that PEFT writes."""


def check_cost(lab: Lab) -> str:
    """What the method states of its work is what the meter counts, within a tenth."""
    from aligners.costs import stated
    from harness.costs.sizes import sizes_of
    from harness.lm.metering import flop_model

    session = lab.plain.session
    bench, spend = session.bench, session.meter.spend
    few_shot, width = session.few_shot, bench.policy.config.get_text_config().hidden_size
    sizes = sizes_of(bench.tokenizer, bench.regime, few_shot, bench.split(few_shot.pairs), 0.0, width=width)
    work = stated(session.aligner, sizes)
    if work is None:
        raise unittest.SkipTest(f"aligner {session.aligner.name} states no cost")
    if work.samples:
        sizes = replace(sizes, sampled=spend.generated_tokens / work.samples)
        alive = bench.ledger.alive
        if "dropped" in alive:  # samples that were cut off are as long as may be, and nothing is learnt from them
            lost = alive.get("truncation", 0.0) * bench.regime.lengths.new_tokens
            sizes = replace(sizes, kept=1.0 - lost / sizes.sampled)
        work = stated(session.aligner, sizes) or work
    expected, counted = work.flops(flop_model(bench.policy)), lab.plain.result.flops
    off = abs(expected - counted) / max(counted, 1.0)
    required(off <= COST_TOLERANCE, f"the stated cost is {expected:.3e} FLOPs, and the meter counts {counted:.3e}")
    return f"{expected / max(counted, 1.0):.3f} of what is counted"


CHECKS: tuple[Callable[[Lab], str], ...] = (
    check_parameters_plain,
    check_parameters_documented,
    check_parameters_matter,
    check_base_untouched,
    check_takes_what_it_says,
    check_can_what_it_says,
    check_same_seed_same_adapter,
    check_other_seed_other_adapter,
    check_trained_by_the_bench,
    check_budget_stops,
    check_cost,
    check_positive_control,
    check_labels_swapped,
    check_labels_shuffled,
    check_groups_swapped,
    check_no_data_no_harm,
    check_alone_as_in_company,
    check_save_load,
)
