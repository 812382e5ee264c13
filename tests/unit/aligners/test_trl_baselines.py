"""Each baseline's loss in TRL's trainer against its paper's equation, from log-probabilities that the bench gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch

from aligners.best_of_n import BestOfNConfig, Ranker, best_of
from aligners.dpo import DpoConfig
from aligners.dpo_variants import LOSSES, IpoConfig, IrpoConfig
from aligners.grpo import Grpo, GrpoConfig, step_figures
from aligners.kto import KtoConfig, fixed_blocks, step_rows
from aligners.orpo import OrpoConfig
from aligners.simpo import SimpoConfig
from harness.config import Lora
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import (
    BASE,
    Completion,
    FewShot,
    GenerateRequest,
    HarnessError,
    Loglik,
    LoglikRequest,
    Pair,
    PreferRequest,
    Schedule,
    user,
)
from harness.fit.bench import LocalBench
from harness.fit.trainers import lone_row, padded_row, preference_rows
from harness.lm.logprobs import group_logprobs
from harness.lm.rows import Group
from harness.meter import Meter
from tests.tiny import flat_regime

PAIRS = (
    Pair("a", user("What of the sea?"), "It is wide and blue.", "It is dry."),
    Pair("b", user("And of the old hill over there?"), "Green.", "It sings when nobody is near."),
)
TOLERANCE = 1e-5
SCHEDULE = Schedule(5e-5, 4)


@pytest.fixture
def bench(tmp_path: Path) -> LocalBench:
    regime = flat_regime(
        batch=2,
        min_steps=4,
        selection="last",
        prompt_tokens=64,
        completion_tokens=32,
        new_tokens=16,
        sample_prompts=2,
        device="cpu",
        precision="fp32",
    )
    return LocalBench.create(
        tiny_model(),
        tiny_tokenizer(),
        regime=regime,
        meter=Meter(),
        seed=0,
        workdir=tmp_path,
        lora=Lora(r=4, alpha=16),
    )


def moved(bench: LocalBench) -> None:
    """Give the adapter weights, so that policy and reference differ."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in bench.policy.named_parameters():
            if ".lora_B.default." in name:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))


def trained_loss(trainer: Any, bench: LocalBench) -> float:
    """The loss of the trainer's first batch, by its own data loader and collator, after the adapter has moved."""
    moved(bench)
    bench.policy.train()
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    value = float(trainer.compute_loss(trainer.model, batch).detach())
    bench.adapters.clean()
    return value


def sums(bench: LocalBench, of: str = "default") -> list[tuple[float, float]]:
    """Summed log-probability of (chosen, rejected) of every pair, in nats."""
    scores = bench.score([p.prompt for p in PAIRS], [(p.chosen, p.rejected) for p in PAIRS], of=of)
    return [(w.total, lost.total) for w, lost in scores]


def lengths(bench: LocalBench) -> list[tuple[int, int]]:
    return [(len(bench.encode(p.chosen)), len(bench.encode(p.rejected))) for p in PAIRS]


def ratios(bench: LocalBench) -> list[tuple[float, float]]:
    """log pi - log pi_ref of (chosen, rejected) of every pair."""
    return [(p[0] - b[0], p[1] - b[1]) for p, b in zip(sums(bench), sums(bench, BASE), strict=True)]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# ---------------------------------------------------------------- losses


def test_ipo_regresses_the_margin_per_token_to_its_target(bench: LocalBench) -> None:
    trainer = bench.trainers.dpo(PAIRS, SCHEDULE, beta=0.3, losses=LOSSES["ipo"](IpoConfig()))
    found = trained_loss(trainer, bench)
    margins = [w / m - lo / n for (w, lo), (m, n) in zip(ratios(bench), lengths(bench), strict=True)]
    assert found == pytest.approx(fmean((margin - 1 / 0.6) ** 2 for margin in margins), rel=TOLERANCE)
    assert max(map(abs, margins)) > 1e-3


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_irpo_is_dpo_and_the_mean_likelihood_of_the_chosen_tokens(bench: LocalBench, alpha: float) -> None:
    trainer = bench.trainers.dpo(PAIRS, SCHEDULE, beta=0.5, losses=LOSSES["irpo"](IrpoConfig(alpha=alpha)))
    found = trained_loss(trainer, bench)
    dpo = fmean(-math.log(sigmoid(0.5 * (w - lo))) for w, lo in ratios(bench))
    likelihood = sum(w for w, _ in sums(bench)) / sum(m for m, _ in lengths(bench))
    assert found == pytest.approx(dpo - alpha * likelihood, rel=TOLERANCE)


