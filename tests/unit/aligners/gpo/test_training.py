"""The module learns to read a group, or pairs, from its context."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from aligners.gpo import GpoConfig
from aligners.gpo.episodes import OptionTable, collate, draw
from aligners.gpo.network import (
    NeuralProcess,
    log_softmax_by_question,
    new_module,
)
from aligners.gpo.outlook import View
from aligners.gpo.result import Reader
from aligners.gpo.training import loss_of, rate_at
from tests.unit.aligners.gpo.synthetic import RESIDUAL, World, taste


def test_the_rate_rises_and_then_follows_half_a_cosine() -> None:
    config = GpoConfig(warmup=0.1, learning_rate=1.0)
    rates = [rate_at(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] or max(rates) == rates[10]
    assert rates[50] == pytest.approx(0.5)
    assert rates[99] < 1e-3
    assert rate_at(0, 100, config.model_copy(update={"warmup": 0.0})) == 1


def trained(fresh: Callable[[int], OptionTable], config: GpoConfig, steps: int, rate: float) -> NeuralProcess:
    """A module after so many steps, each on the table that `fresh` gives for it."""
    timing = config.model_copy(update={"learning_rate": rate})
    module = new_module(fresh(0).x.shape[1], 0, "cpu", balanced=True)
    optimizer = torch.optim.Adam(module.parameters())
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, timing)
        made = fresh(step)
        value = loss_of(module, made, draw(made, config, (1, step)), config)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return module.eval()


def test_with_raw_labels_the_own_context_beats_the_swapped_one_in_one_dimension() -> None:
    """Groups and questions of the test are new: only the context can tell what a group prefers."""
    config = GpoConfig(least=6, most=6)
    module = trained(lambda step: taste(16, 12, 1, seed=step), config, 120, 1e-3)
    test = taste(12, 24, 1, seed=10_000)
    own, swapped = (error(module, test, shift) for shift in (0, 1))
    assert own < 0.5 * swapped


def test_on_synthetic_groups_in_24_dimensions_the_own_context_beats_the_swapped_one() -> None:
    """y = softmax(w_g . x): groups of the test are new, and so are the questions that they are asked about."""
    world = World(24)
    training = {f"g{i}": world.group(i, range(40)) for i in range(12)}
    view = View.of(training, world.embedder, GpoConfig(), RESIDUAL)
    assert view.dim_x <= 4
    made = OptionTable.of(training, view, "cpu")
    reader = Reader(trained(lambda _: made, GpoConfig(), 160, 1e-3), view, {})
    own, swapped, none = (world.error(reader, range(100, 112), shift) for shift in (0, 1, None))
    assert own < 0.7 * none < 0.7 * swapped


def error(module: NeuralProcess, test: OptionTable, shift: int) -> float:
    """Mean |p - y| over the last half of the questions, read in the context of the `shift`-next group's first half."""
    gaps = []
    for i, source in enumerate(test.sources):
        shown = test.sources[(i + shift) % len(test.sources)][:12]
        batch = collate([(shown, source[12:])], "cpu")
        with torch.no_grad():
            mu, _ = module(test.x[batch.index], batch.y, batch.context)
        p = log_softmax_by_question(mu.flatten()[batch.place], batch.targets.question, batch.targets.questions).exp()
        gaps.append(float((p - batch.targets.y).abs().mean()))
    return float(np.mean(gaps))


@pytest.mark.parametrize("exchange", [True, False])
def test_pairs_are_read_from_the_context_only_where_labels_are_exchanged(exchange: bool) -> None:
    """With fixed labels x alone gives y, and what the context says moves nothing; on pairs that were never shown."""
    count, rng = 8, np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(1 + 4 * count, 24))).float()
    x[1::2, 0] += 2.0  # what chosen answers have in common
    x[0] = 0
    rows = [((1 + 2 * i, 2 + 2 * i), (1.0, 0.0)) for i in range(2 * count)]
    made = OptionTable(x, (tuple(rows[:count]),), pairs=0, exchange=exchange)
    module = trained(lambda _: made, GpoConfig(least=4, most=4), 120, 3e-4)
    shares = []
    for y in ((1.0, 0.0), (0.0, 1.0)):
        batch = collate([([(pair, y) for pair, _ in rows[:count]], rows[count:])], "cpu")
        with torch.no_grad():
            mu, _ = module(x[batch.index], batch.y, batch.context)
        shares.append(mu.flatten()[batch.place].reshape(-1, 2).softmax(-1)[:, 0])
    moved = float((shares[0] - shares[1]).abs().mean())
    assert (moved > 0.3) if exchange else (moved < 0.2)
