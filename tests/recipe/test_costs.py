"""The costs that methods state, where the conformance kit does not look: plain TRL, and a step's share of a fit."""

from __future__ import annotations

from typing import Any, cast

import pytest

from aligners.costs import COSTS, stated
from aligners.dpo import Dpo
from aligners.gpo.method import Gpo, GpoResidual
from aligners.gpo.network import new_module
from aligners.opinion_costs import answers_of, module_flops, module_weights
from aligners.ridge import Ridge
from aligners.sft import Sft
from harness.conformance import Lab, Trial
from harness.conformance.lab import SHORT
from harness.contracts import Aligner, Rating, user
from harness.costs import AskedOfGroups, FitWork, Passes, Sizes
from harness.costs.sizes import sizes_of
from harness.lm.metering import flop_model
from harness.lm.paths import paths
from harness.plugins.registry import load

pytestmark = pytest.mark.recipe


@pytest.mark.parametrize("aligner", [Sft, Dpo])
def test_without_fast_paths_rows_are_whole(aligner: type[Aligner]) -> None:
    """Within 15 %: the padding of a batch is not part of the formula."""
    with paths(False), Lab(aligner).session(Trial()) as session:
        session.fit()
        bench = session.bench
        halves = bench.split(session.few_shot.pairs)
        sizes = sizes_of(bench.tokenizer, bench.regime, session.few_shot, halves, fast=False)
        work = stated(session.aligner, sizes)
        assert work is not None
        assert work.flops(flop_model(bench.policy)) == pytest.approx(session.meter.spend.flops, rel=0.15)


def test_every_method_states_its_cost() -> None:
    assert not set(load(plugins=False).aligners) - set(COSTS)


class Asks:
    """A method of somebody else's that reads every question aloud once, and one that states nothing."""

    name = "asks"
    config = None


class AsksAndSays(Asks):
    def cost_of_answers(self, sizes: Sizes, asked: AskedOfGroups) -> FitWork:
        return FitWork(forward=Passes(sum(map(asked.rendered, (user(one.prompt) for one in asked.questions)))))


def test_the_work_of_answers_about_groups_is_what_the_method_states() -> None:
    """Letters where it states nothing: two answers behind each of two questions, whoever is asked."""
    ratings = [Rating(name, "a b c", ("yes", "no"), (0.5, 0.5)) for name in ("first", "second")]
    asked = AskedOfGroups(tuple((group, one) for group in ("x", "y", "z") for one in ratings), lambda _: 10)
    sizes = Sizes(cast("Any", None))  # neither asks for the regime
    silent, said = (cast("Aligner", one()) for one in (Asks, AsksAndSays))
    assert answers_of(said, sizes, asked).forward == Passes(20)
    assert answers_of(silent, sizes, asked).forward == Passes(20, 4, 200)


@pytest.mark.parametrize("inputs", [1, 4, 1152])
def test_the_module_of_gpo_has_as_many_weights_as_is_stated(inputs: int) -> None:
    module = new_module(inputs, 0, "cpu")
    assert module.flops(2, 3, 5) == module_flops(module_weights(inputs), 6, 5)


def counted(aligner: type[Aligner], trial: Trial, **settings: Any) -> tuple[float, float]:
    """FLOPs of a fit as they are stated, and as the meter counts them."""
    with Lab(aligner).session(trial) as session:
        session.aligner = aligner(aligner.Config(**settings))
        session.fit()
        bench, few_shot = session.bench, session.few_shot
        width = bench.policy.config.get_text_config().hidden_size
        sizes = sizes_of(bench.tokenizer, bench.regime, few_shot, bench.split(few_shot.pairs), width=width)
        work = stated(session.aligner, sizes)
        assert work is not None
        return work.flops(flop_model(bench.policy)), session.meter.spend.flops


HELD = SHORT.with_budget(selection="holdout25")
OPINIONS = Trial(opinions=True)
CASES: dict[str, tuple[type[Aligner], Trial, dict[str, Any]]] = {
    "pairs, some held out": (Gpo, Trial(regime=HELD, pairs=16), {"steps": 9}),
    "pairs, no context": (Gpo, Trial(), {"steps": 8, "context": "none", "centre": "question"}),
    "groups": (Gpo, OPINIONS, {"steps": 8}),
    "groups over embeddings": (GpoResidual, OPINIONS, {"steps": 8, "axes": 0}),
    "ridge, swapped": (Ridge, OPINIONS, {"context": "swapped"}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_methods_on_embeddings_state_their_cost_in_other_settings(case: Any) -> None:
    """The kit holds the defaults to the meter."""
    aligner, trial, settings = case
    expected, found = counted(aligner, trial, **settings)
    assert expected == pytest.approx(found, rel=0.1)


def test_what_a_fit_would_refuse_costs_nothing() -> None:
    methods: tuple[Any, ...] = (Gpo, GpoResidual, Ridge)
    for aligner in methods:
        assert stated(aligner(aligner.Config()), Sizes(SHORT)) == FitWork()