def test_simpo_compares_mean_log_probabilities_with_a_margin(bench: LocalBench) -> None:
    found = trained_loss(bench.trainers.simpo(PAIRS, SCHEDULE, beta=1.5, gamma=0.4), bench)
    expected = fmean(
        -math.log(sigmoid(1.5 / m * w - 1.5 / n * lo - 0.4))
        for (w, lo), (m, n) in zip(sums(bench), lengths(bench), strict=True)
    )
    assert found == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("prompt_loss", [True, False])
def test_orpo_adds_the_log_odds_ratio_to_the_likelihood(bench: LocalBench, prompt_loss: bool) -> None:
    found = trained_loss(bench.trainers.orpo(PAIRS, SCHEDULE, weight=0.7, prompt_loss=prompt_loss), bench)

    def log_odds(mean: float) -> float:
        return mean - math.log(1 - math.exp(mean))

    odds = fmean(
        math.log(sigmoid(log_odds(w / m) - log_odds(lo / n)))
        for (w, lo), (m, n) in zip(sums(bench), lengths(bench), strict=True)
    )
    total, tokens = sum(w for w, _ in sums(bench)), sum(m for m, _ in lengths(bench))
    if prompt_loss:
        prompts = [bench.render(p.prompt) for p in PAIRS]
        total += sum(prompt_likelihood(bench, ids) for ids in prompts)
        tokens += sum(len(ids) - 1 for ids in prompts)
    assert found == pytest.approx(-total / tokens - 0.7 * odds, rel=TOLERANCE)


def prompt_likelihood(bench: LocalBench, ids: list[int]) -> float:
    """Log-probability of a prompt's tokens after its first, in nats."""
    with torch.no_grad():
        ((one,),) = group_logprobs(bench.policy, [Group(ids[:1], [ids[1:]])])
    return float(one.logprobs.sum())


def kto_trainer(
    bench: LocalBench, *, beta: float = 0.1, desirable_weight: float = 1.0, undesirable_weight: float = 1.0
) -> Any:
    return bench.trainers.kto(
        step_rows(PAIRS, PAIRS),
        SCHEDULE,
        beta=beta,
        desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
    )


def test_kto_weighs_each_answer_against_the_mismatched_ones(bench: LocalBench) -> None:
    found = trained_loss(kto_trainer(bench, beta=0.8, desirable_weight=1.3, undesirable_weight=0.7), bench)
    (first, second), mismatched = PAIRS, (PAIRS[1].rejected, PAIRS[0].chosen, PAIRS[1].chosen, PAIRS[0].rejected)
    answers = [(mismatched[0], mismatched[2]), (mismatched[1], mismatched[3])]
    prompts = [first.prompt, second.prompt]
    policy, base = bench.score(prompts, answers), bench.score(prompts, answers, of=BASE)
    z = fmean(p.total - b.total for ps, bs in zip(policy, base, strict=True) for p, b in zip(ps, bs, strict=True))
    assert z > 0, "clamped, the mismatched answers would not be seen in the loss"
    values = [1.3 * (1 - sigmoid(0.8 * (w - z))) for w, _ in ratios(bench)]
    values += [0.7 * (1 - sigmoid(0.8 * (z - lo))) for _, lo in ratios(bench)]
    assert found == pytest.approx(fmean(values), rel=TOLERANCE)


def test_kto_clamps_its_reference_point_at_zero_and_else_uses_it(bench: LocalBench) -> None:
    trainer = kto_trainer(bench)
    moved(bench)
    bench.policy.train()
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    points = []
    for shift in (-1e3, 1e3):
        shifted = {**batch, "ref_KL_logps": batch["ref_KL_logps"] + shift}
        trainer.compute_loss(trainer.model, shifted)
        points.append(trainer._metrics["train"]["kl"][-1])
    bench.adapters.clean()
    assert points[0] > 900
    assert points[1] == 0


def test_grpo_moves_along_advantages_over_the_groups_own_deviation(bench: LocalBench) -> None:
    asked: list[tuple[str, str]] = []

    def verifier(identity: str, text: str) -> float:
        asked.append((identity, text))
        return float(len(text) % 3) / 2

    moved(bench)
    trainer = Grpo(GrpoConfig(k=4))._trainer(bench, PAIRS, verifier)
    bench.policy.train()
    rows = next(iter(trainer.get_train_dataloader()))
    inputs = trainer._generate_and_score_completions(rows)
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, inputs).backward()
    found = gradient(bench)
    bench.adapters.clean()

    rewards = [float(len(text) % 3) / 2 for _, text in asked]
    assert [identity for identity, _ in asked] == [row["prompt"] for row in rows]
    advantages = [(r - fmean(group)) / (stdev(group) + 1e-4) for group in (rewards[:4], rewards[4:]) for r in group]
    assert max(map(abs, advantages)) > 0.1
    answers = [
        ids[mask == 1].tolist() for ids, mask in zip(inputs["completion_ids"], inputs["completion_mask"], strict=True)
    ]
    prompts = {p.id: bench.render(p.prompt) for p in PAIRS}
    groups = [Group(prompts[rows[start]["prompt"]], answers[start : start + 4]) for start in (0, 4)]
    means = [one.logprobs.mean() for group in group_logprobs(bench.policy, groups) for one in group]
    loss = -sum(a * mean for a, mean in zip(advantages, means, strict=True)) / 8
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    assert torch.allclose(found, gradient(bench), atol=1e-5)
    assert found.norm() > 1e-3


