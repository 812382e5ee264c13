"""Episodes: what is read, what is asked, and what stands in for nothing."""

from __future__ import annotations

import pytest
import torch

from aligners.gpo import GpoConfig
from aligners.gpo.episodes import OptionTable, collate, draw
from aligners.gpo.network import (
    NeuralProcess,
    new_module,
)
from aligners.gpo.training import loss_of
from tests.unit.aligners.gpo.synthetic import DIM, table


@pytest.fixture(scope="module")
def module() -> NeuralProcess:
    return new_module(DIM, 0, "cpu").eval()


@pytest.mark.parametrize("step", range(5))
def test_an_episode_splits_whole_questions_and_shows_no_target_its_answer(step: int) -> None:
    made = table()
    batch = draw(made, GpoConfig(least=2), (0, step))
    assert len(batch.index) == 5
    flat = batch.index.flatten()[batch.place]
    assert not batch.y.flatten()[batch.place].any()
    for row, shown in enumerate(batch.context.tolist()):
        here = (batch.place >= row * batch.index.shape[1]) & (batch.place < (row + 1) * batch.index.shape[1])
        asked, read = set(flat[here].tolist()), set(batch.index[row, :shown].tolist())
        assert asked
        assert not asked & read
        whole = [set(rows) for rows, _ in made.sources[0]]
        assert all(rows <= side or not rows & side for rows in whole for side in (asked, read))
        assert 2 <= sum(rows <= read for rows in whole) <= 6


def test_changing_a_targets_truth_changes_the_loss_but_no_output(module: NeuralProcess) -> None:
    made = table()
    told, asked = made.sources[0][:5], made.sources[0][5:]
    turned = [(rows, ys[::-1]) for rows, ys in asked]
    first, second = (collate([(told, half)], made.x.device) for half in (asked, turned))
    assert not torch.equal(first.targets.y, second.targets.y)
    outputs = [module(made.x[one.index], one.y, one.context) for one in (first, second)]
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    losses = [float(loss_of(module, made, one, GpoConfig()).detach()) for one in (first, second)]
    assert abs(losses[0] - losses[1]) > 1e-4


def test_a_batch_holds_every_source_once_at_most_batch_and_at_least_three() -> None:
    assert len(draw(table(40), GpoConfig(), (0, 0)).index) == 32
    assert len(draw(table(5), GpoConfig(), (0, 0)).index) == 5
    assert len(draw(table(1), GpoConfig(), (0, 0)).index) == 3


def test_without_context_every_row_reads_one_null_token() -> None:
    batch = draw(table(), GpoConfig(context="none"), (0, 0))
    assert batch.context.tolist() == [1] * 5
    assert not batch.index[:, 0].any()
    assert not batch.y.any()


def pairs_table(count: int = 12, *, exchange: bool = True) -> OptionTable:
    """One group, and pairs: the first option of each is the chosen one."""
    rated = table(1, count)
    rows = tuple(((1 + 2 * i, 2 + 2 * i), (1.0, 0.0)) for i in range(count))
    return OptionTable(torch.randn(1 + 2 * count, DIM), (rated.sources[0], rows), pairs=1, exchange=exchange)


def test_half_of_the_pairs_episodes_are_exchanged_as_a_whole_and_no_groups() -> None:
    turned = list[bool]()
    for step in range(20):
        batch = draw(pairs_table(), GpoConfig(least=2), (0, step))
        assert len(batch.index) == 8
        for row, shown in enumerate(batch.context.tolist()):
            here = (batch.place >= row * batch.index.shape[1]) & (batch.place < (row + 1) * batch.index.shape[1])
            read, asked = batch.y[row, :shown], batch.targets.y[here]
            if set(read.tolist()) <= {0.0, 1.0}:
                assert len({*read[::2].tolist(), *asked[::2].tolist()}) == 1, "context and targets alike"
                turned.append(bool(read[0] == 0))
    assert len(turned) == 20 * 4
    assert 0.3 < sum(turned) / len(turned) < 0.7
    fixed = draw(pairs_table(exchange=False), GpoConfig(least=2), (0, 0))
    pairs = [row for row in fixed.y.tolist() if set(row) <= {0.0, 1.0}]
    assert pairs
    assert all(row[0] == 1 for row in pairs)
