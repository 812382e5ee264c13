"""GEM through the whole loop on a tiny model that really writes marked answers.

The toy is verifiable: the model knows two ways of answering, equally likely. After "yes" its final answer is certain,
after "no" it is random letters. GEM never sees which is better, yet its own entropies must lead it to "yes".
"""

from __future__ import annotations

import functools
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from aligners.gem import Gem, GemConfig
from aligners.sft import Sft, SftConfig
from harness.config import Lora
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import POLICY, BudgetExceeded, Completion, FewShot, Pair, Prompt, user
from harness.fit.bench import LocalBench
from harness.fit.fitting import Fitted, fit
from harness.lm.logprobs import group_logprobs
from harness.lm.rows import Group
from harness.meter import Meter
from harness.util.chat import encode_completion, render_prompt
from tests.tiny import flat_regime

pytestmark = pytest.mark.recipe

PROMPTS = tuple(Prompt(f"q{i}", user(f"What of {i}?")) for i in range(8))


def answer(rng: random.Random, *, sure: bool) -> str:
    letters = "AAA" if sure else "".join(rng.choice("ABCDEFGH") for _ in range(3))
    return f"I say {'yes' if sure else 'no'}. Final Answer: {letters}"


PAIRS = tuple(
    Pair(f"p{i}", prompt.messages, answer(random.Random(i), sure=i % 2 == 0), "the other one")
    for i, prompt in enumerate(PROMPTS[:4])
)


STEPS = 80


@functools.cache
def knowing_state() -> dict[str, torch.Tensor]:
    """Weights of the tiny model after it has learned both ways of answering."""
    model, tokenizer, rng = tiny_model(), tiny_tokenizer(), random.Random(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    prompts = [render_prompt(tokenizer, prompt.messages, 64) for prompt in PROMPTS]
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / STEPS) + 1e-4
        rows = [encode_completion(tokenizer, answer(rng, sure=i % 2 == 0), 32) for i in range(16)]
        stats = group_logprobs(model, [Group(prompts[i % 8], rows[2 * i : 2 * i + 2]) for i in range(8)])
        loss = -torch.cat([one.logprobs for group in stats for one in group]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach() for name, value in model.state_dict().items()}


def make_bench(folder: Path, *, seed: int = 0, cap: float | None = None, **changes: Any) -> LocalBench:
    model = tiny_model()
    model.load_state_dict(knowing_state())
    settings: dict[str, Any] = {
        "batch": 2,
        "min_steps": 8,
        "selection": "last",
        "prompt_tokens": 96,
        "completion_tokens": 40,
        "new_tokens": 40,
        "sample_prompts": 4,
        "device": "cpu",
        "precision": "fp32",
    }
    return LocalBench.create(
        model,
        tiny_tokenizer(),
        regime=flat_regime(**{**settings, **changes}),
        meter=Meter(cap_flops=cap),
        seed=seed,
        workdir=folder,
        lora=Lora(r=4, alpha=8),
        checkpoint_steps=2,
    )


def run(bench: LocalBench, few_shot: FewShot | None = None, **values: Any) -> Fitted:
    made = GemConfig.model_validate({"sft_steps": 2, "sega_steps": 3, **values})
    return fit(Gem(made), bench, few_shot or FewShot(pairs=PAIRS, prompts=PROMPTS[4:]))


def weights(bench: LocalBench) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for n, p in bench.policy.named_parameters() if f".{POLICY}." in n])


def reward(bench: LocalBench) -> float:
    """Share of the policy's samples that take the certain way."""
    samples = bench.generate([p.messages for p in PROMPTS], n=16, seed=99)
    return sum("yes" in one.text for group in samples for one in group) / 128


# ---------------------------------------------------------------- does it learn, and only from its own entropies?


@pytest.mark.parametrize("seed", [0, 1])
def test_sega_raises_a_reward_it_never_sees(tmp_path: Path, seed: int) -> None:
    bench = make_bench(tmp_path, seed=seed)
    assert 0.35 < reward(bench) < 0.65
    done = run(bench, FewShot(prompts=PROMPTS), sega_steps=12, sega_lr=1e-3)
    assert reward(bench) > 0.9
    assert done.status == "ok"
    assert done.liveness["marker_rate"] > 0.9
    assert done.liveness["groups_used"] == 1
    assert done.liveness["kl_sft"] > 0


@pytest.mark.parametrize("control", [{"weights": "length"}, {"use_final": False}])
def test_controls_do_not(tmp_path: Path, control: dict[str, Any]) -> None:
    """Length cannot tell the two ways apart, nor can the forks alone: both ways have the same one."""
    bench = make_bench(tmp_path)
    run(bench, FewShot(prompts=PROMPTS), sega_steps=12, sega_lr=1e-3, **control)
    assert 0.25 < reward(bench) < 0.75