def gradient(bench: LocalBench) -> torch.Tensor:
    parts = [p.grad.flatten().clone() for n, p in bench.policy.named_parameters() if p.grad is not None]
    bench.policy.zero_grad(set_to_none=True)
    return torch.cat(parts)


# ---------------------------------------------------------------- rows


def test_both_kinds_of_rows_hold_the_benchs_tokens(bench: LocalBench) -> None:
    for pair in PAIRS:
        (row,), padded = preference_rows(bench, [pair], reference=None), padded_row(bench, pair)
        assert row["prompt_ids"] == bench.render(pair.prompt) == padded["prompt_input_ids"]
        for side in ("chosen", "rejected"):
            answer = bench.encode(getattr(pair, side))
            assert row[f"{side}_ids"] == answer
            assert padded[f"{side}_input_ids"] == row["prompt_ids"] + answer
            assert [i for i in padded[f"{side}_labels"] if i != -100] == answer
            assert set(padded[f"{side}_attention_mask"]) == {1}
            assert len(padded[f"{side}_attention_mask"]) == len(padded[f"{side}_labels"])


def test_kto_takes_every_pair_once_an_epoch_in_an_order_of_the_seed() -> None:
    pairs = [Pair(str(i), user(f"{i}?"), "yes", "no") for i in range(7)]
    blocks = fixed_blocks(pairs, 3, seed=0)
    assert [len(block) for block in blocks] == [3, 3, 1]
    assert sorted(p.id for block in blocks for p in block) == [p.id for p in pairs]
    assert blocks == fixed_blocks(pairs, 3, seed=0) != fixed_blocks(pairs, 3, seed=1)


def test_kto_never_estimates_the_reference_point_from_a_prompts_own_answers(bench: LocalBench) -> None:
    own = {tuple(bench.render(p.prompt)): {tuple(bench.encode(t)) for t in (p.chosen, p.rejected)} for p in PAIRS}
    for block in (PAIRS, PAIRS[:1], PAIRS[1:]):
        for row in (lone_row(bench, one) for one in step_rows(block, PAIRS)):
            assert tuple(row["KL_completion_ids"]) not in own[tuple(row["prompt_ids"])]
    for one in step_rows(PAIRS[:1], PAIRS[:1]):
        assert one.mismatched in (PAIRS[0].chosen, PAIRS[0].rejected), "there is no other prompt to borrow from"


def test_kto_uses_the_same_answers_for_the_reference_point_as_for_the_rewards(bench: LocalBench) -> None:
    rows = [lone_row(bench, one) for one in step_rows(PAIRS, PAIRS)]
    assert sorted(row["KL_completion_ids"] for row in rows) == sorted(row["completion_ids"] for row in rows)
    assert [row["label"] for row in rows] == [True, True, False, False]


def test_kto_gives_a_step_as_many_pairs_as_the_regime(bench: LocalBench) -> None:
    trainer = kto_trainer(bench)
    assert trainer.args.per_device_train_batch_size == 4
    assert trainer.args.gradient_accumulation_steps == 1


def test_grpo_takes_one_step_for_one_round_of_samples(bench: LocalBench) -> None:
    arguments = Grpo(GrpoConfig(k=6))._trainer(bench, PAIRS, lambda prompt_id, completion: 0.0).args
    assert arguments.generation_batch_size == arguments.per_device_train_batch_size == 12
    assert arguments.gradient_accumulation_steps == arguments.steps_per_generation == 1
    assert arguments.max_steps == 4
    assert arguments.max_completion_length == 16


def test_grpo_counts_groups_of_equal_rewards_and_keeps_first_and_last_rewards_apart() -> None:
    assert step_figures([0, 1, 1, 1], 2, step=0, steps=8) == {
        "groups": 2,
        "flat": 1,
        "reward_first": 0.75,
        "steps_first": 1,
    }
    assert "reward_first" not in step_figures([0, 1], 2, step=2, steps=8)
    assert step_figures([0, 1], 2, step=6, steps=8)["reward_last"] == 0.5


# ---------------------------------------------------------------- what TRL moved, and what is refused


