"""GPO and the baselines about groups, through the whole loop on a tiny model."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from aligners.gpo import Gpo, GpoConfig, GpoResidual
from aligners.gpo.result import GpoAligned, PairsGpoAligned
from aligners.gpo.sources import PAIRS as PAIRS_SOURCE
from aligners.gpo.training import Training
from aligners.icl_groups import IclGroups
from aligners.mean_of_groups import MeanOfGroups
from aligners.ridge import Ridge
from aligners.uniform import Uniform
from harness.config import Lora
from harness.conformance import Check, parametrize_with_checks
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import (
    Aligner,
    ChooseRequest,
    FewShot,
    GenerateRequest,
    HarnessError,
    Pair,
    PreferRequest,
    Rating,
    able_to,
    capabilities,
    user,
)
from harness.fit.bench import LocalBench
from harness.fit.fitting import Fitted, fit
from harness.lm.backends.hf import HfEngine
from harness.lm.language_model import ModelAligned
from harness.meter import Meter
from harness.opinions.questions import answers_question, option_question, plain
from tests.tiny import flat_regime

pytestmark = pytest.mark.recipe

NO_GROUP = "it predicts the same for every group"


@parametrize_with_checks([Gpo, GpoResidual])
def test_gpo_conforms(check: Check) -> None:
    check()


@parametrize_with_checks([Ridge])
def test_ridge_conforms(check: Check) -> None:
    check()


@parametrize_with_checks([Uniform], expected_failures={"groups_swapped": NO_GROUP})
def test_uniform_conforms(check: Check) -> None:
    check()


@parametrize_with_checks([MeanOfGroups, IclGroups])
def test_baselines_without_training_conform(check: Check) -> None:
    check()


# ---------------------------------------------------------------- data


PAIRS = tuple(Pair(f"p{i}", user(f"Say {i}."), f"It is {i}, thank you.", f"No idea about {i}.") for i in range(8))
THINGS = ("snow", "tea", "dogs", "rain", "milk", "hats", "boats", "birds")


def opinions(yes: float) -> tuple[Rating, ...]:
    return tuple(Rating(f"q-{t}", f"Do you like {t}?", ("yes", "no"), (yes, 1 - yes)) for t in THINGS)


GROUPS = FewShot(
    groups={"north": opinions(0.9)[:4], "south": opinions(0.1)[:4]},
    auxiliary={"east": opinions(0.85), "west": opinions(0.15), "up": opinions(0.95), "down": opinions(0.05)},
)


def make_bench(folder: Path, *, cap: float | None = None, selection: str = "last") -> LocalBench:
    regime = flat_regime(
        batch=2,
        min_steps=4,
        selection=selection,
        prompt_tokens=192,
        completion_tokens=24,
        new_tokens=8,
        sample_prompts=2,
        device="cpu",
        precision="fp32",
    )
    return LocalBench.create(
        tiny_model(),
        tiny_tokenizer(),
        regime=regime,
        meter=Meter(cap_flops=cap),
        seed=0,
        workdir=folder,
        lora=Lora(r=4, alpha=8),
    )


def run(folder: Path, few_shot: FewShot, aligner: type[Aligner] = Gpo, **values: Any) -> tuple[Fitted, LocalBench]:
    bench = make_bench(folder, cap=values.pop("cap", None), selection=values.pop("selection", "last"))
    return fit(aligner(aligner.Config.model_validate(values)), bench, few_shot), bench


def questions(group: str | None) -> list[ChooseRequest]:
    return [ChooseRequest(user(f"Do you like {t}?"), ("A", "B"), ("yes", "no"), group) for t in (*THINGS[4:], "mice")]


def mean_yes(aligned: Any, group: str) -> float:
    answers = aligned.choose(questions(group))
    return sum(math.exp(row[0]) for row in answers) / len(answers)


def loaded(folder: Path, aligner: Any = Gpo) -> Any:
    model = ModelAligned(HfEngine(tiny_model(), tiny_tokenizer()), 192, 24)
    return aligner.load(model, folder)


# ---------------------------------------------------------------- groups


@pytest.mark.parametrize("aligner", [Gpo, GpoResidual, Ridge])
def test_a_groups_own_ratings_decide_and_swapped_ones_decide_the_other_way(
    tmp_path: Path, aligner: type[Aligner]
) -> None:
    own, _ = run(tmp_path / "own", GROUPS, aligner)
    swapped, _ = run(tmp_path / "swapped", GROUPS, aligner, context="swapped")
    assert own.status == "ok"
    assert mean_yes(own.aligned, "north") > 0.1 + mean_yes(own.aligned, "south")
    assert mean_yes(swapped.aligned, "north") < mean_yes(swapped.aligned, "south")


def test_without_context_groups_are_not_told_apart(tmp_path: Path) -> None:
    done, _ = run(tmp_path, GROUPS, context="none", steps=8)
    assert able_to("choose", done.aligned, by="a test").choose(questions("north")) == able_to(
        "choose", done.aligned, by="a test"
    ).choose(questions("south"))
    assert "context_sensitivity" not in done.liveness


@pytest.mark.parametrize("aligner", [Gpo, GpoResidual, Ridge, Uniform, MeanOfGroups, IclGroups])
def test_answers_are_distributions_and_the_same_after_loading(tmp_path: Path, aligner: type[Aligner]) -> None:
    done, _ = run(tmp_path / "work", GROUPS, aligner, **({"steps": 4} if aligner in (Gpo, GpoResidual) else {}))
    assert capabilities(done.aligned) == {"choose"}
    before = able_to("choose", done.aligned, by="a test").choose(questions("north"))
    assert all(math.fsum(map(math.exp, row)) == pytest.approx(1) for row in before)
    done.aligned.save(tmp_path / "saved")
    assert loaded(tmp_path / "saved", aligner).choose(questions("north")) == before


@pytest.mark.parametrize("switch", [{"context_y": "raw"}, {"axes": 0}])
def test_what_groups_share_and_the_axes_change_the_result_and_survive_saving(
    tmp_path: Path, switch: dict[str, Any]
) -> None:
    default, _ = run(tmp_path / "default", GROUPS, GpoResidual, steps=4)
    done, _ = run(tmp_path / "work", GROUPS, GpoResidual, steps=4, **switch)
    answers = able_to("choose", done.aligned, by="a test").choose(questions("north"))
    assert answers != able_to("choose", default.aligned, by="a test").choose(questions("north"))
    done.aligned.save(tmp_path / "saved")
    assert loaded(tmp_path / "saved", GpoResidual).choose(questions("north")) == answers


def test_the_modules_work_at_inference_is_counted_beside_the_embeddings(tmp_path: Path) -> None:
    done, _ = run(tmp_path / "work", GROUPS, steps=2)
    done.aligned.save(tmp_path / "saved")
    meter = Meter()
    aligned = Gpo.load(ModelAligned(HfEngine(tiny_model(), tiny_tokenizer()), 192, 24, meter=meter), tmp_path / "saved")
    assert isinstance(aligned, GpoAligned)
    asked = [option_question(plain(r.prompt), r.options) for r in questions("north")]
    aligned.choose(questions("north"))
    context, options = 8, sum(len(one.texts) for one in asked)
    assert meter.spend.flops == aligned.reader.module.flops(1, context + options, context) > 0


def test_a_group_that_is_no_target_is_refused(tmp_path: Path) -> None:
    done, _ = run(tmp_path, GROUPS, steps=2)
    with pytest.raises(HarnessError, match=r"'nort'.*north"):
        able_to("choose", done.aligned, by="a test").choose(questions("nort"))
    with pytest.raises(HarnessError, match="selection asks for prefer; the model's capabilities are: choose"):
        able_to("prefer", done.aligned, by="selection")


@pytest.mark.parametrize("aligner", [Gpo, GpoResidual, Ridge, Uniform, MeanOfGroups, IclGroups])
def test_nothing_to_learn_from_is_a_clear_error(tmp_path: Path, aligner: type[Aligner]) -> None:
    with pytest.raises(HarnessError, match=aligner.name):
        aligner(aligner.Config()).fit(make_bench(tmp_path), FewShot())


# ---------------------------------------------------------------- pairs


@functools.cache
def pair_result() -> PairsGpoAligned:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done, _ = run(Path(folder), FewShot(pairs=PAIRS), learning_rate=1e-3)
    assert isinstance(done.aligned, PairsGpoAligned)
    return done.aligned


def test_the_pairs_are_learned_and_preference_is_no_likelihood() -> None:
    found = pair_result().prefer([PreferRequest(p.prompt, p.chosen, p.rejected) for p in PAIRS])
    swapped = pair_result().prefer([PreferRequest(p.prompt, p.rejected, p.chosen) for p in PAIRS])
    assert all(one.p_a > 0.5 and one.a is None and one.b is None for one in found)
    assert [a.p_a + b.p_a for a, b in zip(found, swapped, strict=True)] == pytest.approx([1.0] * 8, abs=1e-4)


def test_with_pairs_a_closed_question_is_read_in_their_context() -> None:
    rows = pair_result().choose(questions(None))
    assert rows == pair_result().choose(questions("whoever"))
    assert all(math.fsum(map(math.exp, row)) == pytest.approx(1) for row in rows)
    assert capabilities(pair_result()) == {"choose", "generate", "prefer"}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_generation_gives_the_best_of_n_for_each_sample_asked_for(temperature: float) -> None:
    result = pair_result()
    request = GenerateRequest(PAIRS[0].prompt, 6, temperature=temperature, n=2, seed=3)
    (given,) = result.generate([request])
    assert len(given) == 2
    heat = temperature or result.config.temperature
    (pool,) = result.model.generate([GenerateRequest(request.context, 6, temperature=heat, n=8, seed=3)])
    for one, lot in zip(given, (pool[:4], pool[4:]), strict=True):
        # Options are centred over the whole lot, so that only all four together say which is best.
        (mu,) = result.reader.mu([answers_question("Say 0.", [other.text for other in lot])], PAIRS_SOURCE)
        assert one == lot[max(range(4), key=mu.__getitem__)]
        assert len(set(mu)) > 1


def test_held_out_pairs_select_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look, seen = Training._look, list[torch.Tensor]()

    def spoiled(self: Training) -> None:
        """The first look sees the module as it is, later ones one that says nothing since."""
        if seen:
            with torch.no_grad():
                for weight in self.module.parameters():
                    weight.mul_(-1)
        seen.append(torch.cat([p.detach().flatten().clone() for p in self.module.parameters()]))
        look(self)

    monkeypatch.setattr(Training, "_look", spoiled)
    done, bench = run(tmp_path, FewShot(pairs=PAIRS), selection="holdout25", steps=80, exchange=False)
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    looks = [event for event in events if event["event"] == "held_out"]
    assert [look["step"] for look in looks] == [20, 40, 60, 80]
    best = max(range(4), key=lambda index: looks[index]["score"])
    assert best < 3, "the last one must not be the best, or nothing is shown here"
    assert torch.equal(module_of(done), seen[best])
    assert bench.meter.spend.flops > 0


# ---------------------------------------------------------------- budget and interruptions


def module_of(done: Fitted) -> torch.Tensor:
    assert isinstance(done.aligned, GpoAligned)
    return torch.cat([p.detach().flatten() for p in done.aligned.reader.module.parameters()])


def test_an_interrupted_fit_ends_as_an_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, undisturbed = run(tmp_path / "whole", GROUPS, steps=70)
    step = Training._step

    def fails(self: Training) -> None:
        if len(self.losses) == 67:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Training, "_step", fails)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", GROUPS, steps=70)
    taken: list[int] = []

    def counts(self: Training) -> None:
        taken.append(len(self.losses))
        step(self)

    monkeypatch.setattr(Training, "_step", counts)
    before = (tmp_path / "broken" / "log.jsonl").read_text()
    resumed, bench = run(tmp_path / "broken", GROUPS, steps=70)
    assert taken == list(range(64, 70))
    assert torch.equal(module_of(resumed), module_of(whole))
    assert resumed.liveness == whole.liveness
    assert bench.meter.spend.flops == pytest.approx(undisturbed.meter.spend.flops, rel=1e-12)
    assert bench.meter.spend.forward_tokens == undisturbed.meter.spend.forward_tokens
    assert bench.ledger.seconds_before > 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)), "what was logged after the checkpoint is not told twice"
    assert before.splitlines()[0] == (tmp_path / "broken" / "log.jsonl").read_text().splitlines()[0]


def test_the_cap_ends_training_with_the_module_so_far(tmp_path: Path) -> None:
    _, free = run(tmp_path / "free", GROUPS, steps=20)
    capped, bench = run(tmp_path / "capped", GROUPS, steps=20, cap=0.7 * free.meter.spend.flops)
    assert isinstance(capped.aligned, GpoAligned)
    assert 0 < capped.liveness["steps"] < 20
    assert bench.meter.spend.flops < free.meter.spend.flops
    assert "context_sensitivity" in capped.liveness, "cut short, it is looked at as any other"
    assert str(capped.reason).startswith("stopped at the cap" if capped.status == "ok" else "the ")
    assert '"event": "cap"' in (tmp_path / "capped" / "log.jsonl").read_text()


@pytest.mark.parametrize("aligner", [Gpo, GpoResidual, Ridge])
def test_a_cap_that_leaves_nothing_of_the_method_is_no_result_of_its_own(
    tmp_path: Path, aligner: type[Aligner]
) -> None:
    done, _ = run(tmp_path, GROUPS, aligner, cap=1.0)
    assert done.status == "degenerate"
    assert f"the cap stopped {aligner.name} before it had a result" in str(done.reason)


def test_the_modules_work_is_counted(tmp_path: Path) -> None:
    (_, few), (_, many) = (run(tmp_path / str(n), GROUPS, steps=n) for n in (2, 12))
    assert many.meter.spend.forward_tokens == few.meter.spend.forward_tokens
    assert many.meter.spend.flops > few.meter.spend.flops + 10 * 3 * 4 * 2 * 600_000


def test_a_module_that_ignores_its_context_is_degenerate(tmp_path: Path) -> None:
    done, _ = run(tmp_path, GROUPS, steps=2, learning_rate=1e-12)
    assert done.status == "degenerate"


def test_settings_survive_saving(tmp_path: Path) -> None:
    result = pair_result()
    result.save(tmp_path)
    again = loaded(tmp_path)
    assert isinstance(again, PairsGpoAligned)
    assert again.config == result.config == GpoConfig(learning_rate=1e-3)
    asked = [PreferRequest(p.prompt, p.chosen, p.rejected) for p in PAIRS]
    assert again.prefer(asked) == result.prefer(asked)
