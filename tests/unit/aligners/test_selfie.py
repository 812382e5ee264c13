"""Selfie's equations, plan and judges: nothing here trains, and most of it needs no torch."""

from __future__ import annotations

import json
import math
import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aligners import selfie
from aligners.selfie import Selfie, SelfieConfig, SelfLabelled
from harness.contracts import BASE, Completion, FewShot, HarnessError, user
from harness.methods import self_judging
from harness.methods.extrapolation import decoupled_ratio
from harness.methods.losses import margins
from harness.methods.self_judging import Duel, Reign
from tests.tiny import flat_regime

core = pytest.mark.core
REGIME = flat_regime(4, 32, "last", 256, 64, 64, 4, "cpu", "fp32")


def config(**values: Any) -> SelfieConfig:
    return SelfieConfig.model_validate(values)


# ---------------------------------------------------------------- settings


@core
def test_every_setting_names_its_source_and_a_valid_probe() -> None:
    for name, info in SelfieConfig.model_fields.items():
        extra = info.json_schema_extra
        assert isinstance(extra, dict)
        assert any(source in str(info.description) for source in ("paper", "ours")), name
        companions: Any = extra.get("probe_with", {})
        probed = config(**{**companions, name: extra["probe"]})
        assert getattr(probed, name) != getattr(config(**companions), name), name


@core
def test_the_papers_rate_is_available_by_name_and_yields_to_a_given_one() -> None:
    assert config(preset="paper").learning_rate == 5e-7
    assert config(preset="paper", learning_rate=1e-6).learning_rate == 1e-6
    assert SelfieConfig.model_validate_json(config(preset="paper").model_dump_json()) == config(preset="paper")


@core
@pytest.mark.parametrize("bad", [{"batch": 4}, {"rounds": 4}, {"judge": ""}, {"quantile": 0}, {"alpha": 1.1}])
def test_shared_unknown_and_senseless_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**bad)


@core
def test_fitting_without_pairs_is_refused() -> None:
    bench: Any = None
    with pytest.raises(HarnessError, match="selfie needs labelled pairs"):
        Selfie(config()).fit(bench, FewShot())


# ---------------------------------------------------------------- plan


@core
def test_round_sizes_are_the_papers_where_there_are_as_many_prompts() -> None:
    assert selfie.round_sizes(58_000, 3) == [8_000, 20_000, 30_000]
    assert selfie.round_sizes(128, 3) == [18, 44, 66]
    assert selfie.round_sizes(28, 2) == [8, 20]
    assert selfie.round_sizes(5, 0) == []


@core
@given(st.integers(0, 500), st.integers(1, 3))
def test_round_sizes_use_every_prompt_and_keep_the_proportion(prompts: int, rounds: int) -> None:
    sizes, shares = selfie.round_sizes(prompts, rounds), selfie.ROUND_SHARES[:rounds]
    assert sum(sizes) == prompts
    assert all(abs(size - prompts * share / sum(shares)) < 1 for size, share in zip(sizes, shares, strict=True))


@core
@pytest.mark.parametrize(
    ("values", "pairs", "sizes", "expected"),
    [
        ({}, 8, [4, 11, 17], (23, [1, 3, 5])),  # the seed fills up to the least number of steps
        ({}, 32, [18, 44, 66], (24, [5, 11, 17])),  # three epochs are more than that
        ({"round_epochs": 2.0}, 8, [4, 11, 17], (15, [2, 6, 9])),
        ({}, 1, [0, 200, 0], (1, [0, 50, 0])),
        ({}, 8, [], (32, [])),
    ],
)
def test_steps_of_the_phases(values: dict[str, Any], pairs: int, sizes: list[int], expected: Any) -> None:
    made = selfie.phase_steps(config(**values), REGIME, pairs, sizes)
    assert made == expected
    assert made[0] + sum(made[1]) >= REGIME.min_steps


# ---------------------------------------------------------------- detection


