"""GPO's module, masks, losses and episodes, on tensors alone; and that it learns to read a group from its context."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aligners.gpo import GpoConfig
from aligners.gpo.episodes import OptionTable, collate, draw, truth
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
from aligners.gpo.outlook import Departs, View
from aligners.gpo.result import Reader
from aligners.gpo.sources import PAIRS, contexts_of, training_sources
from aligners.gpo.training import loss_of, rate_at
from harness.contracts import FewShot, HarnessError, Pair, Rating, user
from harness.opinions.features import Embedder
from harness.opinions.questions import Rated, option_question

DIM = 6
RESIDUAL = Departs(labels=True, axes=4)


@pytest.fixture(scope="module")
def module() -> NeuralProcess:
    return new_module(DIM, 0, "cpu").eval()


def tokens(context: int, targets: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, context + targets, DIM, generator=generator)
    y = torch.zeros(1, context + targets)
    y[:, :context] = torch.rand(1, context, generator=generator)
    return x, y, torch.tensor([context])


# ---------------------------------------------------------------- the module


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


# ---------------------------------------------------------------- losses


def targets(y: list[list[float]]) -> Targets:
    rows, start = [], 0
    for one in y:
        rows.append((tuple(range(start, start + len(one))), tuple(one)))
        start += len(one)
    return truth(rows, 2, "cpu")


TRUTH = targets([[0.7, 0.3], [0.2, 0.5, 0.3]])
MU = torch.tensor([0.3, -0.4, 1.0, 0.2, -2.0])
RAW = torch.tensor([-0.5, 0.1, 0.0, -1.0, 0.4])


def softmax(values: list[float]) -> np.ndarray[Any, Any]:
    shares = np.exp(np.array(values))
    return np.asarray(shares / shares.sum())


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


# ---------------------------------------------------------------- episodes


def table(
    groups: int = 5, questions: int = 12, dim: int = DIM, *, sharp: float = 1.0, seed: int = 0, axis: bool = False
) -> OptionTable:
    """Synthetic groups: y = softmax(w_g . x) over the options of each question, two to four of them.

    With `axis` every w_g is plus or minus the first unit vector, else random.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 5, questions)
    starts = 1 + np.concatenate([[0], np.cumsum(sizes)[:-1]])
    x = np.concatenate([np.zeros((1, dim)), rng.normal(size=(int(sizes.sum()), dim))])
    sources = []
    tastes = np.outer((-1.0) ** np.arange(groups), np.eye(dim)[0]) if axis else rng.normal(size=(groups, dim))
    for w in sharp * tastes:
        rows = [tuple(range(s, s + k)) for s, k in zip(starts.tolist(), sizes.tolist(), strict=True)]
        sources.append(tuple((r, tuple(softmax((x[list(r)] @ w).tolist()).tolist())) for r in rows))
    return OptionTable(torch.from_numpy(x).float(), tuple(sources))


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


def test_a_batch_holds_every_source_once_at_most_batch_and_at_least_three() -> None:
    assert len(draw(table(40), GpoConfig(), (0, 0)).index) == 32
    assert len(draw(table(5), GpoConfig(), (0, 0)).index) == 5
    assert len(draw(table(1), GpoConfig(), (0, 0)).index) == 3


def test_without_context_every_row_reads_one_null_token() -> None:
    batch = draw(table(), GpoConfig(context="none"), (0, 0))
    assert batch.context.tolist() == [1] * 5
    assert not batch.index[:, 0].any()
    assert not batch.y.any()


def test_sources_too_small_for_an_episode_are_refused() -> None:
    pair = Pair("p", user("Say."), "good", "bad")
    with pytest.raises(HarnessError, match="needs two labelled pairs"):
        training_sources(FewShot(), [pair])


def test_pairs_are_one_more_source_and_auxiliary_groups_come_before_the_target_groups() -> None:
    pairs = [Pair(f"p{i}", user("Say."), "good", f"bad {i}") for i in range(2)]
    ratings = tuple(Rating(f"q{i}", f"Is it {i}?", ("yes", "no"), (0.5, 0.5)) for i in range(2))
    assert set(training_sources(FewShot(groups={"g": ratings}, auxiliary={"a": ratings}), pairs)) == {"a", PAIRS}
    assert set(training_sources(FewShot(groups={"g": ratings}), ())) == {"g"}


