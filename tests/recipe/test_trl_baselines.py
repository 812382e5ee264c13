"""The TRL baselines through the whole loop on tiny models: the conformance kit, and what it cannot ask.

GRPO learns from its own samples alone, and a random model never writes what the verifier asks for. It is fitted on a
model that has learned to close its answers in both ways, equally often and whatever the colour.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

import harness.conformance as kit
from aligners.best_of_n import BestOfN, BestOfNConfig, Ranker
from aligners.dpo_variants import Ipo, Irpo
from aligners.grpo import Grpo, GrpoConfig
from aligners.kto import Kto
from aligners.orpo import Orpo
from aligners.simpo import Simpo
from harness.conformance import Check, Lab, Trial, lesson, lesson_pairs, parametrize_with_checks
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import BASE, Aligned, Completion, FewShot, GenerateRequest, HarnessError, Pair
from harness.fit.bench import LocalBench
from harness.lm.logprobs import group_logprobs
from harness.lm.rows import Group
from harness.methods.schedules import in_epochs
from harness.util.chat import encode_completion, render_prompt

pytestmark = pytest.mark.recipe

STEPS = 120
READS_NO_LABELS = "it learns from the verifier alone: which answer of a pair was preferred is not read"


@parametrize_with_checks([Ipo, Irpo, Simpo, Orpo, Kto, BestOfN])
def test_pair_methods_conform(check: Check) -> None:
    check()


@parametrize_with_checks(
    [Grpo], expected_failures=dict.fromkeys(("labels_swapped", "labels_shuffled"), READS_NO_LABELS)
)
def test_grpo_conforms_on_a_model_that_can_write_answers(check: Check, both_ways: None) -> None:
    check()


@functools.cache
def writing_state() -> dict[str, torch.Tensor]:
    """Weights of the tiny model after it has learned to write both answers to every prompt of the lesson."""
    model, tokenizer, rng = tiny_model(), tiny_tokenizer(), random.Random(0)
    pairs = lesson_pairs((*kit.TRAIN, *kit.HELD_OUT))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / STEPS) + 1e-4
        groups = [
            Group(
                render_prompt(tokenizer, pair.prompt, 256),
                [encode_completion(tokenizer, text, 48) for text in (pair.chosen, pair.rejected)],
            )
            for pair in rng.sample(pairs, 8)
        ]
        loss = -torch.cat([one.logprobs for group in group_logprobs(model, groups) for one in group]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach() for name, value in model.state_dict().items()}


def writing_model(seed: int = 0) -> Any:
    model = tiny_model(seed)
    model.load_state_dict(writing_state())
    return model.eval()


@pytest.fixture
def both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("aligners", "lab"):
        monkeypatch.setattr(f"harness.conformance.{module}.tiny_model", writing_model)


# ---------------------------------------------------------------- GRPO


def reward(aligned: Aligned) -> float:
    """Mean reward of samples to held-out prompts."""
    return share_right(
        aligned.generate(
            [GenerateRequest(p.prompt, 32, temperature=1.0, seed=99, n=4) for p in lesson_pairs(kit.HELD_OUT)]
        )
    )


def share_right(answers: Sequence[Sequence[Completion]]) -> float:
    """Share of answers to the held-out prompts that the verifier takes."""
    verifier = lesson(1).verifier
    assert verifier is not None
    pairs = lesson_pairs(kit.HELD_OUT)
    return fmean(verifier(p.id, one.text) for p, group in zip(pairs, answers, strict=True) for one in group)


def test_grpo_raises_the_reward_of_answers_to_new_prompts(both_ways: None) -> None:
    with Lab(Grpo).session(kit.FULL) as session:
        fitted = session.fit()
        after = reward(fitted.aligned)
        with session.bench.aligned().adapter_off():
            before = reward(fitted.aligned)
    assert before < 0.7
    assert after > before + 0.2
    assert fitted.status == "ok"
    assert fitted.liveness["reward_last"] > fitted.liveness["reward_first"] + 0.2
    assert 0 < fitted.liveness["zero_variance"] < 1


def test_grpo_without_a_reward_to_learn_from_is_degenerate_and_changes_nothing() -> None:
    with Lab(Grpo).session(Trial()) as session:
        before = session.adapter()
        fitted = session.fit()
        assert session.adapter() == before
    assert fitted.status == "degenerate"
    assert fitted.reason is not None
    assert "every group were equal" in fitted.reason
    assert fitted.liveness["zero_variance"] == 1


def test_grpo_is_metered_and_pays_one_label_for_each_pair(both_ways: None) -> None:
    with Lab(Grpo).session(Trial(), GrpoConfig(k=4)) as session:
        session.fit()
        spend, regime = session.meter.spend, session.bench.regime
    samples = regime.min_steps * regime.sample_prompts * 4
    assert spend.labels == 8
    assert samples < spend.generated_tokens <= samples * regime.new_tokens
    assert spend.trained_tokens > spend.generated_tokens


def test_grpo_takes_a_draw_that_is_smaller_than_a_step(both_ways: None) -> None:
    wide = replace(kit.SHORT, lengths=kit.SHORT.lengths.model_copy(update={"sample_prompts": 4}))
    with Lab(Grpo).session(Trial(wide, pairs=3)) as session:
        before = session.adapter()
        session.fit()
        assert session.adapter() != before
        assert session.meter.spend.optimizer_steps == wide.min_steps


def test_grpo_goes_through_all_prompts_before_it_comes_back_to_one() -> None:
    ids = [f"p{i}" for i in range(5)]
    order = in_epochs(ids, 12, "grpo order", 0)
    assert [sorted(order[:5]), sorted(order[5:10]), len(order)] == [ids, ids, 12]
    assert order[:5] != order[5:10]
    assert order == in_epochs(ids, 20, "grpo order", 0)[:12] != in_epochs(ids, 12, "grpo order", 1)


def test_grpo_holds_policy_and_reference_to_one_temperature(both_ways: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first step the policy is the reference: their divergence is 0 at whatever temperature."""
    from trl import GRPOTrainer

    seen: list[float] = []
    compute = GRPOTrainer._compute_loss

    def watched(self: Any, *given: Any, **named: Any) -> Any:
        loss = compute(self, *given, **named)
        seen.append(self._metrics["train"]["kl"][-1])
        return loss

    monkeypatch.setattr(GRPOTrainer, "_compute_loss", watched)
    with Lab(Grpo).session(Trial(), GrpoConfig.model_validate({"k": 4, "temperature": 0.3, "beta": 0.04})) as session:
        session.fit()
    assert seen[0] == pytest.approx(0, abs=1e-7)
    assert max(seen) > 1e-5


