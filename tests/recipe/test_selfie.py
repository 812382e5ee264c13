"""Selfie through the whole loop on a tiny model: conformance, TRL's own loss, detection on real logits, interruptions.

The positive control (held-out accuracy above 0.9 from 32 pairs) is among the conformance checks.
"""

from __future__ import annotations

import json
import types
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import aligners.selfie
from aligners.dpo import Dpo, DpoConfig
from aligners.selfie import LABELLED, NoiseAwareStep, Selfie, SelfieConfig, SelfLabelled
from harness.config import Lora
from harness.conformance import Check, lesson, lesson_pairs, parametrize_with_checks
from harness.conformance.toy import tiny_folder, tiny_model, tiny_tokenizer
from harness.contracts import (
    BASE,
    POLICY,
    FewShot,
    HarnessError,
    JudgeItem,
    JudgeTools,
    LoglikRequest,
    Prompt,
    Verdict,
)
from harness.fit.bench import LocalBench
from harness.fit.fitting import Fitted, fit
from harness.hookspecs import hookimpl
from harness.judging.open import Judges
from harness.meter import Meter
from harness.methods.extrapolation import extrapolated_pairs
from harness.methods.losses import margins
from harness.plugins.registry import load as load_registry
from harness.util.chat import end_of_turn
from harness.util.checked import demanded
from tests.tiny import flat_regime

pytestmark = pytest.mark.recipe

PROMPTS = tuple(Prompt(p.id, p.prompt) for p in lesson_pairs(("barn", "rope", "basket", "wagon", "tower", "bench")))
DATA = FewShot(pairs=lesson(4).pairs, prompts=PROMPTS)
DETECTING: dict[str, Any] = {"round_epochs": 3.0, "rounds": 2, "quantile": 0.6, "min_margins": 4}


@parametrize_with_checks([Selfie])
def test_selfie_conforms(check: Check) -> None:
    check()


def make_bench(
    folder: Path,
    *,
    seed: int = 0,
    cap: float | None = None,
    judges: Judges | None = None,
    dropout: float = 0.0,
    **changes: Any,
) -> LocalBench:
    settings: dict[str, Any] = {
        "batch": 2,
        "min_steps": 4,
        "selection": "last",
        "prompt_tokens": 128,
        "completion_tokens": 24,
        "new_tokens": 16,
        "sample_prompts": 2,
        "device": "cpu",
        "precision": "fp32",
    }
    return LocalBench.create(
        tiny_model(),
        tiny_tokenizer(),
        regime=flat_regime(**{**settings, **changes}),
        meter=Meter(cap_flops=cap),
        seed=seed,
        workdir=folder,
        lora=Lora(r=4, alpha=64, dropout=dropout),
        checkpoint_steps=2,
        judges=judges,
    )


def run(bench: LocalBench, few_shot: FewShot = DATA, **values: Any) -> Fitted:
    return fit(Selfie(SelfieConfig.model_validate({"seed_epochs": 1.0, **values})), bench, few_shot)


def spy(bench: LocalBench, name: str) -> list[tuple[Any, Any, Any]]:
    """(first argument, keyword `of`, result) of every call of a method from here on."""
    calls: list[tuple[Any, Any, Any]] = []
    method = getattr(bench, name)

    def spied(*args: Any, **kwargs: Any) -> Any:
        calls.append((args[0], kwargs.get("of", POLICY), method(*args, **kwargs)))
        return calls[-1][2]

    vars(bench)[name] = spied
    return calls


def weights(bench: LocalBench, name: str = POLICY) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for n, p in bench.policy.named_parameters() if f".{name}." in n])


