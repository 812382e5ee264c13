"""Model selection under true few-shot: trials of hyper-parameters, compared by k-fold over the cell's own labels.

Every trial fits the method on k - 1 parts of the labels and is scored on the part left out: pairs, or the target
groups' ratings where there are no pairs. No other label is ever asked for, and all that the trials compute is counted
as the cell's. The best trial is then fitted on all labels.

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

from harness.contracts import Aligned, Aligner, BudgetExceeded, FewShot, HarnessError, Pair, Ratings
from harness.fit.bench import LocalBench
from harness.fit.fitting import fit
from harness.fit.phases import moments
from harness.fit.selection import preference_score, rating_score
from harness.util.checked import read_checked_json, write_checked_json
from harness.util.hashes import content_hash

FOLDS = 4
REACH = 4.0
"""How far from its default a searched value may lie, as a factor."""
RATES = ("learning_rate", "beta")
RATE_SUFFIX = "_lr"


@dataclass(frozen=True)
class SearchTrial:
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


@dataclass(frozen=True)
class Fold:
    """What one fit of a trial learns from, and the labels left out that it is scored on: pairs, or else ratings."""

    training: FewShot
    pairs: tuple[Pair, ...] = ()
    ratings: Ratings = field(default_factory=dict)

    def score(self, bench: LocalBench, aligned: Aligned) -> float:
        """Of a fitted model, in nats, higher is better."""
        return preference_score(bench, aligned, self.pairs) if self.pairs else rating_score(aligned, self.ratings)


def folds(few_shot: FewShot, count: int = FOLDS) -> list[Fold]:
    """At most `count` folds; whole questions are held out, each in one fold, in the draw's order.

    A question that is held out is held out of every group, auxiliary ones too: new questions are what a method is for.
    Raises HarnessError where there are fewer than two.
    """
    if few_shot.pairs:
        parts = _parts([pair.unit for pair in few_shot.pairs], "pairs", count)
        return [_without_pairs(few_shot, part) for part in parts]
    asked = [rating.question for ratings in few_shot.groups.values() for rating in ratings]
    return [_without_ratings(few_shot, part) for part in _parts(asked, "ratings", count)]


def _parts(questions: Sequence[str], of: str, count: int) -> list[set[str]]:
    distinct = list(dict.fromkeys(questions))
    if len(distinct) < 2:
        raise HarnessError(f"--tune needs {of} of at least 2 questions, to hold some out; there are {len(distinct)}")
    count = min(count, len(distinct))
    return [set(distinct[start::count]) for start in range(count)]


def _without_pairs(few_shot: FewShot, part: set[str]) -> Fold:
    kept = tuple(pair for pair in few_shot.pairs if pair.unit not in part)
    return Fold(replace(few_shot, pairs=kept), pairs=tuple(pair for pair in few_shot.pairs if pair.unit in part))


def _without_ratings(few_shot: FewShot, part: set[str]) -> Fold:
    def kept(ratings: Ratings) -> Ratings:
        return {group: tuple(r for r in some if r.question not in part) for group, some in ratings.items()}

    known = {group: some for group, some in kept(few_shot.auxiliary).items() if some}
    out = {group: tuple(r for r in ratings if r.question in part) for group, ratings in few_shot.groups.items()}
    training = replace(few_shot, groups=kept(few_shot.groups), auxiliary=known)
    return Fold(training, ratings=out)


def tune(
    aligner: Aligner, bench: LocalBench, few_shot: FewShot, trials: int
) -> tuple[Aligner, tuple[SearchTrial, ...]]:
    """(the method with the best trial's config, all trials); the bench's adapter is as it was before.

    A method with nothing to search comes back as it is. An interrupted search goes on with the fold it was in.
    Raises HarnessError where the method was given neither pairs nor ratings.
    """
    if not searched(aligner.config):
        return aligner, ()
    if not few_shot.pairs and not few_shot.groups:
        raise HarnessError(f"--tune compares trials on pairs or ratings; aligner {aligner.name} was given none")
    search = _Search(bench, few_shot, bench.adapter_state())
    done: list[SearchTrial] = []
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

    def trial(self, index: int, aligner: Aligner) -> SearchTrial:
        """Fit and score one candidate on every fold."""
        before = self.bench.meter.spend.flops
        scores = tuple(
            self._fold(self.bench.workdir / f"trial-{index}-{number}", aligner, fold)
            for number, fold in enumerate(folds(self.few_shot))
        )
        self.costs.append(self.bench.meter.spend.flops - before)
        return SearchTrial(aligner.config.model_dump(mode="json", by_alias=True), sum(scores) / len(scores), scores)

    def _fold(self, folder: Path, aligner: Aligner, fold: Fold) -> float:
        """The score of one fold, from disk where an interrupted search had finished it."""
        known = read_checked_json(folder / "score.json")
        if known is not None:
            self.bench.ledger.restore(known["state"], cut=False)
            self.bench.embeddings.load(folder / "embedded.pt")
            self.mark = int(known["state"]["log"])
            return float(known["score"])
        if self.mark is not None and not moments(folder):
            self.bench.journal.cut(self.mark)
        self.mark = None
        try:
            fitted = fit(aligner, self.bench.within(folder), fold.training)
            with self.bench.within(folder) as scorer:
                score = fold.score(scorer, fitted.aligned)
        finally:  # whatever stopped it, the next fit starts from the same adapter
            self.bench.adapters.load(self.start)
        if not math.isfinite(score):
            raise HarnessError(f"{folder.name}: the score on held-out labels is {score}, not a finite number")
        self.bench.log("tune", fold=folder.name, score=score)
        self.bench.embeddings.save(folder / "embedded.pt")
        write_checked_json(folder / "score.json", {"score": score, "state": self.bench.ledger.state()})
        for phase in folder.glob("phase-*"):
            shutil.rmtree(phase)
        return score


def as_json(trials: Sequence[SearchTrial]) -> list[dict[str, Any]]:
    """Plain values for the record."""
    return [asdict(trial) for trial in trials]
