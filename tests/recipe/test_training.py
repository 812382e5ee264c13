from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from aligners.dpo import Dpo, DpoConfig
from aligners.dpo_variants import Ipo, Irpo
from aligners.gem import Gem
from aligners.grpo import Grpo
from aligners.kto import Kto
from aligners.orpo import Orpo
from aligners.random_adapter import RandomAdapter, RandomConfig
from aligners.sft import Sft, SftConfig
from aligners.simpo import Simpo
from harness.config import Lora
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import BASE, POLICY, Aligner, FewShot, HarnessError, Need, Pair, Regime, user
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.fit.held_out import chosen_by
from harness.fit.journal import Journal
from harness.meter import Meter
from harness.run.worker import PipeProgress
from harness.util.checked import Damaged
from tests.tiny import flat_regime

pytestmark = pytest.mark.recipe

PAIRS = tuple(Pair(f"p{i}", user(f"question {i}?"), f"the answer is {i}", f"no idea about {i}") for i in range(8))


def make_regime(**changes: Any) -> Regime:
    settings: dict[str, Any] = {
        "batch": 4,
        "min_steps": 6,
        "selection": "last",
        "prompt_tokens": 64,
        "completion_tokens": 32,
        "new_tokens": 16,
        "sample_prompts": 2,
        "device": "cpu",
        "precision": "fp32",
    }
    return flat_regime(**{**settings, **changes})


def make_bench(
    folder: Path, *, cap: float | None = None, seed: int = 0, log: Journal | None = None, **regime: Any
) -> LocalBench:
    return LocalBench.create(
        tiny_model(),
        tiny_tokenizer(),
        regime=make_regime(**regime),
        meter=Meter(cap_flops=cap),
        seed=seed,
        workdir=folder,
        lora=Lora(r=4, alpha=8),
        checkpoint_steps=2,
        log=log,
    )


def weights(bench: LocalBench, adapter: str = POLICY) -> list[torch.Tensor]:
    return [p.detach().clone() for n, p in bench.policy.named_parameters() if f".{adapter}." in n]


def margin(bench: LocalBench, pairs: Sequence[Pair] = PAIRS) -> float:
    scored = bench.score([p.prompt for p in pairs], [(p.chosen, p.rejected) for p in pairs])
    return sum(a.total - b.total for a, b in scored)


@pytest.mark.parametrize("aligner", [Sft(SftConfig(learning_rate=1e-2)), Dpo(DpoConfig(learning_rate=1e-2))])
def test_training_leaves_the_model_as_it_was_but_for_the_adapter(tmp_path: Path, aligner: Any) -> None:
    bench = make_bench(tmp_path)
    base = {n: p.detach().clone() for n, p in bench.policy.named_parameters() if ".lora_" not in n}
    before = weights(bench)
    pads = (bench.policy.config.pad_token_id, bench.policy.generation_config.pad_token_id)
    fit(aligner, bench, FewShot(pairs=PAIRS))
    assert any(not torch.equal(a, b) for a, b in zip(before, weights(bench), strict=True))
    assert all(torch.equal(base[n], p) for n, p in bench.policy.named_parameters() if n in base)
    assert set(bench.policy.peft_config) == {POLICY}
    assert not any("forward" in vars(m) for m in bench.policy.get_base_model().modules())
    assert (bench.policy.config.pad_token_id, bench.policy.generation_config.pad_token_id) == pads


def test_two_trainers_in_a_row_work_on_one_model(tmp_path: Path) -> None:
    """TRL's second DPO trainer on a PEFT model fails on its `ref` adapter unless it is removed."""
    bench = make_bench(tmp_path)
    dpo = Dpo(DpoConfig(learning_rate=1e-2))
    with bench:
        dpo.fit(bench, FewShot(pairs=PAIRS))
        first = margin(bench)
        dpo.fit(bench, FewShot(pairs=PAIRS))
        assert margin(bench) > first


def test_dpo_separates_and_sft_raises_the_chosen(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "dpo", min_steps=20)
    before = margin(bench)
    fit(Dpo(DpoConfig(learning_rate=1e-2)), bench, FewShot(pairs=PAIRS))
    assert margin(bench) > before + 1
    bench = make_bench(tmp_path / "sft", min_steps=20)
    chosen = [[p.chosen] for p in PAIRS]
    before = sum(s[0].total for s in bench.score([p.prompt for p in PAIRS], chosen))
    fit(Sft(SftConfig(learning_rate=1e-2)), bench, FewShot(pairs=PAIRS))
    assert sum(s[0].total for s in bench.score([p.prompt for p in PAIRS], chosen)) > before + 1


