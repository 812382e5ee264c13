"""Trials of hyper-parameters: inside the budget, on the cell's own labels, the same after an interruption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from aligners.gpo import Gpo, GpoConfig
from aligners.gpo.result import GpoAligned
from aligners.grpo import Grpo, GrpoConfig
from aligners.icl import Icl, IclConfig
from aligners.sft import Sft, SftConfig
from harness.config import Lora
from harness.conformance.toy import tiny_model, tiny_tokenizer
from harness.contracts import ChooseRequest, FewShot, HarnessError, JudgeItem, Pair, user
from harness.fit import selection, tuning
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.fit.tuning import candidates, folds, searched, tune
from harness.judging.open import Judges
from harness.meter import Meter, Spend
from tests.recipe.test_gpo import GROUPS
from tests.recipe.test_selfie import registered
from tests.tiny import flat_regime

pytestmark = pytest.mark.recipe

PAIRS = tuple(Pair(f"p{i}", user(f"question {i}?"), f"the answer is {i}", f"no idea about {i}") for i in range(8))
REGIME = flat_regime(
    batch=4,
    min_steps=4,
    selection="kfold",
    prompt_tokens=64,
    completion_tokens=32,
    new_tokens=8,
    sample_prompts=2,
    device="cpu",
    precision="fp32",
)


def make_bench(folder: Path, cap: float | None = None, judges: Judges | None = None) -> LocalBench:
    return LocalBench.create(
        tiny_model(),
        tiny_tokenizer(),
        regime=REGIME,
        meter=Meter(cap_flops=cap),
        seed=0,
        workdir=folder,
        lora=Lora(r=4, alpha=8),
        checkpoint_steps=2,
        judges=judges,
    )


def tuned(
    folder: Path, trials: int = 3, cap: float | None = None
) -> tuple[Any, Sequence[tuning.SearchTrial], LocalBench]:
    bench = make_bench(folder, cap)
    aligner, done = tune(Sft(SftConfig.model_validate({"learning_rate": 3e-3})), bench, FewShot(pairs=PAIRS), trials)
    return aligner, done, bench


@dataclass(frozen=True)
class Calm:
    """A search that nothing disturbed, and what it had spent and left when it was over."""

    aligner: Any
    trials: Sequence[tuning.SearchTrial]
    bench: LocalBench
    spend: Spend
    adapter: dict[str, Any]

    @property
    def cost(self) -> float:
        """FLOPs of a trial: they differ in their rates only."""
        return self.spend.flops / len(self.trials)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    aligner, done, bench = tuned(tmp_path_factory.mktemp("calm"))
    return Calm(aligner, done, bench, bench.meter.spend, bench.adapter_state())


def test_the_best_trial_wins_and_everything_is_counted(calm: Calm) -> None:
    aligner, done, bench, spend = calm.aligner, calm.trials, calm.bench, calm.spend
    assert len(done) == 3
    assert done[0].config["learning_rate"] == 3e-3
    assert len({trial.config["learning_rate"] for trial in done}) == 3
    assert aligner.config.learning_rate == max(done, key=lambda t: t.score).config["learning_rate"]
    assert all(len(trial.folds) == tuning.FOLDS for trial in done)
    assert spend.labels == len(PAIRS), "no label is asked for twice"
    assert spend.optimizer_steps == 3 * tuning.FOLDS * 5, "three epochs of 6 pairs in batches of 4"
    assert all(bool((value == 0).all()) for name, value in calm.adapter.items() if "lora_B" in name), "a fresh adapter"
    fit(aligner, bench, FewShot(pairs=PAIRS))
    assert bench.meter.spend.optimizer_steps == 3 * tuning.FOLDS * 5 + 6, "the final fit, on all pairs, comes on top"


def power_cut(monkeypatch: pytest.MonkeyPatch, score: str) -> list[int]:
    """Makes the sixth call of a score fail; the list grows by one a call."""
    scored = getattr(selection, score)
    calls: list[int] = []

    def failing(*arguments: Any) -> float:
        calls.append(1)
        if len(calls) == 6:
            raise RuntimeError("power is out")
        result: float = scored(*arguments)
        return result

    monkeypatch.setattr(f"harness.fit.tuning.{score}", failing)
    return calls


def test_an_interrupted_search_ends_as_an_undisturbed_one(
    calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = power_cut(monkeypatch, "preference_score")
    with pytest.raises(RuntimeError, match="power"):
        tuned(tmp_path / "hit")
    _, resumed, bench = tuned(tmp_path / "hit")
    assert resumed == calm.trials
    assert len(calls) == 3 * tuning.FOLDS + 1
    assert bench.meter.spend == calm.spend
    assert all(torch.equal(a, calm.adapter[name]) for name, a in bench.adapter_state().items())


def test_the_cap_leaves_room_for_the_final_fit(calm: Calm, tmp_path: Path) -> None:
    aligner, done, bench = tuned(tmp_path / "capped", trials=3, cap=2.2 * calm.cost)
    assert len(done) == 1
    assert fit(aligner, bench, FewShot(pairs=PAIRS)).reason is None
    with pytest.raises(HarnessError, match="reached within the first trial of sft"):
        tuned(tmp_path / "small", cap=0.5 * calm.cost)


def test_a_method_with_nothing_to_search_is_left_alone(tmp_path: Path) -> None:
    aligner = Icl(IclConfig.model_validate({}))
    assert tune(aligner, make_bench(tmp_path), FewShot(pairs=PAIRS), 5) == (aligner, ())


def test_candidates_stay_near_what_was_given_and_follow_the_seed() -> None:
    config = SftConfig.model_validate({"learning_rate": 1e-3})
    assert searched(config) == ("learning_rate",)
    rates = [c.model_dump()["learning_rate"] for c in candidates(config, 50, seed=1)]
    assert rates[0] == 1e-3
    assert all(2.5e-4 <= rate <= 4e-3 for rate in rates)
    assert max(rates) > 2e-3 > 5e-4 > min(rates)
    assert rates[1] == candidates(config, 2, seed=1)[1].model_dump()["learning_rate"]
    assert rates[1] != candidates(config, 2, seed=2)[1].model_dump()["learning_rate"]


def test_folds_hold_out_whole_questions_once_each() -> None:
    pairs = [Pair(f"p{i}", user("?"), "a", "b", cluster=f"q{i // 2}") for i in range(10)]
    parts = folds(FewShot(pairs=tuple(pairs)))
    assert len(parts) == tuning.FOLDS
    assert sorted(p.id for fold in parts for p in fold.pairs) == sorted(p.id for p in pairs)
    for fold in parts:
        assert not {p.unit for p in fold.training.pairs} & {p.unit for p in fold.pairs}
    with pytest.raises(HarnessError, match="pairs of at least 2 questions"):
        folds(FewShot(pairs=tuple(pairs[:2])))


def test_without_pairs_the_target_groups_ratings_are_held_out_question_by_question() -> None:
    parts = folds(GROUPS)
    assert len(parts) == 4
    given = {(group, r.question) for group, ratings in GROUPS.groups.items() for r in ratings}
    out = [(group, r.question) for fold in parts for group, ratings in fold.ratings.items() for r in ratings]
    assert sorted(out) == sorted(given)
    for fold in parts:
        kept = {r.question for ratings in fold.training.groups.values() for r in ratings}
        assert not kept & {r.question for ratings in fold.ratings.values() for r in ratings}
        known = {r.question for ratings in fold.training.auxiliary.values() for r in ratings}
        every = {r.question for ratings in GROUPS.auxiliary.values() for r in ratings}
        assert known == every - {r.question for ratings in fold.ratings.values() for r in ratings}
    with pytest.raises(HarnessError, match="ratings of at least 2 questions"):
        folds(FewShot(groups={group: ratings[:1] for group, ratings in GROUPS.groups.items()}))


def searched_gpo(folder: Path, steps: int = 64) -> tuple[Any, Sequence[tuning.SearchTrial], LocalBench]:
    bench = make_bench(folder)
    gpo, done = tune(Gpo(GpoConfig.model_validate({"steps": steps})), bench, GROUPS, 2)
    return gpo, done, bench


@pytest.fixture(scope="module")
def calm_gpo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Sequence[tuning.SearchTrial], LocalBench]:
    """A search on groups that nothing disturbs."""
    return searched_gpo(tmp_path_factory.mktemp("calm"))


def test_scoring_is_a_searchs_own_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = searched_gpo(tmp_path / "counted", steps=1)[2].meter.spend.flops
    monkeypatch.setattr(GpoAligned, "_mu", lambda self, questions, group: self.reader.mu(questions, group))
    assert searched_gpo(tmp_path / "uncounted", steps=1)[2].meter.spend.flops < counted


def test_a_search_on_groups_scores_what_their_ratings_say_and_counts_each_label_once(
    calm_gpo: tuple[Any, Sequence[tuning.SearchTrial], LocalBench],
) -> None:
    gpo, done, bench = calm_gpo
    best = max(done, key=lambda trial: trial.score)
    assert gpo.config.learning_rate == best.config["learning_rate"]
    assert bench.meter.spend.labels == 8
    most = max(sum(map(len, fold.training.auxiliary.values())) for fold in folds(GROUPS))
    assert bench.meter.spend.auxiliary_labels == most, "those of the largest fold, once"
    certain = 0.9 * math.log(0.9) + 0.1 * math.log(0.1)
    assert math.log(0.5) < best.score <= certain, "better than uniform, at most the groups' own entropy"


def test_an_interrupted_search_on_groups_ends_as_an_undisturbed_one(
    calm_gpo: tuple[Any, Sequence[tuning.SearchTrial], LocalBench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, undisturbed, calm = calm_gpo
    calls = power_cut(monkeypatch, "rating_score")
    with pytest.raises(RuntimeError, match="power"):
        searched_gpo(tmp_path / "hit")
    (tmp_path / "hit" / "trial-1-1" / "checkpoint.pt").unlink()
    _, resumed, bench = searched_gpo(tmp_path / "hit")
    assert resumed == undisturbed
    assert len(calls) == 2 * tuning.FOLDS + 1, "five finished folds were not fitted again"
    assert bench.meter.spend == calm.meter.spend, "nor is a text embedded and counted twice"


def test_ratings_are_scored_by_their_cross_entropy() -> None:
    class Sure:
        def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
            assert [(r.group, r.labels) for r in requests] == [("north", ("A", "B"))] * 4 + [("south", ("A", "B"))] * 4
            return [[math.log(0.25), math.log(0.75)]] * len(requests)

    yes, no = math.log(0.25), math.log(0.75)
    expected = ((0.9 * yes + 0.1 * no) + (0.1 * yes + 0.9 * no)) / 2
    assert selection.rating_score(cast("Any", Sure()), GROUPS.groups) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(HarnessError, match="no ratings are held out"):
        selection.rating_score(cast("Any", Sure()), {"north": ()})


def test_a_search_stopped_in_a_later_trial_leaves_no_trace_on_the_adapter(
    calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning._Search, "affordable", lambda self: True)
    _, done, bench = tuned(tmp_path / "capped", trials=3, cap=1.6 * calm.cost)
    assert len(done) == 1
    assert all(bool((value == 0).all()) for name, value in bench.adapter_state().items() if "lora_B" in name)


def test_a_trial_that_is_refused_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = selection.preference_score
    calls: list[int] = []

    def diverges(*arguments: Any) -> float:
        calls.append(1)
        return float("nan") if len(calls) == 1 else scored(*arguments)

    monkeypatch.setattr("harness.fit.tuning.preference_score", diverges)
    aligner, done, _ = tuned(tmp_path)
    assert len(done) == 2
    assert aligner.config.learning_rate != 3e-3, "the first trial was the one that had no finite score"
    assert "not a finite number" in (tmp_path / "log.jsonl").read_text()


def test_where_every_trial_is_refused_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.fit.tuning.preference_score", lambda *_: float("nan"))
    with pytest.raises(HarnessError, match="trial-2-0: the score on held-out labels is nan"):
        tuned(tmp_path)


def test_a_method_with_a_verifier_asks_about_every_folds_items(tmp_path: Path) -> None:
    few_shot = FewShot(pairs=PAIRS, verifier=lambda prompt_id, completion: len(completion) % 7 / 6)
    bench = make_bench(tmp_path)
    grpo, done = tune(Grpo(GrpoConfig.model_validate({"k": 2, "steps": 4})), bench, few_shot, 2)
    fit(grpo, bench, few_shot)
    assert len(done) == 2
    assert bench.meter.spend.labels == len(PAIRS)


def test_a_judges_work_is_counted_in_every_fold_and_in_the_final_fit(tmp_path: Path) -> None:
    judges = registered(tmp_path / "judges")
    bench = make_bench(tmp_path / "a", judges=judges)
    items = [JudgeItem("0", PAIRS[0].prompt, "short", "a longer answer")]
    counted = [bench.meter.spend.forward_tokens]
    for name in ("trial-0-0", "trial-0-1"):
        with bench.within(tmp_path / name) as inner:
            inner.judge("longer", items)
        counted.append(bench.meter.spend.forward_tokens)
    with bench:
        bench.judge("longer", items)
    counted.append(bench.meter.spend.forward_tokens)
    assert [b - a for a, b in pairwise(counted)] == [3, 3, 3]
