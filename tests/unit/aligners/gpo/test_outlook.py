"""What groups share, and where they differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aligners.gpo import GpoConfig
from aligners.gpo.episodes import OptionTable, collate, draw
from aligners.gpo.network import (
    new_module,
)
from aligners.gpo.outlook import Departs, View
from aligners.gpo.result import Reader
from aligners.gpo.training import loss_of
from harness.opinions.questions import Rated
from tests.unit.aligners.gpo.synthetic import DIM, RESIDUAL, World, softmax


def outlook_of(groups: int, axes: int = 4) -> tuple[World, dict[str, tuple[Rated, ...]], View]:
    world = World(DIM)
    sources = {f"g{i}": world.group(i, range(12)) for i in range(groups)}
    return world, sources, View.of(sources, world.embedder, GpoConfig(), Departs(labels=True, axes=axes))


def test_groups_share_their_mean_on_seen_questions_and_a_prediction_on_others() -> None:
    world, sources, view = outlook_of(5)
    first = [source[0].y for source in sources.values()]
    assert np.allclose(view(sources["g0"][0].question).shared, np.mean(first, axis=0), atol=1e-6)
    new = [one.question for one in world.group(0, range(20, 60))]
    truth_of = [np.mean([world.group(g, [20 + i])[0].y for g in range(5)], axis=0) for i in range(40)]
    assert all(view(q).shared.sum() == pytest.approx(1) for q in new)
    gaps = [abs(view(q).shared - y).mean() for q, y in zip(new, truth_of, strict=True)]
    even = [abs(1 / len(y) - y).mean() for y in truth_of]
    assert np.mean(gaps) < 0.7 * np.mean(even)


@pytest.mark.parametrize("names", [("g0",), ("g0", "g0")])
def test_one_group_or_equal_groups_share_nothing_to_depart_from(names: tuple[str, ...]) -> None:
    world = World(DIM)
    sources = {str(i): world.group(0, range(12)) for i, _ in enumerate(names)}
    view = View.of(sources, world.embedder, GpoConfig(), RESIDUAL)
    assert view.outlook is None
    assert not view.relative
    assert view.dim_x == 2 * DIM


def test_the_papers_module_reads_embeddings_and_labels_as_they_are() -> None:
    world, sources, _ = outlook_of(3)
    view = View.of(sources, world.embedder, GpoConfig(), Departs())
    assert view.outlook is None
    x, labels = view.tokens(sources["g1"][:3])
    assert x.shape[1] == view.dim_x == 2 * DIM
    assert labels.tolist() == pytest.approx([value for one in sources["g1"][:3] for value in one.y])


def test_labels_depart_from_what_groups_share_in_training_and_in_a_context_alike() -> None:
    _, sources, view = outlook_of(5)
    made = OptionTable.of(sources, view, "cpu")
    x, labels = view.tokens(sources["g1"][:3])
    laid = collate([(made.sources[1][:3], made.sources[1][3:4])], "cpu", label=made.label)
    shown = int(laid.context[0])
    assert np.allclose(made.x[laid.index[0, :shown]].numpy(), x, atol=1e-6)
    assert np.allclose(laid.y[0, :shown].numpy(), labels, atol=1e-5)
    rows = np.concatenate([view.tokens(source)[1] for source in sources.values()])
    assert np.sqrt(np.mean(rows**2)) == pytest.approx(1, abs=1e-3)
    assert np.mean(rows) == pytest.approx(0, abs=1e-3)


def test_a_silent_module_predicts_what_groups_share() -> None:
    _, sources, view = outlook_of(5)
    made = OptionTable.of(sources, view, "cpu")
    module = new_module(view.dim_x, 0, "cpu")
    with torch.no_grad():
        module.get_parameter("head.2.weight").zero_()
    reader = Reader(module, view, {"g": view.tokens(())})
    (mu,) = reader.mu([sources["g0"][0].question], "g")
    assert np.allclose(softmax(mu), view(sources["g0"][0].question).shared, atol=1e-5)
    batch = draw(made, GpoConfig(), (0, 0))
    assert made.shared is not None
    log_p = made.shared[batch.index.flatten()[batch.place]].log()
    expected = -(batch.targets.y * log_p).sum() / batch.targets.questions
    assert loss_of(module, made, batch, GpoConfig()).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(("axes", "residual"), [(0, True), (2, False), (0, False)])
def test_axes_and_residuals_can_be_had_apart(axes: int, residual: bool) -> None:
    world, sources, _ = outlook_of(5)
    view = View.of(sources, world.embedder, GpoConfig(), Departs(labels=residual, axes=axes))
    assert view.dim_x == (axes or 2 * DIM)
    assert view.relative == residual
    assert (OptionTable.of(sources, view, "cpu").shared is None) == (not residual)
