"""Model selection under true few-shot: trials of hyper-parameters, compared by k-fold over the cell's own labels.

Every trial fits the method on k - 1 parts of the labelled pairs and is scored on the part left out; no other label is
ever asked for, and all that the trials compute is counted as the cell's. The best trial is then fitted on all pairs.

What is searched: every learning rate of a method (`learning_rate`, `*_lr`) and its `beta`, log-uniformly within a
factor of `REACH` of their default, all of a trial at once. The first trial is the config as it was given.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.contracts import Aligner, BudgetExceeded, FewShot, HarnessError, Pair
from harness.store import read_json, write_json
from harness.text import content_hash
from harness.training import LocalBench, fit, preference_score

FOLDS = 4
REACH = 4.0
"""How far from its default a searched value may lie, as a factor."""
RATES = ("learning_rate", "beta")
RATE_SUFFIX = "_lr"


@dataclass(frozen=True)
class Trial:
    """One candidate and what came of it: `score` is the mean over the folds, higher is better (nats)."""

    config: dict[str, Any]
    score: float
    folds: tuple[float, ...]


def searched(config: BaseModel) -> tuple[str, ...]:
    """Names of the hyper-parameters that a search varies; empty for a method that has none."""
    values = config.model_dump()
    named = [name for name in values if name in RATES or name.endswith(RATE_SUFFIX)]
    return tuple(name for name in named if isinstance(values[name], float) and values[name] > 0)


def candidates(config: BaseModel, trials: int, seed: int) -> list[BaseModel]:
    """`trials` configs, the given one first, the same for one seed; values that a config refuses are drawn again."""
    names = searched(config)
    values = config.model_dump(by_alias=False)
    numbers = random.Random(content_hash("tuning", seed, type(config).__name__))
    found = [config]
    while len(found) < trials:
        drawn = {name: values[name] * math.exp(numbers.uniform(-1, 1) * math.log(REACH)) for name in names}
        try:
            found.append(type(config).model_validate({**config.model_dump(by_alias=True), **drawn}))
        except ValidationError:
            continue
    return found


def folds(pairs: Sequence[Pair], count: int = FOLDS) -> list[tuple[tuple[Pair, ...], tuple[Pair, ...]]]:
    """(training, held-out) pairs of every fold; whole units are held out, in the draw's order.

    Raises HarnessError where there are fewer than two units.
    """
    units = list(dict.fromkeys(pair.unit for pair in pairs))
    if len(units) < 2:
        raise HarnessError(f"--tune needs pairs of at least 2 questions, to hold some out; there are {len(units)}")
    parts = [set(units[start :: min(count, len(units))]) for start in range(min(count, len(units)))]
    return [
        (tuple(p for p in pairs if p.unit not in part), tuple(p for p in pairs if p.unit in part)) for part in parts
    ]


def tune(aligner: Aligner, bench: LocalBench, few_shot: FewShot, trials: int) -> tuple[Aligner, tuple[Trial, ...]]:
    """(the method with the best trial's config, all trials); the bench's adapter is as it was before.

    A method with nothing to search comes back as it is. An interrupted search goes on with the fold it was in.
    Raises HarnessError where the method learns from no pairs.
    """
    if not searched(aligner.config):
        return aligner, ()
    if not few_shot.pairs:
        raise HarnessError(f"--tune compares trials on labelled pairs; aligner {aligner.name} was given none")
    search = _Search(bench, few_shot, bench.adapter_state())
    done: list[Trial] = []
    failed: HarnessError | None = None
    for index, config in enumerate(candidates(aligner.config, trials, bench.seed)):
        if not search.affordable():
            break
        try:
            done.append(search.trial(index, type(aligner)(config)))
        except BudgetExceeded as stop:
            bench.log("tune", trial=index, stopped=str(stop))
            break
        except HarnessError as refusal:  # a rate that is too high for the method, say
            bench.log("tune", trial=index, refused=str(refusal))
            failed = refusal
    if not done:
        raise failed or HarnessError(
            f"the compute cap was reached within the first trial of {aligner.name}; raise --cap-flops"
        )
    best = max(done, key=lambda trial: trial.score)
    return type(aligner)(type(aligner.config).model_validate(best.config)), tuple(done)


@dataclass
class _Search:
    """What all trials share: the bench whose meter counts, the labels, and the adapter that every fold starts from."""

    bench: LocalBench
    few_shot: FewShot
    start: dict[str, Any]
    costs: list[float] = field(default_factory=list)
    mark: int | None = None
    """Length of the log after the last fold that was found on disk."""

    def affordable(self) -> bool:
        """Whether the cap leaves room for one more trial like the dearest so far, and for the final fit after it."""
        cap = self.bench.meter.cap_flops
        if cap is None or not self.costs:
            return True
        trial = max(self.costs)
        return self.bench.meter.spend.flops + trial + trial / (FOLDS - 1) <= cap

    def trial(self, index: int, aligner: Aligner) -> Trial:
        """Fit and score one candidate on every fold."""
        before = self.bench.meter.spend.flops
        scores = tuple(
            self._fold(self.bench.workdir / f"trial-{index}-{number}", aligner, training, held_out)
            for number, (training, held_out) in enumerate(folds(self.few_shot.pairs))
        )
        self.costs.append(self.bench.meter.spend.flops - before)
        return Trial(aligner.config.model_dump(mode="json", by_alias=True), sum(scores) / len(scores), scores)

    def _fold(self, folder: Path, aligner: Aligner, training: tuple[Pair, ...], held_out: tuple[Pair, ...]) -> float:
        """The score of one fold, from disk where an interrupted search had finished it."""
        known = read_json(folder / "score.json")
        if known is not None:
            self.bench.restore_state(known["state"], cut=False)
            self.mark = int(known["state"]["log"])
            return float(known["score"])
        if self.mark is not None and _untouched(folder):
            self.bench.journal.cut(self.mark)
        self.mark = None
        try:
            fitted = fit(aligner, self.bench.within(folder), replace(self.few_shot, pairs=training))
            with self.bench.within(folder) as scorer:
                score = preference_score(scorer, fitted.aligned, held_out)
        finally:  # whatever stopped it, the next fit starts from the same adapter
            self.bench.load_adapter_state(self.start)
        if not math.isfinite(score):
            raise HarnessError(f"{folder.name}: the score on held-out pairs is {score}, not a finite number")
        self.bench.log("tune", fold=folder.name, score=score)
        write_json(folder / "score.json", {"score": score, "state": self.bench.checkpoint_state()})
        for phase in folder.glob("phase-*"):
            shutil.rmtree(phase)
        return score


def _untouched(folder: Path) -> bool:
    """Whether a fold left nothing that its fit could go on from."""
    return not any(folder.glob("phase-*/done.json")) and not any(folder.glob("phase-*/checkpoint-*/bench.json"))


def as_json(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Plain values for the record."""
    return [asdict(trial) for trial in trials]
