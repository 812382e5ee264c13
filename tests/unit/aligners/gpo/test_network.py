"""GPO's module, its masks and its losses, on tensors alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aligners.gpo.episodes import truth
from aligners.gpo.network import (
    LAYERS,
    WIDTH,
    NeuralProcess,
    Targets,
    bradley_terry,
    cross_entropy,
    deviation,
    gaussian,
    log_softmax_by_question,
    new_module,
)
from tests.unit.aligners.gpo.synthetic import DIM, softmax


@pytest.fixture(scope="module")
def module() -> NeuralProcess:
    return new_module(DIM, 0, "cpu").eval()


def tokens(context: int, targets: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, context + targets, DIM, generator=generator)
    y = torch.zeros(1, context + targets)
    y[:, :context] = torch.rand(1, context, generator=generator)
    return x, y, torch.tensor([context])


@pytest.mark.parametrize(("dim_x", "parameters"), [(4096, 1_188_354), (5120, 1_319_426), (768, 762_370)])
def test_the_module_has_the_papers_parameter_counts(dim_x: int, parameters: int) -> None:
    assert sum(p.numel() for p in NeuralProcess(dim_x).parameters()) == parameters


def test_it_computes_what_the_librarys_encoder_does_under_a_mask(module: NeuralProcess) -> None:
    """The library masks the keys that are no context: neither other targets nor the target itself are seen."""
    x, y, context = tokens(5, 7)
    mask = torch.zeros(12, 12, dtype=torch.bool)
    mask[:, 5:] = True
    hidden = module.encoder(module.embedder(torch.cat([x, y[..., None]], -1)), mask=mask)
    mu, raw = module.head(hidden).unbind(-1)
    ours = module(x, y, context)
    assert torch.allclose(ours[0], mu, atol=1e-5)
    assert torch.allclose(ours[1], raw, atol=1e-5)


def test_there_is_no_dropout_and_the_norm_comes_last(module: NeuralProcess) -> None:
    for layer in module.encoder.layers:
        assert isinstance(layer, nn.TransformerEncoderLayer)
        assert not layer.norm_first
        assert layer.dropout.p == layer.self_attn.dropout == 0


def test_targets_do_not_see_each_other_or_their_order(module: NeuralProcess) -> None:
    x, y, context = tokens(4, 6)
    whole = module(x, y, context)[0][0, 4:]
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = module(torch.cat([x[:, :4], x[:, 4:][:, order]], 1), y, context)[0][0, 4:]
    alone = torch.cat([module(x[:, [0, 1, 2, 3, 4 + i]], y[:, :5], context)[0][0, 4:] for i in range(6)])
    assert torch.allclose(shuffled, whole[order], atol=1e-5)
    assert torch.allclose(alone, whole, atol=1e-5)
    assert whole.std() > 1e-3


def test_the_order_of_the_context_does_not_matter_but_its_content_does(module: NeuralProcess) -> None:
    x, y, context = tokens(4, 3)
    order = torch.tensor([2, 0, 3, 1, 4, 5, 6])
    before = module(x, y, context)[0][0, 4:]
    assert torch.allclose(module(x[:, order], y[:, order], context)[0][0, 4:], before, atol=1e-5)
    changed = y.clone()
    changed[0, 0] = 1 - changed[0, 0]
    assert not torch.allclose(module(x, changed, context)[0][0, 4:], before, atol=1e-5)


def test_padding_and_rows_of_other_lengths_do_not_matter(module: NeuralProcess) -> None:
    x, y, context = tokens(3, 2)
    other_x, other_y, other_context = tokens(6, 4, seed=1)
    padded_x = torch.full((2, 10, DIM), 7.0)
    padded_y = torch.full((2, 10), 0.5)
    padded_x[0, :5], padded_y[0, :5] = x[0], y[0]
    padded_x[1], padded_y[1] = other_x[0], other_y[0]
    both = module(padded_x, padded_y, torch.cat([context, other_context]))[0]
    assert torch.allclose(both[0, :5], module(x, y, context)[0][0], atol=1e-5)
    assert torch.allclose(both[1], module(other_x, other_y, other_context)[0][0], atol=1e-5)


def test_flops_are_two_a_weight_and_token_and_attention_on_top(module: NeuralProcess) -> None:
    weights = sum(p.numel() for p in module.parameters() if p.dim() == 2)
    assert module.flops(3, 10, 4) == 3 * 10 * (2 * weights + 4 * LAYERS * WIDTH * 4)
    assert weights > 0.98 * sum(p.numel() for p in module.parameters())


def targets(y: list[list[float]]) -> Targets:
    rows, start = [], 0
    for one in y:
        rows.append((tuple(range(start, start + len(one))), tuple(one)))
        start += len(one)
    return truth(rows, 2, "cpu")


TRUTH = targets([[0.7, 0.3], [0.2, 0.5, 0.3]])
MU = torch.tensor([0.3, -0.4, 1.0, 0.2, -2.0])
RAW = torch.tensor([-0.5, 0.1, 0.0, -1.0, 0.4])
P = np.concatenate([softmax([0.3, -0.4]), softmax([1.0, 0.2, -2.0])])


def test_p_is_the_softmax_of_each_question_and_sums_to_one() -> None:
    found = log_softmax_by_question(MU, TRUTH.question, 2).exp()
    assert np.allclose(found.numpy(), P)
    far = log_softmax_by_question(MU * 1000, TRUTH.question, 2)
    assert torch.isfinite(far).all()
    assert found[:2].sum() == pytest.approx(1)


@pytest.mark.parametrize("rule", ["exp", "bounded"])
def test_gaussian_is_the_likelihood_of_y_around_p(rule: Any) -> None:
    raw = RAW.numpy().astype(float)
    sigma = np.exp(raw) if rule == "exp" else 0.05 + 0.95 * np.log1p(np.exp(raw))
    expected = -np.log(np.exp(-0.5 * ((TRUTH.y.numpy() - P) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi)))
    assert float(gaussian(MU, RAW, TRUTH, rule)) == pytest.approx(expected.sum() / 2, rel=1e-5)


def test_a_bounded_sigma_cannot_vanish_and_the_papers_can() -> None:
    raw = torch.tensor([-200.0])
    assert float(deviation(raw, "bounded")) == pytest.approx(0.05)
    assert float(deviation(raw, "exp")) == 0


def test_cross_entropy_is_the_mean_over_questions() -> None:
    expected = -(TRUTH.y.numpy() * np.log(P)).sum() / 2
    assert float(cross_entropy(MU, TRUTH)) == pytest.approx(expected, rel=1e-5)


def test_bradley_terry_takes_every_ordered_couple_of_a_question() -> None:
    couples = [(0, 1), (3, 2), (3, 4), (4, 2)]
    assert sorted(zip(TRUTH.better.tolist(), TRUTH.worse.tolist(), strict=True)) == sorted(couples)
    expected = np.mean([np.log1p(np.exp(-float(MU[w] - MU[v]))) for w, v in couples])
    assert float(bradley_terry(MU, TRUTH)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["gaussian", "cross_entropy", "bradley_terry"])
def test_the_gradient_is_that_of_finite_differences(loss: str) -> None:
    functions = {
        "gaussian": lambda mu: gaussian(mu, RAW.double(), double, "bounded"),
        "cross_entropy": lambda mu: cross_entropy(mu, double),
        "bradley_terry": lambda mu: bradley_terry(mu, double),
    }
    double = Targets(TRUTH.y.double(), TRUTH.question, 2, 2, TRUTH.better, TRUTH.worse)
    assert torch.autograd.gradcheck(functions[loss], MU.double().requires_grad_())


@pytest.mark.parametrize("loss", ["gaussian", "cross_entropy", "bradley_terry"])
def test_a_constant_added_to_a_questions_mu_changes_no_loss(loss: str) -> None:
    """mu is identified up to a constant per question."""
    targets = truth([((0, 1, 2), (0.2, 0.5, 0.3)), ((3, 4), (0.9, 0.1))], 1, "cpu")
    mu, raw = torch.randn(5, generator=torch.Generator().manual_seed(0)), torch.zeros(5)
    moved = mu + torch.tensor([3.0, -7.0])[targets.question]
    rules: dict[str, Callable[[Tensor], Tensor]] = {
        "gaussian": lambda one: gaussian(one, raw, targets, "bounded"),
        "cross_entropy": lambda one: cross_entropy(one, targets),
        "bradley_terry": lambda one: bradley_terry(one, targets),
    }
    assert float(rules[loss](moved)) == pytest.approx(float(rules[loss](mu)), abs=1e-5)


def test_without_a_preferred_option_there_is_nothing_to_order() -> None:
    targets = truth([((0, 1), (0.5, 0.5))], 1, "cpu")
    mu = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = bradley_terry(mu, targets)
    loss.backward()
    assert float(loss.detach()) == 0
    assert mu.grad is not None
    assert not mu.grad.any()


def test_balanced_first_weights_change_the_labels_column_alone() -> None:
    plain, balanced = new_module(24, 0, "cpu"), new_module(24, 0, "cpu", balanced=True)
    one, other = (m.get_parameter("embedder.0.weight") for m in (plain, balanced))
    assert torch.equal(one[:, :-1], other[:, :-1])
    assert torch.allclose(5 * one[:, -1], other[:, -1])