@core
def test_there_is_no_threshold_before_ten_margins() -> None:
    assert selfie.flag([0.0] * 5, [-9.0] * 4, config()) == (None, [False] * 4)
    tau, noisy = selfie.flag([0.5] * 6, [-9.0, 1.0, 2.0, 3.0], config())
    assert tau is not None
    assert noisy == [True, False, False, False]


@core
def test_the_threshold_forgets_all_but_the_window() -> None:
    old, recent = [-100.0] * 50, [float(i) for i in range(49)]
    assert selfie.flag([*old, *recent], [30.5], config())[0] == pytest.approx(4.9)
    assert selfie.flag([*old, *recent], [30.5], config(window=60))[0] == pytest.approx(-100)


@core
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_the_share_of_z_is_about_k_once_active(share: float) -> None:
    rng, seen, marked, active = random.Random(0), list[float](), 0, 0
    for _ in range(500):
        current = [rng.gauss(0, 1) for _ in range(4)]
        tau, noisy = selfie.flag(seen, current, config(quantile=share))
        seen += current
        marked, active = marked + sum(noisy), active + (len(noisy) if tau is not None else 0)
    assert marked / active == pytest.approx(share, abs=0.03)


@core
def test_equal_margins_mark_nothing() -> None:
    assert selfie.flag([0.7] * 20, [0.7] * 4, config()) == (0.7, [False] * 4)


# ---------------------------------------------------------------- judging


@core
def test_eq_8_and_the_length_penalty_of_eq_13() -> None:
    assert selfie.lead(config(), 0.3, 90, 10) == 0.3
    assert selfie.lead(config(), -0.3, 90, 10) == -0.3
    assert selfie.lead(config(length_penalty=0.01), 0.3, 90, 10) == pytest.approx(-0.5)
    assert selfie.lead(config(length_penalty=0.01), 0.3, 39, 10) == pytest.approx(0.01)
    assert selfie.lead(config(length_penalty=0.01), -0.3, 10, 90) == pytest.approx(0.5)


def done(text: str, finish: Any = "stop") -> Completion:
    return Completion(text, tuple(range(len(text) + (finish == "stop"))), finish)


@core
@pytest.mark.parametrize(
    ("a", "b", "expected"), [("yes", "no", True), ("yes", " yes\n", False), ("", "no", False), ("no", "  ", False)]
)
def test_empty_and_identical_samples_make_no_pair(a: str, b: str, expected: bool) -> None:
    assert selfie.usable(done(a), done(b)) is expected