@pytest.mark.parametrize("selection", ["last", "holdout25"])
def test_the_random_adapter_spends_as_sft_does_and_has_its_size(tmp_path: Path, selection: str) -> None:
    sft, noise = (make_bench(tmp_path / name, selection=selection) for name in "ab")
    fit(Sft(SftConfig()), sft, FewShot(pairs=PAIRS))
    fit(RandomAdapter(RandomConfig()), noise, FewShot(pairs=PAIRS))
    assert noise.meter.spend.flops == sft.meter.spend.flops
    for a, b in zip(weights(sft), weights(noise), strict=True):
        assert float(a.norm()) == pytest.approx(float(b.norm()), rel=1e-4)
        assert not torch.allclose(a, b)


def test_the_meter_counts_labels_steps_and_tokens(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    fit(Sft(SftConfig()), bench, FewShot(pairs=PAIRS))
    spend = bench.meter.spend
    expected = sum(len(bench.render(p.prompt)) + len(bench.encode(p.chosen)) - 1 for p in PAIRS) * 6 // 2
    assert (spend.labels, spend.optimizer_steps) == (8, 6)
    assert spend.trained_tokens == expected
    assert spend.flops > 0


def test_the_cap_stops_a_fit_and_keeps_what_it_has(tmp_path: Path) -> None:
    free = make_bench(tmp_path / "free")
    fit(Sft(SftConfig()), free, FewShot(pairs=PAIRS))
    cap = free.meter.spend.flops / 2
    bench = make_bench(tmp_path / "capped", cap=cap)
    before = weights(bench)
    fitted = fit(Sft(SftConfig()), bench, FewShot(pairs=PAIRS))
    assert "cap" in (fitted.reason or "")
    assert bench.meter.spend.flops < cap * 1.5
    assert any(not torch.equal(a, b) for a, b in zip(before, weights(bench), strict=True))
    assert bench.meter.spend.optimizer_steps < 6


def test_stopped_at_the_cap_the_random_adapter_is_noise_of_the_same_size(tmp_path: Path) -> None:
    free = make_bench(tmp_path / "free")
    fit(Sft(SftConfig()), free, FewShot(pairs=PAIRS))
    sft, noise = (make_bench(tmp_path / name, cap=free.meter.spend.flops / 2) for name in ("sft", "noise"))
    fit(Sft(SftConfig()), sft, FewShot(pairs=PAIRS))
    assert "cap" in (fit(RandomAdapter(RandomConfig()), noise, FewShot(pairs=PAIRS)).reason or "")
    for a, b in zip(weights(sft), weights(noise), strict=True):
        assert float(a.norm()) == pytest.approx(float(b.norm()), rel=1e-4)
        assert not torch.allclose(a, b) or not a.any()


TIMES = re.compile("time|per_second|flos")


class Interrupted(Exception):
    pass


def stop_after(bench: LocalBench, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count = bench.meter.step

    def step() -> None:
        count()
        if bench.meter.spend.optimizer_steps == steps:
            raise Interrupted

    monkeypatch.setattr(type(bench.meter), "step", lambda self: step())


def logged(bench: LocalBench) -> list[dict[str, Any]]:
    """The log's events less what says when or how fast."""
    events = [json.loads(line) for line in bench.journal.path.read_text().splitlines()]
    return [{name: value for name, value in event.items() if not TIMES.search(name)} for event in events]


def length_reward(prompt_id: str, completion: str) -> float:
    """A verifier's: something that an untrained model's samples differ in."""
    return len(completion) % 7 / 6


def assert_same_fit(bench: Any, outcome: Any, other_bench: Any, other: Any) -> None:
    """Two fits ended alike: their weights to the bit, what they spent, their figures and their logs."""
    assert all(torch.equal(a, b) for a, b in zip(weights(other_bench), weights(bench), strict=True))
    assert bench.meter.spend == other_bench.meter.spend
    assert outcome.liveness == other.liveness
    assert logged(bench) == logged(other_bench)


@pytest.mark.parametrize("method", [Sft, Dpo, Ipo, Irpo, Orpo, Simpo, Kto, Grpo, RandomAdapter])
def test_a_resumed_fit_equals_an_undisturbed_one(tmp_path: Path, method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    aligner, few_shot = method(method.Config()), FewShot(pairs=PAIRS, verifier=length_reward)
    calm = make_bench(tmp_path / "calm")
    undisturbed = fit(aligner, calm, few_shot)
    broken = make_bench(tmp_path / "broken")
    with monkeypatch.context() as patch:
        stop_after(broken, 5, patch)
        with pytest.raises(Interrupted):
            fit(aligner, broken, few_shot)
    assert broken.meter.spend.optimizer_steps == 5
    resumed = make_bench(tmp_path / "broken")
    assert_same_fit(resumed, fit(aligner, resumed, few_shot), calm, undisturbed)


@pytest.mark.parametrize("method", [Sft, Dpo, Irpo, Kto, Grpo, RandomAdapter])
def test_a_fit_that_is_saved_in_the_middle_of_a_step_equals_an_undisturbed_one(
    tmp_path: Path, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the gradients of the fourth step: three steps are kept, though a checkpoint is due at every second."""
    from transformers import Trainer

    aligner, few_shot = method(method.Config()), FewShot(pairs=PAIRS, verifier=length_reward)
    calm = make_bench(tmp_path / "calm")
    undisturbed = fit(aligner, calm, few_shot)
    progress = PipeProgress(os.open(os.devnull, os.O_WRONLY))
    broken = make_bench(tmp_path / "broken", log=Journal(tmp_path / "broken" / "log.jsonl", progress))
    computed = Trainer.training_step

    def training_step(self: Any, *arguments: Any, **named: Any) -> Any:
        loss = computed(self, *arguments, **named)
        if self.state.global_step == 3:
            torch.rand(7)  # what a step draws before it ends is drawn again
            with ThreadPoolExecutor() as pool:
                assert pool.submit(progress.save_within, 5).result()
            raise Interrupted
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", training_step)
        patch.setattr(progress, "must_not_save", lambda: None)  # a process that has saved does not come so far
        with pytest.raises(Interrupted):
            fit(aligner, broken, few_shot)
    whole = [path.parent.name for path in (tmp_path / "broken").rglob("checkpoint-*/bench.json")]
    assert max(whole) == "checkpoint-3"
    resumed = make_bench(tmp_path / "broken")
    assert_same_fit(resumed, fit(aligner, resumed, few_shot), calm, undisturbed)


def test_nothing_is_saved_while_the_optimizer_is_at_work() -> None:
    progress = PipeProgress(os.open(os.devnull, os.O_WRONLY))
    saved: list[int] = []
    assert not progress.save_within(0.01)
    progress.may_save(lambda: saved.append(1))
    progress.must_not_save()
    assert not progress.save_within(0.01)
    progress.may_save(lambda: saved.append(2))
    assert progress.save_within(0.01)
    assert saved == [2]


def test_a_checkpoint_that_cannot_be_written_leaves_the_step_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    progress = PipeProgress(os.open(os.devnull, os.O_WRONLY))

    def refuse() -> None:
        raise OSError("no space left")

    progress.may_save(refuse)
    assert not progress.save_within(0.01)
    assert "no space left" in capsys.readouterr().err
    progress.must_not_save()  # does not wait


def test_a_finished_phase_is_loaded_not_run(tmp_path: Path) -> None:
    first = make_bench(tmp_path)
    fit(Sft(SftConfig()), first, FewShot(pairs=PAIRS))
    second = make_bench(tmp_path)
    fit(Sft(SftConfig()), second, FewShot(pairs=PAIRS))
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    assert second.meter.spend == first.meter.spend


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fit of 6 steps left that was interrupted after 5."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        bench = make_bench(folder)
        stop_after(bench, 5, patch)
        with pytest.raises(Interrupted):
            fit(Sft(SftConfig()), bench, FewShot(pairs=PAIRS))
    return folder


@pytest.mark.parametrize("name", ["bench.pt", "bench.json", "optimizer.pt", "trainer_state.json"])
def test_a_checkpoint_that_was_damaged_is_not_gone_on_from(tmp_path: Path, interrupted: Path, name: str) -> None:
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    path = max(tmp_path.glob(f"phase-0/checkpoint-*/{name}"))
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    with pytest.raises(Damaged, match=f"{name} is not what was written"):
        fit(Sft(SftConfig()), make_bench(tmp_path), FewShot(pairs=PAIRS))


def test_a_finished_phase_that_is_gone_is_missed_where_a_later_phase_is_there(tmp_path: Path) -> None:
    (tmp_path / "phase-1").mkdir()
    with pytest.raises(Damaged, match="phase-0 is gone, and a later phase is there"):
        fit(Sft(SftConfig()), make_bench(tmp_path), FewShot(pairs=PAIRS))


def test_half_a_checkpoint_is_removed(tmp_path: Path) -> None:
    (tmp_path / "phase-0" / "checkpoint-2").mkdir(parents=True)
    bench = make_bench(tmp_path)
    fit(Sft(SftConfig()), bench, FewShot(pairs=PAIRS))
    assert bench.meter.spend.optimizer_steps == 6


def test_holdout_selection_keeps_the_best_look(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, selection="holdout25", min_steps=8)
    train, held = bench.split(PAIRS)
    assert (len(train), len(held)) == (6, 2)
    fit(Dpo(DpoConfig(learning_rate=5e-2)), bench, FewShot(pairs=PAIRS))
    best = bench.adapters.best
    assert best is not None
    assert bench.held_out_score(held) == pytest.approx(best[0], abs=1e-5)


def test_forks_are_frozen_copies(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    fit(Sft(SftConfig(learning_rate=1e-2)), bench, FewShot(pairs=PAIRS))
    bench.fork("kept")
    assert all(torch.equal(a, b) for a, b in zip(weights(bench), weights(bench, "kept"), strict=True))
    assert not any(p.requires_grad for n, p in bench.policy.named_parameters() if ".kept." in n)
    kept = margin(bench)
    with bench.using(BASE):
        assert bench.policy.active_adapters is not None
    base = sum(
        a.total - b.total
        for a, b in bench.score([p.prompt for p in PAIRS], [(p.chosen, p.rejected) for p in PAIRS], of=BASE)
    )
    assert base != pytest.approx(kept)
    bench.drop("kept")
    with pytest.raises(HarnessError, match="kept"):
        bench.drop("kept")
    with pytest.raises(HarnessError, match="unknown adapter 'nope'"):
        bench.score([user("x")], [["y"]], of="nope")


def test_an_aligner_may_not_set_what_all_share(tmp_path: Path) -> None:
    from transformers import TrainingArguments

    bench = make_bench(tmp_path)
    with pytest.raises(HarnessError, match="seed is shared"):
        bench.arguments(TrainingArguments, seed=3)
    with pytest.raises(HarnessError, match="regime's"):
        bench.arguments(TrainingArguments, per_device_train_batch_size=64)


def test_only_what_is_declared_is_given(tmp_path: Path) -> None:
    class Curious:
        name, paper, version, Config = "curious", "", "1", SftConfig
        requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
        accepts: ClassVar[frozenset[Need]] = frozenset()
        config = SftConfig()
        seen: FewShot

        def __init__(self, config: Any) -> None: ...

        def fit(self, bench: Any, few_shot: FewShot) -> Any:
            self.seen = few_shot
            return bench.aligned()

    curious = Curious(None)
    from harness.contracts import Prompt

    fit(curious, make_bench(tmp_path), FewShot(pairs=PAIRS, prompts=(Prompt("x", user("x")),)))
    assert curious.seen.pairs == PAIRS
    assert curious.seen.prompts == ()


def test_without_pairs_every_trainer_refuses(tmp_path: Path) -> None:
    for aligner in (Sft(SftConfig()), Dpo(DpoConfig()), RandomAdapter(RandomConfig())):
        with pytest.raises(HarnessError, match=f"{aligner.name} requires pairs; this fit has nothing"):
            fit(aligner, make_bench(tmp_path / aligner.name), FewShot())
        with pytest.raises(HarnessError, match=f"{aligner.name} needs labelled pairs"):
            aligner.fit(make_bench(tmp_path / f"alone-{aligner.name}"), FewShot())


@pytest.mark.parametrize("method", [Sft, Orpo, Irpo, Gem, RandomAdapter])
def test_methods_with_a_likelihood_term_are_chosen_by_it(method: type[Aligner]) -> None:
    assert chosen_by(method) == chosen_by(method(method.Config())) == "likelihood"
    assert chosen_by(Dpo) == "margin"


def test_held_out_pairs_keep_the_state_that_knows_the_chosen_answers_best(tmp_path: Path) -> None:
    """Both answers have one form, which sft learns: the margin to base says less and less, the likelihood more."""
    pairs = [
        Pair(str(i), user(f"Question {i}?"), "Call a doctor now. Yes.", "Call a doctor now. No, no.") for i in range(8)
    ]
    bench = make_bench(tmp_path, selection="holdout25", min_steps=8)
    _, held = bench.split(pairs)
    fit(Sft(SftConfig(learning_rate=2e-2)), bench, FewShot(pairs=tuple(pairs)))
    looks = [e for e in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines()) if e["event"] == "held_out"]
    assert [look["by"] for look in looks] == ["likelihood"] * 4
    assert max(looks, key=lambda look: look["score"])["step"] == looks[-1]["step"]
    scores = bench.score([pair.prompt for pair in held], [(pair.chosen,) for pair in held])
    tokens = [float(value) for (one,) in scores for value in one.logprobs]
    assert bench.held_out_score(held) == pytest.approx(sum(tokens) / len(tokens), abs=1e-6)
    assert bench.adapters.best is not None
    assert bench.adapters.best[0] == pytest.approx(bench.held_out_score(held), abs=1e-5)


def test_an_unknown_figure_is_refused(tmp_path: Path) -> None:
    class Odd(Sft):
        chosen_by = "accuracy"  # type: ignore[assignment]

    with pytest.raises(HarnessError, match="aligner sft: chosen_by is 'accuracy'; expected one of margin, likelihood"):
        fit(Odd(SftConfig()), make_bench(tmp_path), FewShot(pairs=PAIRS))