def test_swapped_contexts_are_the_next_groups_and_pairs_with_exchanged_labels() -> None:
    pair = Pair("p", user("Say."), "good", "bad")
    yes, no = ((Rating("q", "Is it?", ("yes", "no"), y),) for y in ((1.0, 0.0), (0.0, 1.0)))
    few_shot = FewShot(groups={"a": yes, "b": no})
    swapped = contexts_of(few_shot, [pair], "swapped")
    assert {name: one[0].y for name, one in swapped.items()} == {"a": (0.0, 1.0), "b": (1.0, 0.0), PAIRS: (0.0, 1.0)}
    assert contexts_of(few_shot, [pair], "none") == {"a": (), "b": (), PAIRS: ()}
    with pytest.raises(HarnessError, match="only 'a'"):
        contexts_of(FewShot(groups={"a": yes}), (), "swapped")


def test_the_papers_preset_is_written_out_and_yields_to_what_is_given() -> None:
    paper = GpoConfig.model_validate({"preset": "paper", "sigma": "bounded"})
    assert (paper.steps, paper.loss, paper.centre, paper.sigma) == (200_000, "gaussian", "none", "bounded")
    assert (paper.most, paper.balanced, paper.standardise, paper.warmup) == (100, False, False, 0)


# ---------------------------------------------------------------- what groups share, and where they differ


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


def test_the_rate_rises_and_then_follows_half_a_cosine() -> None:
    config = GpoConfig(warmup=0.1, learning_rate=1.0)
    rates = [rate_at(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] or max(rates) == rates[10]
    assert rates[50] == pytest.approx(0.5)
    assert rates[99] < 1e-3
    assert rate_at(0, 100, config.model_copy(update={"warmup": 0.0})) == 1


# ---------------------------------------------------------------- it learns to read its context


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


class World:
    """Questions whose options are points, and groups whose tastes share a direction and differ along two."""

    def __init__(self, dim: int) -> None:
        rng = np.random.default_rng(0)
        self.common, *self.apart = rng.normal(size=(3, dim)) / math.sqrt(dim)
        self.dim = dim
        self.embedder = Embedder(self.embed)

    def embed(self, texts: Sequence[str], **_: Any) -> Any:
        return np.stack([self.point(text) for text in texts])

    def point(self, text: str) -> Any:
        return np.random.default_rng(list(text.encode())).normal(size=self.dim).astype(np.float32)

    def group(self, number: int, questions: Iterable[int]) -> tuple[Rated, ...]:
        z = np.random.default_rng((1, number)).normal(size=2)
        w = self.common + z[0] * self.apart[0] + z[1] * self.apart[1]
        asked = [option_question(f"What of {i}?", ["tea", "rain", "snow"][: 2 + i % 2]) for i in questions]
        return tuple(Rated(q, tuple(softmax((self.embed(q.texts) @ w).tolist()).tolist())) for q in asked)

    def error(self, reader: Reader, groups: Sequence[int], shift: int | None) -> float:
        """Mean |p - y| of new groups on new questions, in the context of the `shift`-next group, or in none."""
        gaps = []
        for i, number in enumerate(groups):
            shown = [] if shift is None else self.group(groups[(i + shift) % len(groups)], range(20))
            asked = self.group(number, range(40, 80))
            here = replace(reader, contexts={"g": reader.view.tokens(shown)})
            found = here.mu([one.question for one in asked], "g")
            gaps += [abs(softmax(mu) - np.array(one.y)).mean() for mu, one in zip(found, asked, strict=True)]
        return float(np.mean(gaps))


def taste(groups: int, questions: int, dim: int, seed: int) -> OptionTable:
    """Synthetic groups that differ along one direction, in half of the cases one way and in half the other."""
    return table(groups, questions, dim, sharp=3, seed=seed, axis=True)


def test_balanced_first_weights_change_the_labels_column_alone() -> None:
    plain, balanced = new_module(24, 0, "cpu"), new_module(24, 0, "cpu", balanced=True)
    one, other = (m.get_parameter("embedder.0.weight") for m in (plain, balanced))
    assert torch.equal(one[:, :-1], other[:, :-1])
    assert torch.allclose(5 * one[:, -1], other[:, -1])


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