class FakeBench:
    """Scores by a table: (adapter, answer text) -> nats; letters by what the prompt says of Answer A."""

    def __init__(self, table: dict[tuple[str, str], float], bias: float = 0.0, better: str = "") -> None:
        self.table, self.bias, self.better = table, bias, better

    def tokenizer(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    def score(self, prompts: Any, answers: Any, *, of: str) -> Any:
        return [
            [SimpleNamespace(total=self._one(p, a, of)) for a in group]
            for p, group in zip(prompts, answers, strict=True)
        ]

    def _one(self, prompt: Any, answer: Any, of: str) -> float:
        if not isinstance(answer, Completion):
            return self.table[of, answer]
        assert answer.finish == "length"  # no end of turn is counted
        first = f"Answer A: {self.better}" in prompt[-1].content
        return (self.bias if answer.text == "A" else 0.0) + (1.0 if (answer.text == "A") == first else 0.0)


@core
def test_judges_differ_in_their_reference_alone() -> None:
    table = {("new", "x"): -3.0, ("new", "y"): -5.0, ("old", "x"): -1.0, ("old", "y"): -4.0}
    table |= {(BASE, "x"): -2.0, (BASE, "y"): -9.0}
    bench: Any = FakeBench(table)
    items, reign = [Duel(user("?"), "x", "y")], Reign("new", "old")
    odds = {name: rule(bench, reign, 0.5, items)[0] for name, rule in self_judging.JUDGES.items() if name != "llm"}
    assert odds == pytest.approx({"implicit": 0.5 * (-1 - 4), "previous": 0.5 * (-2 + 1), "none": 0.5 * 2})


@core
def test_the_asked_model_answers_in_both_orders_so_that_a_liking_for_one_letter_cancels() -> None:
    reign, items = Reign("new", "old"), [Duel(user("Q?"), "x", "y"), Duel(user("Q?"), done("y"), done("x"))]
    for bias in (-6.0, 0.0, 6.0):
        biased: Any = FakeBench({}, bias=bias, better="x")
        found = self_judging.asked(biased, reign, 0.1, items)
        assert found[0] > 0 > found[1]
        assert found[0] == pytest.approx(-found[1])
    even: Any = FakeBench({}, bias=4.0, better="neither")
    assert self_judging.asked(even, reign, 0.1, items) == pytest.approx([0, 0], abs=1e-9)


@core
def test_the_question_to_the_model_holds_both_answers_and_keeps_earlier_turns() -> None:
    asked = self_judging.comparison(user("Why {x}?", system="Be brief."), "first {a}", "second")
    assert asked[0].content == "Be brief."
    assert all(part in asked[1].content for part in ("Why {x}?", "Answer A: first {a}", "Answer B: second"))


@core
def test_rows_survive_the_file() -> None:
    rows = [SelfLabelled([1, 2], [3], [4, 5]), SelfLabelled([1], [6, 7], [8])]
    stored = selfie.LABELLED.dump_json(rows)
    assert selfie.LABELLED.validate_json(stored) == rows
    assert len(json.loads(stored)) == 2


# ---------------------------------------------------------------- what it says of itself


@core
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"pairs_used": 0.4}, "40% of the prompts gave a labelled pair of answers, 50% are needed"),
        ({"truncation": 0.95}, "95% of the samples were cut off, at most 90% may be"),
        ({"agreement": 0.25}, "the judge agrees with 25% of its own seed labels, 50% are needed"),
    ],
)
def test_floors(change: dict[str, float], reason: str | None) -> None:
    figures = {"pairs_used": 1.0, "truncation": 0.2, "agreement": 0.9, **change}
    assert selfie.degenerate(figures, held_out=False) == reason
    if "agreement" in change:
        assert selfie.degenerate(figures, held_out=True) is None  # on new questions that is a finding, not a fault
    assert "no round" in str(selfie.degenerate({}, held_out=False))


@core
def test_figures_of_a_round() -> None:
    samples = [(done("aaaa"), done("bb", "length")), (done("cc"), done("cc"))]
    rows = [SelfLabelled([1], [1, 2], [3, 4, 5, 6, 7])]
    figures = selfie.round_figures(samples, rows, [0.0])
    assert figures["pairs_used"] == 0.5
    assert figures["truncation"] == 0.25
    assert figures["sample_tokens"] == (5 + 2 + 3 + 3) / 4
    assert (figures["winner_tokens"], figures["loser_tokens"], figures["confidence"]) == (2, 5, 0.5)
    assert "winner_tokens" not in selfie.round_figures(samples, [], [])


# ---------------------------------------------------------------- equations


def logits(seed: int, tokens: int = 7, vocabulary: int = 50) -> Any:
    import torch

    generator = torch.Generator().manual_seed(seed)
    shape = (tokens, vocabulary)
    policy = 3 * torch.randn(shape, dtype=torch.float64, generator=generator)
    reference = policy + torch.randn(shape, dtype=torch.float64, generator=generator)
    return policy, reference, torch.randint(vocabulary, (tokens,), generator=generator)


