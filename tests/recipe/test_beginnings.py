"""A fit's first phase is computed once for all fits of a store that begin alike, and never taken for another's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from aligners.dpo import Dpo
from aligners.gem import Gem, GemConfig
from aligners.random_adapter import RandomAdapter
from aligners.sft import Sft, SftConfig
from harness.conformance import Lab, Trial
from harness.conformance.lab import SHORT
from harness.contracts import Aligner, Bench, FewShot, Schedule
from harness.contracts.progress import Silent
from harness.fit.journal import Journal
from harness.meter import Spend

pytestmark = pytest.mark.recipe

OF_THE_CLOCK = re.compile(r"time|.*_(runtime|per_second)").fullmatch
HOLDOUT = SHORT.with_budget(selection="holdout25")


@dataclass(frozen=True)
class Fit:
    """What came of a fit, and how much of it was taken from another."""

    adapter: str
    spend: Spend
    alive: Mapping[str, float]
    log: tuple[Mapping[str, Any], ...]
    hits: int

    @property
    def result(self) -> Fit:
        """All but where it came from."""
        return replace(self, hits=0)


def fitted(aligner: type[Aligner] | Aligner, folder: Path | None = None, basis: str = "basis", **trial: Any) -> Fit:
    """A fit of the kit's lesson, which shares with others through `folder`."""
    with Lab(aligner).session(Trial(**trial)) as session:
        bench = session.bench
        if folder is not None:
            bench.share(folder, basis)
        session.fit()
        entries = [json.loads(line) for line in bench.journal.since(0)]
        log = tuple({name: value for name, value in entry.items() if not OF_THE_CLOCK(name)} for entry in entries)
        return Fit(session.adapter(), session.meter.spend, dict(bench.ledger.alive), log, bench.beginnings.hits)


@pytest.mark.parametrize("regime", [SHORT, HOLDOUT], ids=["last", "holdout25"])
def test_gem_begins_with_its_ablations_fine_tuning_and_nothing_else_changes(regime: Any, tmp_path: Path) -> None:
    gem, noise = Gem(GemConfig()), Gem(GemConfig(weights="random"))
    alone = fitted(noise, regime=regime)
    assert fitted(gem, tmp_path, regime=regime).hits == 0
    shared = fitted(noise, tmp_path, regime=regime)
    assert shared.hits == 1
    assert shared.result == alone
    assert fitted(gem, tmp_path, regime=regime).result == fitted(gem, regime=regime)


def test_gem_without_its_own_phase_is_sft(tmp_path: Path) -> None:
    first = fitted(Sft, tmp_path, regime=HOLDOUT)
    second = fitted(Gem(GemConfig(optimise="none")), tmp_path, regime=HOLDOUT)
    assert (first.hits, second.hits) == (0, 1)
    assert second.result == first


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first phase of one fit."""
    folder = tmp_path_factory.mktemp("kept")
    assert fitted(Sft, folder).hits == 0
    assert fitted(Sft, folder).hits == 1
    return folder


@pytest.mark.parametrize(
    ("what", "aligner", "trial"),
    [
        ("seed", Sft, {"seed": 1}),
        ("labels", Sft, {"shuffled": True}),
        ("number of labels", Sft, {"pairs": 6}),
        ("rate", Sft(SftConfig(learning_rate=3e-4)), {}),
        ("selection", Sft, {"regime": HOLDOUT}),
        ("steps", Sft, {"regime": SHORT.with_budget(min_steps=9)}),
        ("batch", Sft, {"regime": SHORT.with_budget(batch=4)}),
        ("length", Sft, {"regime": replace(SHORT, lengths=SHORT.lengths.model_copy(update={"prompt": 12}))}),
        ("basis", Sft, {"basis": "other"}),
        ("cap", Sft, {"cap": 1e15}),
        ("another trainer", Dpo, {}),
    ],
)
def test_nothing_is_taken_where_anything_differs(what: str, aligner: Any, trial: dict[str, Any], kept: Path) -> None:
    assert fitted(aligner, kept, **trial).hits == 0, what


def test_the_looks_of_a_longer_fit_are_others(tmp_path: Path) -> None:
    """Under holdout25 the four looks are spread over all phases, so that gem's fine-tuning is not that of sft."""
    fitted(Sft, tmp_path, regime=HOLDOUT)
    assert fitted(Gem, tmp_path, regime=HOLDOUT).hits == 0


def test_noise_of_the_size_of_an_adapter_needs_it_trained_once(tmp_path: Path) -> None:
    alone = fitted(RandomAdapter)
    fitted(Sft, tmp_path)
    shared = fitted(RandomAdapter, tmp_path)
    assert (shared.hits, shared.result) == (1, alone)


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    first = fitted(Sft, tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    assert fitted(Sft, tmp_path) == first
    assert fitted(Sft, tmp_path).hits == 1


class Decays(Sft):
    """Changes a trainer of the bench after it was made."""

    name = "decays"

    def fit(self, bench: Bench, few_shot: FewShot) -> Any:
        trainer = bench.trainers.sft([(pair.prompt, pair.chosen) for pair in few_shot.pairs], Schedule(1e-3, 4))
        trainer.args.weight_decay = 0.5
        bench.train(trainer)
        return bench.aligned()


class OtherRows(Sft):
    """Gives a trainer of the bench other rows."""

    name = "other_rows"

    def fit(self, bench: Bench, few_shot: FewShot) -> Any:
        trainer = bench.trainers.sft([(pair.prompt, pair.chosen) for pair in few_shot.pairs], Schedule(1e-3, 4))
        trainer.train_dataset = trainer.train_dataset.select([0, 1])
        bench.train(trainer)
        return bench.aligned()


class KeepsFirst(Sft):
    """Remembers the adapter as the best one before it trains."""

    name = "keeps_first"

    def fit(self, bench: Bench, few_shot: FewShot) -> Any:
        bench.keep(1e9)
        bench.train(bench.trainers.sft([(pair.prompt, pair.chosen) for pair in few_shot.pairs], Schedule(1e-3, 4)))
        return bench.aligned()


class AsMade(Sft):
    """Trains with the same trainer as it was made."""

    name = "as_made"

    def fit(self, bench: Bench, few_shot: FewShot) -> Any:
        bench.train(bench.trainers.sft([(pair.prompt, pair.chosen) for pair in few_shot.pairs], Schedule(1e-3, 4)))
        return bench.aligned()


@pytest.mark.parametrize("changing", [Decays, OtherRows, KeepsFirst])
def test_a_trainer_or_a_fit_that_was_changed_is_another(changing: type[Aligner], tmp_path: Path) -> None:
    assert fitted(AsMade, tmp_path).hits == 0
    assert fitted(AsMade, tmp_path).hits == 1
    assert fitted(changing, tmp_path).hits == 0
    assert fitted(changing, tmp_path).result == fitted(changing)


def test_the_cost_and_the_memory_of_the_phase_go_with_it(tmp_path: Path) -> None:
    with Lab(Sft).session() as session:
        session.bench.share(tmp_path, "basis")
        session.fit()
        took = session.bench.seconds()
    with Lab(Sft).session() as session:
        bench = session.bench
        bench.share(tmp_path, "basis")
        bench.journal = Journal(bench.journal.path, Silent())
        session.fit()
        assert bench.beginnings.hits == 1
        assert bench.seconds() > took / 2
        assert bench.beginnings.peak_memory > 2**20
