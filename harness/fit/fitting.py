"""One fit: an aligner gets what it declares to need, its labels are counted, the cap is survived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from harness.contracts import Aligned, Aligner, BudgetExceeded, FewShot, Finishes, HarnessError, Loads
from harness.fit.bench import LocalBench
from harness.fit.demands import refuse_unmet, takes
from harness.fit.held_out import chosen_by
from harness.meter import Meter


@dataclass(frozen=True)
class Fitted:
    """The outcome of a fit."""

    aligned: Aligned
    status: Literal["ok", "degenerate", "over_cap"]
    reason: str | None
    liveness: dict[str, float]


def fit(aligner: Aligner, bench: LocalBench, few_shot: FewShot) -> Fitted:
    """Run an aligner: gives it what it declares to need, counts the labels, survives the cap.

    Raises HarnessError where `few_shot` is not what the aligner asks for.
    """
    given = _only_needed(aligner, few_shot, bench.meter)
    bench.offer(given.prompts)
    bench.chosen_by = chosen_by(aligner)
    before = bench.meter.stops
    with bench:
        try:
            aligned = aligner.fit(bench, given)
        except BudgetExceeded:
            aligned = _cut_short(aligner, bench)
        excess = bench.meter.excess  # also where the aligner made the best of the cap by itself
        if excess:
            bench.log("cap", reason=excess)
    refused = bench.meter.stops - before - 1  # the first stop is the one that ends an honest fit
    if refused > 0:
        reason = f"{aligner.name} went on after the cap on compute: {refused} more pieces of work were refused"
        return Fitted(aligned, "over_cap", reason, dict(bench.ledger.alive))
    status: Literal["ok", "degenerate"] = "degenerate" if bench.ledger.degenerate else "ok"
    stopped = f"stopped at the cap: {excess}" if excess else None
    return Fitted(aligned, status, bench.ledger.degenerate or stopped, dict(bench.ledger.alive))


def _cut_short(aligner: Aligner, bench: LocalBench) -> Aligned:
    """The result of a fit that the cap stopped: the adapter as it stands, or what the aligner makes of it.

    An aligner whose result is no adapter, and that cannot say what it is so far, has no result: the row says so.
    """
    bench.adapters.restore_best()
    if isinstance(aligner, Finishes):
        return aligner.finish(bench)
    if isinstance(aligner, Loads):
        bench.liveness(degenerate=f"the cap stopped {aligner.name} before it had a result; the model alone answers")
    return bench.aligned()


def _only_needed(aligner: Aligner, few_shot: FewShot, meter: Meter) -> FewShot:
    refuse_unmet(aligner, few_shot, "this fit")
    taken = takes(aligner)
    if "pairs" in taken:
        for pair in few_shot.pairs:
            meter.label(pair.id)
    verifier = few_shot.verifier if "verifier" in taken else None
    bought = {pair.id for pair in few_shot.pairs} if "pairs" in taken else set[str]()
    if "groups" in taken:
        for group, ratings in few_shot.groups.items():
            for rating in ratings:
                meter.label(f"{group}\x1f{rating.question}")
    if "auxiliary" in taken:
        meter.auxiliary(sum(len(ratings) for ratings in few_shot.auxiliary.values()))
    return FewShot(
        pairs=few_shot.pairs if "pairs" in taken else (),
        prompts=few_shot.prompts if "prompts" in taken else (),
        verifier=_counted(verifier, meter, bought, len(few_shot.pairs)) if verifier is not None else None,
        groups=few_shot.groups if "groups" in taken else {},
        auxiliary=few_shot.auxiliary if "auxiliary" in taken else {},
        spans=few_shot.spans,
    )


def _counted(verifier: Any, meter: Meter, bought: set[str], most: int) -> Any:
    """Each distinct item asked about is one label; where pairs were drawn, this fit has as many labels as pairs.

    `bought` are labels that it has already. The meter would not do: it counts those of earlier fits of a search, too.
    """

    def ask(prompt_id: str, completion: str) -> float:
        meter.label(prompt_id)
        bought.add(prompt_id)
        if most and len(bought) > most:
            raise HarnessError(f"the verifier was asked about {len(bought)} items; the budget has {most} labels")
        return float(verifier(prompt_id, completion))

    return ask