@pytest.mark.parametrize("lam", [0.0, 0.125, 0.25, 0.5, 3.0])
def test_the_identity_of_decoupled_detection(lam: float) -> None:
    """m~ = (1+lam) m - beta [sum log Z(w) - sum log Z(l)], Z_t = sum_v pi^(1+lam) pi_ref^(-lam), and log Z_t >= 0."""
    import torch

    beta, own, lifted, normalisers = 0.1, [], [], []
    for seed, tokens in ((1, 7), (2, 4)):
        policy, reference, ids = logits(seed, tokens)
        p, q = policy.softmax(-1), reference.softmax(-1)
        log_z = (p ** (1 + lam) * q ** (-lam)).sum(-1).log()
        assert (log_z >= -1e-12).all()
        if lam:
            assert (log_z > 1e-6).all()
        picked = torch.arange(tokens), ids
        own.append((p[picked].log() - q[picked].log()).sum())
        lifted.append(decoupled_ratio(policy, reference, ids, lam).sum())
        normalisers.append(log_z.sum())
    m, m_tilde = beta * (own[0] - own[1]), beta * (lifted[0] - lifted[1])
    identity = (1 + lam) * m - beta * (normalisers[0] - normalisers[1])
    assert abs(float(m_tilde - identity)) < 1e-10
    assert (abs(float(m_tilde - m)) < 1e-12) is (lam == 0)


def test_decoupled_ratios_take_logits_or_log_probabilities() -> None:
    import torch

    policy, reference, ids = logits(3)
    plain = decoupled_ratio(policy, reference, ids, 0.5)
    normalised = decoupled_ratio(policy.log_softmax(-1), reference.log_softmax(-1), ids, 0.5)
    assert torch.allclose(plain, normalised, atol=1e-12)
    same = decoupled_ratio(policy, policy, ids, 0.5)
    assert same.abs().max() < 1e-12


def test_margins_are_zero_at_the_reference_and_change_sign_with_the_order() -> None:
    import torch

    own, reference = torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    assert (margins(own, own, 0.1) == 0).all()
    swapped = margins(own.flip(1), reference.flip(1), 0.1)
    assert torch.equal(swapped, -margins(own, reference, 0.1))
    by_hand = 0.1 * ((own[0, 0] - reference[0, 0]) - (own[0, 1] - reference[0, 1]))
    assert margins(own, reference, 0.1)[0] == pytest.approx(float(by_hand))


def test_the_noise_aware_loss_by_hand() -> None:
    import torch

    loss = selfie.noise_aware_loss(torch.tensor([0.7, -1.2]), torch.tensor([False, True]), 0.1)
    log_p = [math.log(1 / (1 + math.exp(-m))) for m in (0.7, -1.2)]
    log_n = [math.log(1 / (1 + math.exp(m))) for m in (0.7, -1.2)]
    assert loss.item() == pytest.approx((-log_p[0] - 0.9 * log_p[1] - 0.1 * log_n[1]) / 2, abs=1e-6)


def test_without_alpha_or_without_z_it_is_plain_dpo_exactly() -> None:
    import torch

    margin, some = torch.randn(8), torch.tensor([True, False] * 4)
    plain = -torch.nn.functional.logsigmoid(margin).mean()
    assert torch.equal(selfie.noise_aware_loss(margin, some, 0.0), plain)
    assert torch.equal(selfie.noise_aware_loss(margin, torch.zeros(8, dtype=torch.bool), 0.1), plain)
    assert not torch.equal(selfie.noise_aware_loss(margin, some, 0.1), plain)


def test_the_gradient_of_the_noise_aware_loss_is_that_of_finite_differences() -> None:
    import torch

    margin = torch.randn(6, dtype=torch.float64, requires_grad=True)
    noisy = torch.tensor([True, False, True, False, False, True])
    assert torch.autograd.gradcheck(lambda m: selfie.noise_aware_loss(m, noisy, 0.3), (margin,))
    (gradient,) = torch.autograd.grad(selfie.noise_aware_loss(margin, noisy, 1.0), margin)
    assert ((gradient > 0) == noisy).all()  # alpha 1 follows the opposite label


def test_a_shorter_regime_never_loses_the_least_number_of_steps() -> None:
    for batch in (1, 2, 8):
        seed, rounds = selfie.phase_steps(config(), REGIME.with_budget(batch=batch), 8, [1, 3, 4])
        assert seed + sum(rounds) >= REGIME.min_steps