def test_random_weights_do_not_on_average(tmp_path: Path) -> None:
    rewards = []
    for seed in range(3):
        bench = make_bench(tmp_path / str(seed), seed=seed)
        run(bench, FewShot(prompts=PROMPTS), sega_steps=12, sega_lr=1e-3, weights="random")
        rewards.append(reward(bench))
    assert 0.3 < sum(rewards) / 3 < 0.7


def test_filtering_with_dpo_raises_it_too(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    run(bench, FewShot(prompts=PROMPTS), sega_steps=12, sega_lr=1e-3, optimise="dpo")
    assert reward(bench) > 0.85


# ---------------------------------------------------------------- every switch


@functools.cache
def adapter_under(**values: Any) -> torch.Tensor:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(Path(folder))
        run(bench, **values)
        return weights(bench)


@pytest.mark.parametrize("name", GemConfig.model_fields)
def test_every_switch_changes_the_result(name: str) -> None:
    extra: Any = GemConfig.model_fields[name].json_schema_extra
    companions = extra.get("probe_with", {})
    assert not torch.equal(adapter_under(**companions), adapter_under(**companions, **{name: extra["probe"]}))


def test_same_settings_same_adapter_and_another_seed_another(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "a")
    run(bench)
    assert torch.equal(weights(bench), adapter_under())
    other = make_bench(tmp_path / "b", seed=1)
    run(other)
    assert not torch.equal(weights(other), adapter_under())


# ---------------------------------------------------------------- the two phases


@pytest.mark.parametrize("selection", ["last", "holdout25"])
def test_without_sega_it_is_sft_bit_for_bit(tmp_path: Path, selection: str) -> None:
    """Trainer, default rate, steps and schedule are one: whatever GEM gains over `sft` is SEGA's."""
    few_shot, both = FewShot(pairs=PAIRS, prompts=PROMPTS[4:]), []
    for name, aligner in (("sft", Sft(SftConfig())), ("gem", Gem(GemConfig(optimise="none")))):
        bench = make_bench(tmp_path / name, selection=selection, min_steps=6)
        before = weights(bench)
        fit(aligner, bench, few_shot)
        assert not torch.equal(weights(bench), before)
        both.append((weights(bench), bench.meter.spend))
    assert torch.equal(both[0][0], both[1][0])
    assert both[0][1] == both[1][1]


def scripted(bench: LocalBench, answers: Any) -> list[Any]:
    """Let `answers(step)` stand in for the samples of each group; returns the prompts that were asked for."""
    asked: list[Any] = []
    end = bench.tokenizer.eos_token_id

    def generate(prompts: Any, *, n: int, **_: Any) -> list[list[Completion]]:
        texts = answers(len(asked))
        asked.append(prompts)
        encoded = [(*bench.tokenizer(text, add_special_tokens=False)["input_ids"], end) for text in texts]
        return [[Completion(t, ids, "stop") for t, ids in zip(texts, encoded, strict=True)] for _ in prompts]

    bench.generate = generate  # type: ignore[method-assign, assignment]
    return asked


def test_equal_scores_leave_the_policy_still_even_with_momentum(tmp_path: Path) -> None:
    different = [answer(random.Random(i), sure=i % 2 == 0) for i in range(5)]
    found = []
    for steps in (1, 3):
        bench = make_bench(tmp_path / str(steps))
        before = weights(bench)
        scripted(bench, lambda step: different if step == 0 else [different[0]] * 5)
        done = run(bench, FewShot(prompts=PROMPTS), sega_steps=steps, sega_lr=1e-3)
        assert not torch.equal(weights(bench), before)
        found.append(weights(bench))
    assert torch.equal(*found)
    assert done.liveness["groups_equal"] == pytest.approx(2 / 3)


def test_without_two_finished_samples_nothing_moves_and_the_run_is_degenerate(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    before = weights(bench)
    scripted(bench, lambda step: ["too short", "Final Answer is what I say at length: A", "no", "no", "no"])
    done = run(bench, FewShot(prompts=PROMPTS), sega_lr=1e-3)
    assert torch.equal(weights(bench), before)
    assert done.status == "degenerate"
    assert done.liveness["groups_used"] == 0
    assert "h_final" not in done.liveness


def test_sega_asks_for_the_pairs_prompts_and_the_unlabelled_ones_but_never_for_held_out_ones(tmp_path: Path) -> None:
    everything = {p.messages for p in PROMPTS}
    for selection, expected in (("last", everything), ("holdout25", everything - {PAIRS[-1].prompt})):
        bench = make_bench(tmp_path / selection, selection=selection)
        asked = scripted(bench, lambda step: [answer(random.Random(i), sure=i % 2 == 0) for i in range(5)])
        run(bench, sega_steps=8)
        assert {prompt for step in asked for prompt in step} == expected
        assert ("held_out" in (tmp_path / selection / "log.jsonl").read_text()) == (selection == "holdout25")


@pytest.mark.parametrize("rising", [True, False])
def test_held_out_pairs_may_choose_a_step_of_sft_and_the_record_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rising: bool
) -> None:
    bench = make_bench(tmp_path, selection="holdout25")
    looks = itertools.count(1)
    monkeypatch.setattr(LocalBench, "held_out_score", lambda self, pairs: (1 if rising else -1) * next(looks))
    done = run(bench, sft_steps=3, sega_steps=5)
    assert done.liveness["looks"] == 4, "of steps 2, 4, 6, 8: as many as any method's, over both phases"
    assert next(looks) == 5
    assert done.liveness["sega_kept"] == float(rising)
    assert "sega_kept" not in run(make_bench(tmp_path / "last")).liveness


def test_the_kl_term_keeps_the_policy_near_the_sft_model(tmp_path: Path) -> None:
    drift = []
    for beta in (0.0, 2.0):
        bench = make_bench(tmp_path / str(beta))
        run(bench, FewShot(prompts=PROMPTS), sega_steps=8, sega_lr=1e-3, beta_kl=beta)
        log = (tmp_path / str(beta) / "log.jsonl").read_text().splitlines()
        drift.append([event["kl_sft"] for event in map(json.loads, log) if "kl_sft" in event][-1])
    assert drift[1] < drift[0] / 2


def test_without_sega_nothing_is_sampled(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    done = run(bench, optimise="none")
    assert bench.meter.spend.generated_tokens == 0
    assert bench.meter.spend.optimizer_steps == 2
    assert done.status == "ok"


def test_an_unlabelled_prompt_counts_once_it_is_sampled_from(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, sample_prompts=1)
    sampled = spied(bench)
    run(bench, sega_steps=6)
    unlabelled = {p.messages for p in PROMPTS[4:]}
    assert bench.meter.spend.prompts == len({prompt for step in sampled for prompt in step} & unlabelled)
    assert 0 < bench.meter.spend.prompts < 6, "pairs' prompts are no unlabelled ones"
    nothing = make_bench(tmp_path / "sft")
    run(nothing, optimise="none")
    assert nothing.meter.spend.prompts == 0


def spied(bench: LocalBench) -> list[Any]:
    """The prompts of every call of `generate` from here on."""
    asked: list[Any] = []
    generate = bench.generate

    def watched(prompts: Any, **settings: Any) -> Any:
        asked.append(list(prompts))
        return generate(prompts, **settings)

    bench.generate = watched  # type: ignore[method-assign, assignment]
    return asked


def test_a_pool_without_a_marker_is_split_by_position_and_has_no_marker_floor(tmp_path: Path) -> None:
    long = ["a b c d e f g h i j k l m n o p q r s", "t u v w x y z a b c d e f g h i j k l"]
    found = {}
    for spans in ("marker", "positional"):
        bench = make_bench(tmp_path / spans)
        scripted(bench, lambda step: [*long, *long[::-1], long[0]])
        found[spans] = run(bench, FewShot(prompts=PROMPTS, spans=spans))
    assert found["positional"].status == "ok"
    assert found["positional"].liveness["marker_rate"] == 0
    assert "split by the marker" in str(found["marker"].reason)
    asked = make_bench(tmp_path / "asked")
    scripted(asked, lambda step: [*long, *long[::-1], long[0]])
    assert run(asked, FewShot(prompts=PROMPTS, spans="positional"), spans="marker").status == "degenerate"


def test_a_policy_that_writes_only_the_closing_line_is_degenerate(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    scripted(bench, lambda step: [f"Final Answer: {letter * 9}" for letter in "ABCDE"])
    done = run(bench, FewShot(prompts=PROMPTS))
    assert done.liveness["marker_rate"] == 1
    assert "reason for fewer than 8 tokens" in str(done.reason)


# ---------------------------------------------------------------- interruptions


def test_an_interrupted_fit_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    whole = make_bench(tmp_path / "whole")
    expected = run(whole, sega_steps=6)
    broken = make_bench(tmp_path / "broken")
    generate, calls = broken.generate, []

    def fails(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return generate(*args, **kwargs)

    broken.generate = fails  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(broken, sega_steps=6)
    resumed = make_bench(tmp_path / "broken")
    done = run(resumed, sega_steps=6)
    assert torch.equal(weights(resumed), weights(whole))
    assert done.liveness == expected.liveness
    assert resumed.meter.spend.flops == whole.meter.spend.flops


def test_the_cap_stops_sega_and_its_figures_are_reported(tmp_path: Path) -> None:
    free = make_bench(tmp_path / "free")
    run(free, sega_steps=6)
    bench = make_bench(tmp_path / "capped", cap=free.meter.spend.flops * 0.7)
    done = run(bench, sega_steps=6)
    assert done.reason is not None
    assert 0 < done.liveness["marker_rate"] <= 1
    assert list(bench.policy.peft_config) == [POLICY]
    with pytest.raises(BudgetExceeded):
        bench.spend(1e30)