def shake(bench: LocalBench, seed: int) -> None:
    """Move the live adapter somewhere else."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in bench.policy.named_parameters():
            if f".{POLICY}." in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture
def moved(tmp_path: Path) -> LocalBench:
    """A policy that has left its frozen reference `before`, which has left the base model."""
    bench = make_bench(tmp_path)
    shake(bench, 1)
    bench.fork("before")
    shake(bench, 2)
    return bench


def rows_of(bench: LocalBench) -> list[SelfLabelled]:
    return [
        SelfLabelled(bench.render(p.prompt), bench.encode(p.chosen), bench.encode(p.rejected)) for p in lesson(3).pairs
    ]


def swapped(rows: list[SelfLabelled]) -> list[SelfLabelled]:
    return [SelfLabelled(r.prompt, r.rejected, r.chosen) for r in rows]


def step_of(bench: LocalBench, *, reference: str = "before", lam: float = 0.0, **values: Any) -> NoiseAwareStep:
    config = SelfieConfig.model_validate({"detect_after": 0.0, **values})
    bench.policy.eval()  # as the trainer of single steps does
    return NoiseAwareStep(bench, config, 10, reference, lam, "margins")


def latest(bench: LocalBench) -> list[float]:
    """Margins that detection has seen."""
    return bench.latest("margins", (), keep=50)


def decoupled(bench: LocalBench, rows: list[SelfLabelled], lam: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(summed log-probabilities under the reference, m~) of every pair."""
    bench.policy.eval()
    sums, lifted = extrapolated_pairs(
        bench, [r.prompt for r in rows], [(r.chosen, r.rejected) for r in rows], lam=lam, reference="before"
    )
    return sums, margins(lifted, torch.zeros_like(lifted), 0.1)


# ---------------------------------------------------------------- one step