def test_grpo_refuses_a_pool_without_a_verifier() -> None:
    with (
        Lab(Grpo).session(Trial()) as session,
        pytest.raises(HarnessError, match="aligner grpo requires pairs and verifier; this fit has pairs"),
    ):
        session.fit(FewShot(pairs=session.few_shot.pairs))


# ---------------------------------------------------------------- KTO, ORPO, best of n


def test_kto_says_that_its_order_is_its_own_and_how_its_reference_point_was_found() -> None:
    with Lab(Kto).session(Trial()) as session:
        fitted = session.fit()
    assert fitted.liveness["fixed_order"] == 1
    assert fitted.liveness["kl_matched_share"] == 0
    with Lab(Kto).session(Trial(pairs=1)) as session:
        assert session.fit().liveness["kl_matched_share"] == 1, "with one prompt there is no other one's answer"


def test_every_pair_method_takes_the_regimes_pairs_and_steps() -> None:
    methods = [*((method, {}, 1) for method in (Ipo, Irpo, Kto, Simpo, Orpo)), (Orpo, {"prompt_loss": True}, 2)]
    for aligner, values, prompts in methods:
        with Lab(aligner).session(Trial(), aligner.Config.model_validate(values)) as session:
            session.fit()
            spend, regime = session.meter.spend, session.bench.regime
            tokens = [_tokens(session.bench, pair, prompts) for pair in session.few_shot.pairs]
        assert spend.labels == 8, aligner.name
        assert spend.optimizer_steps == max(regime.min_steps, 12), aligner.name
        assert min(tokens) <= spend.trained_tokens / (spend.optimizer_steps * regime.batch) <= max(tokens), aligner.name


def _tokens(bench: LocalBench, pair: Pair, prompts: int) -> int:
    """What a step computes of a pair: its prompt once, without the last token of each answer, or twice, with them."""
    answers = len(bench.encode(pair.chosen)) + len(bench.encode(pair.rejected))
    return prompts * len(bench.render(pair.prompt)) + answers - (2 if prompts == 1 else 0)


def test_best_of_n_writes_with_the_base_model_and_ranks_by_the_adapter(both_ways: None, tmp_path: Path) -> None:
    asked = [GenerateRequest(p.prompt, 32, temperature=1.0, seed=3, n=2) for p in lesson_pairs(kit.HELD_OUT)]
    with Lab(BestOfN).session(kit.FULL, BestOfNConfig(n=8)) as session:
        ranked = session.fit().aligned
        assert isinstance(ranked, Ranker)
        with session.bench.using(BASE):
            plain = session.bench.aligned().generate([replace(r, n=16) for r in asked])
        best = ranked.generate(asked)
        ranked.save(tmp_path)
        again = BestOfN.load(session.bench.aligned(), tmp_path)
    assert all(one in samples for ones, samples in zip(best, plain, strict=True) for one in ones)
    assert again == replace(ranked, model=again.model)  # type: ignore[attr-defined]
    assert share_right(best) > 0.9 > 0.7 > share_right(plain)


def test_stopped_at_the_cap_best_of_n_still_ranks_and_loads_again(tmp_path: Path) -> None:
    whole = Lab(BestOfN).result().flops
    with Lab(BestOfN).session(Trial(cap=0.6 * whole)) as session:
        fitted = session.fit()
        assert "cap" in (fitted.reason or "")
        assert isinstance(fitted.aligned, Ranker)
        fitted.aligned.save(tmp_path)
        assert isinstance(BestOfN.load(session.bench.aligned(), tmp_path), Ranker)