def test_a_class_that_trl_moved_is_named_with_the_installed_release(
    bench: LocalBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl.experimental.cpo

    monkeypatch.delattr(trl.experimental.cpo, "CPOTrainer")
    monkeypatch.setattr("harness.fit.trl.version", lambda name: "9.9")
    with pytest.raises(HarnessError, match=r"TRL 9\.9 has no CPOTrainer in trl\.experimental\.cpo or trl.*install"):
        bench.trainers.simpo(PAIRS, SCHEDULE, beta=2.0, gamma=1.0)


@pytest.mark.parametrize(
    ("config", "values"),
    [(IpoConfig, {"beta": 0}), (SimpoConfig, {"gamma": -1}), (GrpoConfig, {"k": 1}), (KtoConfig, {"batch": 3})],
)
def test_what_makes_no_sense_is_refused(config: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        config.model_validate(values)


def test_orpos_weight_goes_by_the_papers_name() -> None:
    assert OrpoConfig.model_validate({"lambda": 0.3}).lambda_ == OrpoConfig(lambda_=0.3).lambda_ == 0.3


# ---------------------------------------------------------------- best of n


class Letters:
    """A model that draws a, b, c .. in turn; its adapter adds to a letter's log-probability how late it comes."""

    tokenizer = tiny_tokenizer()
    max_length = 64

    def __init__(self) -> None:
        self.base = False
        self.asked: list[GenerateRequest] = []
        self.contexts: list[tuple[int, ...]] = []

    @contextmanager
    def adapter_off(self) -> Iterator[None]:
        self.base = True
        yield
        self.base = False

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        assert self.base
        self.asked += requests
        return [[Completion(chr(97 + i), (i,), "stop") for i in range(r.n)] for r in requests]

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        self.contexts += [r.context for r in requests]
        return [Loglik(-5.0 + (0 if self.base else r.continuation[0]), 1, False) for r in requests]

    def render(self, prompt: Any) -> list[int]:
        return [7, 7]

    def encode(self, completion: str) -> list[int]:
        return [ord(completion) - 97]


def ranked(model: Letters, n: int = 3) -> Ranker:
    return Ranker(model, n=n, temperature=0.6, beta=0.5)  # type: ignore[arg-type]


def test_best_of_n_gives_the_sample_of_highest_reward_for_each_one_asked() -> None:
    model = Letters()
    answers = ranked(model).generate([GenerateRequest(user("?"), 8, n=2, temperature=0.9)])
    assert [one.text for one in answers[0]] == ["c", "f"]
    assert (model.asked[0].n, model.asked[0].temperature) == (6, 0.9)
    assert set(model.contexts) == {(7, 7)}


def test_best_of_n_samples_where_greedy_decoding_is_asked_for() -> None:
    model = Letters()
    ranked(model).generate([GenerateRequest("text", 8)])
    assert model.asked[0].temperature == 0.6
    assert set(model.contexts) == {tuple(model.tokenizer.encode("text"))}


def test_best_of_n_prefers_by_the_difference_of_rewards_and_scores_as_base_does() -> None:
    model = Letters()
    (preference,) = ranked(model).prefer([PreferRequest(user("?"), "d", "b")])
    assert preference.p_a == pytest.approx(sigmoid(0.5 * (3 - 1)))
    assert preference.a is preference.b is None
    assert ranked(model).loglik([LoglikRequest((1,), (4,))])[0].total == -5.0


def test_the_first_of_equal_rewards_is_taken() -> None:
    first, second = (Completion(text, (1,), "stop") for text in "ab")
    assert best_of([(1.0, first), (1.0, second)], 2) == [first]
    assert best_of([(1.0, first), (2.0, second)], 1) == [first, second]


def test_grpo_without_pairs_is_refused(bench: LocalBench) -> None:
    with pytest.raises(HarnessError, match="aligner grpo needs labelled pairs"):
        Grpo(GrpoConfig()).fit(bench, FewShot())


@pytest.mark.parametrize(
    ("config", "rate"), [(DpoConfig, 1e-6), (IrpoConfig, 7e-7), (BestOfNConfig, 1e-6), (GrpoConfig, 1e-6)]
)
def test_the_papers_values_go_by_name_and_what_is_given_stands(config: Any, rate: float) -> None:
    assert config.model_validate({"preset": "paper"}).learning_rate == rate
    assert config.model_validate({"preset": "paper", "learning_rate": 3e-6}).learning_rate == 3e-6
    assert config.model_validate({}).learning_rate >= 5e-5
    stored = config.model_validate({"preset": "paper"}).model_dump(mode="json")
    assert config.model_validate(stored).model_dump(mode="json") == stored
    assert GrpoConfig.model_validate({"preset": "paper"}).k == 64