@pytest.mark.parametrize("reference", ["before", BASE])
def test_without_alpha_loss_and_gradient_are_those_of_trls_trainer(moved: LocalBench, reference: str) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class Encoded(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    rows, live = rows_of(moved), weights(moved)
    table = [{"prompt_ids": r.prompt, "chosen_ids": r.chosen, "rejected_ids": r.rejected} for r in rows]
    arguments = moved.arguments(DPOConfig, beta=0.1, loss_type=["sigmoid"])
    trl = Encoded(
        model=moved.policy,
        args=arguments,
        train_dataset=Dataset.from_list(table),
        processing_class=moved.tokenizer,
    )
    copy_weights(moved, "ref", reference)
    moved.policy.eval()
    parameters = [p for n, p in moved.policy.named_parameters() if f".{POLICY}." in n]
    theirs = trl.compute_loss(moved.policy, trl.data_collator([dict(row) for row in table]))
    expected = torch.autograd.grad(theirs, parameters)
    ours = step_of(moved, reference=reference, alpha=0.0)(0, rows)
    assert ours is not None
    assert torch.equal(weights(moved), live)
    assert abs(ours.item() - 0.6931) > 1e-3
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    for a, b in zip(expected, torch.autograd.grad(ours, parameters), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def copy_weights(bench: LocalBench, name: str, of: str) -> None:
    """Make adapter `name`, TRL's copy of the live one, what Selfie's reference is; zeros are the base model."""
    with torch.no_grad():
        for key, parameter in bench.policy.named_parameters():
            if f".{name}." in key:
                source = None if of == BASE else bench.policy.get_parameter(key.replace(f".{name}.", f".{of}."))
                parameter.zero_() if source is None else parameter.copy_(source)


def test_at_the_first_step_all_margins_are_zero(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    shake(bench, 1)
    bench.fork("before")
    loss = step_of(bench, lam=0.5)(0, rows_of(bench))
    assert loss is not None
    assert loss.item() == pytest.approx(0.693147, abs=1e-6)
    assert bench.tally()["margin"] == pytest.approx(0, abs=1e-6)
    assert bench.tally()["decoupled_margin"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("block", [1, 5, 10**6])
def test_decoupled_margins_of_the_model_keep_the_identity_in_any_blocks(
    moved: LocalBench, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the bench's own full distributions, read one policy at a time."""
    lam, beta, rows, pairs = 0.5, 0.1, rows_of(moved), lesson(3).pairs
    vocabulary = moved.policy.get_base_model().config.vocab_size
    monkeypatch.setattr("harness.lm.rows.CHUNK_ELEMENTS", block * vocabulary)
    sums, found = decoupled(moved, rows, lam)
    for row, pair, reference, m_tilde in zip(rows, pairs, sums, found, strict=True):
        m, log_z = [], []
        for text, ids in ((pair.chosen, row.chosen), (pair.rejected, row.rejected)):
            p, q = (full(moved, pair.prompt, text, of) for of in (POLICY, "before"))
            picked = torch.arange(len(ids)), torch.tensor(ids)
            m.append(beta * (p[picked] - q[picked]).sum())
            log_z.append(((1 + lam) * p - lam * q).logsumexp(-1).sum())
            assert (log_z[-1] > 0).item()
        expected = (1 + lam) * (m[0] - m[1]) - beta * (log_z[0] - log_z[1])
        assert float(m_tilde) == pytest.approx(float(expected), abs=1e-4)
        plain = moved.score([pair.prompt], [(pair.chosen, pair.rejected)], of="before")[0]
        assert reference.tolist() == pytest.approx([one.total for one in plain], abs=1e-4)


def full(bench: LocalBench, prompt: Any, text: str, of: str) -> torch.Tensor:
    blocks = bench.distributions([bench.render(prompt)], [[bench.encode(text)]], of=of)
    return torch.cat([block.double() for block in blocks])


def test_exchanged_answers_negate_both_margins_and_the_lambda_matters(moved: LocalBench) -> None:
    rows = rows_of(moved)
    found = decoupled(moved, rows, 0.5)[1]
    mirrored = decoupled(moved, swapped(rows), 0.5)[1]
    assert torch.allclose(found, -mirrored, atol=1e-5)
    other = decoupled(moved, rows, 0.25)[1]
    assert not torch.allclose(found, other, atol=1e-4)


def test_without_lambda_the_pairs_are_picked_on_plain_margins(moved: LocalBench) -> None:
    step_of(moved, min_margins=2)(0, rows_of(moved))
    plain = latest(moved)
    assert "decoupled_margin" not in moved.tally()
    step_of(moved, lam=1e-7, min_margins=2)(0, rows_of(moved))
    assert latest(moved)[len(plain) :] == pytest.approx(plain, abs=1e-5)


def test_a_marked_pair_enters_the_loss_with_both_labels(moved: LocalBench) -> None:
    rows = rows_of(moved)
    plain = step_of(moved, alpha=0.0)(0, rows)
    noisy = step_of(moved, alpha=0.4, min_margins=2, quantile=0.1)(0, rows)
    assert plain is not None
    assert noisy is not None
    # -(1-a) log s(m) - a log s(-m) = -log s(m) + a m
    assert noisy.item() - plain.item() == pytest.approx(0.4 * min(latest(moved)) / len(rows), abs=1e-5)


# ---------------------------------------------------------------- rounds


def test_the_judge_stays_with_the_base_model_and_the_training_reference_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, trained, base_class = make_bench(tmp_path), list[tuple[str, float]](), NoiseAwareStep
    scored = spy(bench, "score")

    def step(*args: Any) -> NoiseAwareStep:
        made = base_class(*args)
        trained.append((made.reference, made.lam))
        assert torch.equal(weights(bench), weights(bench, made.reference)), "a round starts at its own reference"
        return made

    monkeypatch.setattr(aligners.selfie, "NoiseAwareStep", step)
    run(bench)
    judged = [of for _, of, _ in scored]
    assert trained == [("selfie1", 0.5), ("selfie2", 0.25), ("selfie3", 0.125)]
    assert judged[0] == BASE, "the seed is held against the base model"
    for current in ("selfie1", "selfie2", "selfie3"):
        assert judged[judged.index(current) + 1] == BASE
    assert list(bench.policy.peft_config) == [POLICY]
    assert set(judged) == {"selfie1", "selfie2", "selfie3", BASE}


def test_the_previous_judge_is_held_against_the_policy_before(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    scored = spy(bench, "score")
    run(bench, judge="previous")
    judged = [of for _, of, _ in scored][1:]  # the first is the seed's reference
    pairs = list(zip(judged[::2], judged[1::2], strict=True))
    assert pairs == [("selfie1", BASE)] * 2 + [("selfie2", "selfie1")] * 2 + [("selfie3", "selfie2")] * 2


@pytest.mark.parametrize("judge", ["none", "llm"])
def test_other_judges_run_and_say_how_far_they_agree_with_the_labels(tmp_path: Path, judge: str) -> None:
    done = run(make_bench(tmp_path), judge=judge, rounds=1)
    assert 0 <= done.liveness["agreement"] <= 1


def test_a_truncated_sample_has_no_supervised_end_of_turn(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, new_tokens=8)
    sampled = spy(bench, "generate")
    done = run(bench, rounds=1)
    rows = LABELLED.validate_json(demanded(tmp_path / "selfie-round-1-pairs.json"))
    finished = {one.ids: one.finish for _, _, groups in sampled for group in groups for one in group}
    end = end_of_turn(bench.tokenizer)
    answers = [tuple(ids) for row in rows for ids in (row.chosen, row.rejected)]
    assert {finished[ids] for ids in answers} >= {"length"}
    assert all((ids[-1] == end) == (finished[ids] == "stop") for ids in answers)
    assert done.liveness["truncation"] > 0


def test_rounds_use_every_prompt_once_and_in_proportion(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    sampled = spy(bench, "generate")
    run(bench)
    asked = [prompts for prompts, _, _ in sampled]
    assert [len(prompts) for prompts in asked] == [2, 4, 6]
    assert {p for prompts in asked for p in prompts} == {p.messages for p in PROMPTS}


def test_detection_marks_about_k_of_the_pairs_and_says_so(tmp_path: Path) -> None:
    done = run(make_bench(tmp_path), learning_rate=1e-3, **DETECTING)
    assert done.liveness["detection_never_fired"] == 0
    assert 0 < done.liveness["share_z"] <= 0.6
    assert {"tau", "margin", "decoupled_margin", "winner_tokens", "loser_tokens", "agreement"} <= set(done.liveness)
    assert done.liveness["agreement_held_out"] == 0
    silent = run(make_bench(tmp_path / "silent"), min_margins=10_000)
    assert silent.liveness["detection_never_fired"] == 1
    assert silent.liveness["share_z"] == 0
    assert silent.status == "ok"
    off = run(make_bench(tmp_path / "off"), alpha=0.0)
    assert "detection_never_fired" not in off.liveness


class Longer:
    """Prefers the longer answer, and asks a model of its own something, to see that it is counted."""

    name: ClassVar[str] = "longer"
    version: ClassVar[str] = "7"
    tools: JudgeTools | None = None

    def with_tools(self, tools: JudgeTools) -> Longer:
        self.tools = tools
        return self

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        assert self.tools is not None
        self.tools.load("").loglik([LoglikRequest((3, 4, 5), (6,))])
        return [Verdict(0.9 if len(i.a) > len(i.b) else 0.1, (0.9,), "", 5, 0.25) for i in items]


class Broken(Longer):
    name: ClassVar[str] = "broken"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        return [Verdict(0.5, (), "", 0, 0.0, status="the endpoint is down") for _ in items]


class Faltering(Longer):
    """Says nothing from its second call on."""

    name: ClassVar[str] = "faltering"
    calls = 0

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        self.calls += 1
        return super().compare(items) if self.calls == 1 else Broken().compare(items)


class Undecided(Longer):
    name: ClassVar[str] = "undecided"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        return [Verdict(0.5, (0.5,), "", 0, 0.0) for _ in items]


def test_dropout_is_off_so_that_a_round_starts_at_margin_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    loss = aligners.selfie.noise_aware_loss

    def watched(margin: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(float(margin.detach().abs().max()))
        return loss(margin, *rest)

    monkeypatch.setattr(aligners.selfie, "noise_aware_loss", watched)
    bench = make_bench(tmp_path, dropout=0.5)
    run(bench, rounds=1, round_epochs=2.0, learning_rate=1e-2)
    assert seen[0] == pytest.approx(0, abs=1e-4)
    assert max(seen) > 0.1, "the seed and the round moved the policy, so that dropout would show"


@pytest.mark.parametrize("selection", ["last", "holdout25"])
def test_without_rounds_it_is_dpo_bit_for_bit(tmp_path: Path, selection: str) -> None:
    """Seed and `dpo` are one: whatever Selfie gains over `dpo` is its rounds'."""
    both = []
    for name, aligner in (("dpo", Dpo(DpoConfig())), ("selfie", Selfie(SelfieConfig(rounds=0)))):
        bench = make_bench(tmp_path / name, selection=selection)
        before = weights(bench)
        fit(aligner, bench, DATA)
        assert not torch.equal(weights(bench), before)
        both.append((weights(bench), bench.meter.spend))
    assert torch.equal(both[0][0], both[1][0])
    assert both[0][1] == both[1][1]


def test_held_out_pairs_are_looked_at_four_times_whatever_the_rounds(tmp_path: Path) -> None:
    steps = {}
    for rounds in (0, 1, 3):
        done = run(make_bench(tmp_path / str(rounds), selection="holdout25", min_steps=8), rounds=rounds)
        assert done.liveness["looks"] == 4
        log = (tmp_path / str(rounds) / "log.jsonl").read_text().splitlines()
        steps[rounds] = [entry["step"] for entry in map(json.loads, log) if entry["event"] == "held_out"]
    assert steps[0] == [2, 4, 6, 8]
    assert steps[3][-1] == 8, "the last look is at the last step of the last round"


def test_every_prompt_that_was_sampled_from_is_counted(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    run(bench)
    assert bench.meter.spend.prompts == len(PROMPTS)
    none = make_bench(tmp_path / "none")
    run(none, rounds=0)
    assert none.meter.spend.prompts == 0, "drawn, but not used"


def registered(folder: Path) -> Judges:
    plugin = types.ModuleType("referees")
    plugin.harness_judges = hookimpl(lambda: [Longer, Broken, Faltering, Undecided])  # type: ignore[attr-defined]
    registry = load_registry(plugins=False, extra=[plugin])
    return Judges(registry, folder / "judges", str(tiny_folder(folder / "model")), "cpu")


def test_any_registered_judge_may_label_and_what_it_costs_is_counted(tmp_path: Path) -> None:
    few_shot = replace(DATA, pairs=DATA.pairs[:2])
    bench = make_bench(tmp_path / "a", judges=registered(tmp_path))
    sampled = spy(bench, "generate")
    done = run(bench, few_shot, judge="longer", rounds=1)
    texts = {one.ids: one.text for _, _, groups in sampled for group in groups for one in group}
    rows = LABELLED.validate_json(demanded(tmp_path / "a" / "selfie-round-1-pairs.json"))
    assert rows
    for row in rows:
        chosen, rejected = (texts[tuple(ids)] for ids in (row.chosen, row.rejected))
        assert len(chosen) >= len(rejected), "trained towards what the judge calls better"
    assert any(len(texts[tuple(row.chosen)]) > len(texts[tuple(row.rejected)]) for row in rows)
    calls = done.liveness["judge_calls"]
    assert calls > len(few_shot.pairs), "the samples, and the labelled pairs it is checked against"
    assert (done.liveness["judge_tokens"], done.liveness["judge_cost"]) == (5 * calls, 0.25 * calls)
    assert Selfie(SelfieConfig(judge="longer")).asked_judge == "longer"
    assert Selfie(SelfieConfig()).asked_judge is None


def test_a_judge_s_own_model_spends_from_the_budget(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "a", judges=registered(tmp_path))
    before = bench.meter.spend.forward_tokens
    items = [JudgeItem("0", DATA.pairs[0].prompt, "short", "a longer answer")]
    (verdict,) = bench.judge("longer", items)
    assert verdict.p_a == 0.1
    assert bench.meter.spend.forward_tokens == before + 3
    bench.judge("longer", items)
    assert bench.meter.spend.forward_tokens == before + 6, "opened once, counted every time"
    assert bench.meter.spend.flops > 0


def test_a_judge_that_never_answers_or_is_unknown_stops_the_fit_in_one_line(tmp_path: Path) -> None:
    judges = registered(tmp_path)
    with pytest.raises(HarnessError, match=r"'broken' gave no verdict on any of .*: the endpoint is down"):
        run(make_bench(tmp_path / "a", judges=judges), judge="broken", rounds=1)
    with pytest.raises(HarnessError, match="'longr' is not installed; did you mean 'longer'"):
        run(make_bench(tmp_path / "b", judges=judges), judge="longr", rounds=1)
    with pytest.raises(HarnessError, match="this bench was given no judges"):
        run(make_bench(tmp_path / "c"), judge="longer", rounds=1)


def test_a_call_without_a_verdict_labels_nothing_and_ends_nothing(tmp_path: Path) -> None:
    done = run(make_bench(tmp_path, judges=registered(tmp_path)), judge="faltering", rounds=1)
    assert done.liveness["pairs_used"] == 0
    assert "agreement" in done.liveness, "the labelled pairs were asked about first"
    assert str(done.reason).startswith("0% of the prompts gave a labelled pair")


def test_a_judge_that_calls_everything_a_tie_labels_nothing(tmp_path: Path) -> None:
    done = run(make_bench(tmp_path / "a", judges=registered(tmp_path)), judge="undecided", rounds=1)
    assert done.liveness["pairs_used"] == 0
    assert done.liveness["agreement"] == 0.5
    assert done.status == "degenerate"


def test_a_copy_that_cannot_be_made_is_the_error_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise MemoryError("no room for another adapter")

    bench = make_bench(tmp_path)
    monkeypatch.setattr(bench, "fork", full)
    with pytest.raises(MemoryError, match="no room"):
        run(bench, rounds=1)


def test_held_out_pairs_check_the_judge_where_there_are_any(tmp_path: Path) -> None:
    done = run(make_bench(tmp_path, selection="holdout25"), rounds=1)
    assert done.liveness["agreement_held_out"] == 1


def test_equal_samples_move_nothing_and_the_run_is_degenerate(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "equal", min_steps=1)
    generate, fork, before = bench.generate, bench.fork, list[torch.Tensor]()

    def twice(*args: Any, **kwargs: Any) -> Any:
        return [[group[0]] * 2 for group in generate(*args, **kwargs)]

    def noted(name: str) -> None:
        before.append(weights(bench))
        fork(name)

    vars(bench).update(generate=twice, fork=noted)
    done = run(bench, learning_rate=1e-2)
    assert len(before) == 3
    assert torch.equal(before[0], weights(bench))
    assert done.status == "degenerate"
    assert done.liveness["pairs_used"] == 0


def test_without_unlabelled_prompts_it_is_the_seed_alone_and_degenerate(tmp_path: Path) -> None:
    done = run(make_bench(tmp_path), FewShot(pairs=DATA.pairs))
    assert done.status == "degenerate"
    assert "no unlabelled prompts" in (done.reason or "")
    assert run(make_bench(tmp_path / "asked"), rounds=0).status == "ok"


# ---------------------------------------------------------------- interruptions


def breaks_at(call: int, function: Any) -> Any:
    """The function, interrupted at its n-th call."""
    calls: list[int] = []

    def broken(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    return broken


FIRING: dict[str, Any] = {"learning_rate": 1e-3, **DETECTING}
LOSS = aligners.selfie.noise_aware_loss
"""Called at every step of a round; the seed's steps are TRL's."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalBench, Fitted]:
    bench = make_bench(tmp_path_factory.mktemp("whole"))
    return bench, run(bench, **FIRING)


@pytest.mark.parametrize(
    ("what", "call", "sampled_again"),
    [
        ("step", 2, 2),  # in the seed
        ("score", 6, 1),  # while round 2 is judged
        ("loss", 7, 1),  # in round 2 before its first checkpoint
        ("loss", 12, 0),  # in round 2, which goes on from its checkpoint with the margins of its window
    ],
)
def test_an_interrupted_fit_ends_as_an_undisturbed_one(
    tmp_path: Path,
    what: str,
    call: int,
    sampled_again: int,
    undisturbed: tuple[LocalBench, Fitted],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, expected = undisturbed
    assert expected.liveness["share_z"] > 0
    broken = make_bench(tmp_path / "broken")
    with monkeypatch.context() as patch:
        if what == "score":
            patch.setattr(broken, "score", breaks_at(call, broken.score))
        elif what == "step":
            step = breaks_at(call, broken.meter.step)
            patch.setattr(type(broken.meter), "step", lambda self: step())
        else:  # the seed takes 2 steps, round 1 then 5, round 2 14
            patch.setattr(aligners.selfie, "noise_aware_loss", breaks_at(call, LOSS))
        with pytest.raises(KeyboardInterrupt):
            run(broken, **FIRING)
    resumed = make_bench(tmp_path / "broken")
    sampled = spy(resumed, "generate")
    done = run(resumed, **FIRING)
    assert torch.equal(weights(resumed), weights(whole))
    assert done.liveness == expected.liveness
    assert resumed.meter.spend == whole.meter.spend
    assert len(sampled) == sampled_again


def test_the_cap_stops_a_round_and_its_figures_are_reported(tmp_path: Path) -> None:
    free = make_bench(tmp_path / "free")
    run(free)
    bench = make_bench(tmp_path / "capped", cap=free.meter.spend.flops * 0.8)
    done = run(bench)
    assert "cap" in (done.reason or "")
    assert done.liveness["pairs_used"] > 0
    assert list(bench.policy.peft_config) == [POLICY]
