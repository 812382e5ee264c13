"""The costs that methods state, where the conformance kit does not look: plain TRL, and a step's share of a fit."""

from __future__ import annotations

import pytest

from aligners.costs import COSTS, stated
from aligners.dpo import Dpo
from aligners.sft import Sft
from harness.conformance import Lab, Trial
from harness.contracts import Aligner
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


def test_every_method_on_pairs_or_samples_states_its_cost() -> None:
    unstated = {"gpo", "gpo_residual", "ridge"}
    assert set(load(plugins=False).aligners) - set(COSTS) == unstated
