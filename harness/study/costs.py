"""What a cell will cost: what the method's page states of its work, at a speed that was seen; or what records say.

Where the store holds records of the same kind (for a fit: method, settings, pool, model and device; for an evaluation:
task, model and device), what they took is carried over by the ratio of the sizes. Where it holds none, FLOPs come from
the formula beside the method (`aligners/costs.py`) over the lengths of the texts that were drawn, and seconds from the
speed that was seen on this machine (`harness.study.speed`). A judge's work is not counted; its price is, by the study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.models.find import cache_dir
from harness.records.schema import Record
from harness.study.footprint import footprint
from harness.study.probe import probe
from harness.study.speed import Speed, speed_here
from harness.study.work import TRIAL_FITS, Modelled, modelled, shapes_of, trains

if TYPE_CHECKING:
    from harness.run.plan import Plan

LOADING_S = 4.0
"""Seconds of a cell beside its fit and its evaluation, where no record says; a worker imports once for many cells."""


@dataclass(frozen=True, slots=True)
class Work:
    """What decides the work of a cell, in a form that plans and records share."""

    aligner: str
    settings: Mapping[str, Any]
    pool: str
    task: str
    model: str
    device: str
    pairs_seen: int
    """Optimizer steps times batch, trials of a search included."""
    items: int
    processes: int = 1
    """How many make the fit together."""


@dataclass(frozen=True, slots=True)
class CellCost:
    """What a cell is expected to take: seconds, FLOPs and tokens by phase, bytes of memory at the peak and of disk."""

    load_s: float = 0.0
    fit_s: float = 0.0
    evaluate_s: float = 0.0
    fit_flops: float = 0.0
    evaluate_flops: float = 0.0
    fit_tokens: float = 0.0
    evaluate_tokens: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    sure: bool = True
    """Whether records of the same kind say so."""
    basis: str = "nothing to do"
    """Where the figures come from, in words."""

    @property
    def seconds(self) -> float:
        """All phases."""
        return self.load_s + self.fit_s + self.evaluate_s

    @property
    def flops(self) -> float:
        """Fit and evaluation."""
        return self.fit_flops + self.evaluate_flops

    @property
    def tokens(self) -> float:
        """Fit and evaluation."""
        return self.fit_tokens + self.evaluate_tokens


def expected(plan: Plan, items: int, known: Sequence[Record], *, fitted: bool) -> CellCost:
    """What a planned cell that is scored on `items` items will take, by `known` records of any kind.

    `fitted`: its fit is there already, or another cell makes it. Reads tokenizer and headers of the model, no weights.
    """
    files, machine, config = plan.files, plan.machine, plan.config
    lora, budget = config.lora, config.budget
    rank = lora.r if trains(plan.aligner_class.Config.model_fields) else 0
    tokens = 2 * budget.batch * (plan.lengths.prompt + plan.lengths.completion) if rank else 0
    memory, disk = footprint(
        shapes_of(files.folder),
        rank=rank,
        targets=lora.targets,
        precision=machine.precision,
        tokens=tokens,
        items=items,
    )
    speed = speed_here(
        cache_dir(),
        machine.device,
        machine.threads,
        files.weights_hash,
        known,
        probe=lambda: probe(files.folder, machine.threads),
    )
    work = work_of_plan(plan, items)
    memory *= config.processes
    return cost(work, modelled(plan, items), known, speed, memory=memory, disk=disk, fitted=fitted)


def work_of(record: Record) -> Work:
    """The work of a finished cell, as a plan for it would have stated it."""
    return Work(
        aligner=record.aligner.name,
        settings=record.aligner.config,
        pool=record.data.pool,
        task=record.task.name,
        model=record.model.weights_hash,
        device=record.model.device,
        pairs_seen=pairs_seen(record.budget.min_steps, record.budget.batch, record.budget.tune),
        items=record.task.n_items,
        processes=processes_of(record),
    )


def processes_of(record: Record) -> int:
    """How many processes made the record's fit together."""
    return int(record.manifest.decisive.get("fit", {}).get("machine", {}).get("processes", 1))


def work_of_plan(plan: Plan, items: int) -> Work:
    """The work of a cell that is scored on `items` items."""
    budget = plan.config.budget
    return Work(
        aligner=plan.config.aligner,
        settings=plan.aligner_config.model_dump(mode="json", by_alias=True),
        pool=plan.pool.name,
        task=plan.config.task,
        model=plan.files.weights_hash,
        device=plan.machine.device,
        pairs_seen=pairs_seen(budget.min_steps, budget.batch, budget.tune),
        items=items,
        processes=plan.config.processes,
    )


def pairs_seen(steps: int, batch: int, tune: int) -> int:
    """Pairs that all optimizer steps see, those of a search included."""
    return steps * batch * (1 + TRIAL_FITS * tune)


def cost(
    work: Work,
    modelled: Modelled,
    known: Sequence[Record],
    speed: Speed,
    *,
    memory: int = 0,
    disk: int = 0,
    fitted: bool = False,
) -> CellCost:
    """What `work` will take; `known` are finished records of any kind, of which those of the same sort are used.

    `memory` and `disk` (bytes) are what `footprint` says of the model; `fitted`: the cell's fit is there already, or
    another cell makes it.
    """
    same = [r for r in known if r.model.weights_hash == work.model and r.model.device == work.device]
    fits, evaluations = fits_like(work, same), evaluations_like(work, same)
    idle = fitted or not (modelled.fit_flops or fits)
    together = speed.fit * work.processes  # at the best: what they wait for each other is not known
    fit = PhaseCost(modelled.fit_flops, modelled.fit_tokens, together, fits, _pairs, work.pairs_seen)
    answers = PhaseCost(
        modelled.evaluate_flops,
        modelled.evaluate_tokens,
        speed.written if modelled.writes else speed.evaluate,
        evaluations,
        _items,
        work.items,
    )
    return CellCost(
        load_s=median(r.spent.seconds.load for r in same) if same else LOADING_S,
        fit_s=0.0 if idle else fit.seconds(lambda r: r.spent.seconds.fit),
        evaluate_s=answers.seconds(lambda r: r.spent.seconds.evaluate),
        fit_flops=0.0 if idle else fit.flops(lambda r: r.spent.flops),
        evaluate_flops=answers.flops(lambda r: r.spent.inference.flops),
        fit_tokens=0.0 if idle else fit.tokens(lambda r: r.spent.forward_tokens),
        evaluate_tokens=answers.tokens(lambda r: r.spent.inference.forward_tokens),
        memory_bytes=max((work.processes * r.spent.peak_memory_bytes for r in fits), default=memory),
        disk_bytes=disk,
        sure=bool(evaluations) and (idle or bool(fits)),
        basis=_basis(work, fits, evaluations, speed, idle=idle),
    )


Figure = Callable[[Record], float]


@dataclass(frozen=True, slots=True)
class PhaseCost:
    """A phase: what the model of the work says, the records that say more, and their size."""

    modelled_flops: float
    modelled_tokens: float
    speed: float
    records: Sequence[Record]
    size: Figure
    wanted: float

    def flops(self, figure: Figure) -> float:
        """FLOPs."""
        return self._scaled(figure, self.modelled_flops)

    def tokens(self, figure: Figure) -> float:
        """Tokens that are computed forward."""
        return self._scaled(figure, self.modelled_tokens)

    def seconds(self, figure: Figure) -> float:
        """Seconds of the clock."""
        return self._scaled(figure, self.modelled_flops / self.speed)

    def _scaled(self, figure: Figure, otherwise: float) -> float:
        """The median of what records took, each for as much as is wanted; `otherwise` where there are none."""
        took = [figure(record) * self.wanted / max(self.size(record), 1.0) for record in self.records]
        return median(took) if took else otherwise


def fits_like(work: Work, same: Sequence[Record]) -> list[Record]:
    """Records whose fit did the same at another size, at most: method, settings, pool and number of processes."""
    return [
        r
        for r in same
        if (r.aligner.name, r.data.pool, processes_of(r)) == (work.aligner, work.pool, work.processes)
        and r.aligner.config == work.settings
        and r.spent.seconds.fit > 0
        and r.spent.flops > 0
    ]


def evaluations_like(work: Work, same: Sequence[Record]) -> list[Record]:
    """Records of the same task: those of the method, else all."""
    scored = [r for r in same if r.task.name == work.task and r.task.n_items]
    return [r for r in scored if r.aligner.name == work.aligner] or scored


def _pairs(record: Record) -> float:
    return float(pairs_seen(record.budget.min_steps, record.budget.batch, record.budget.tune))


def _items(record: Record) -> float:
    return float(record.task.n_items)


def _basis(work: Work, fits: Sequence[Record], evaluations: Sequence[Record], speed: Speed, *, idle: bool) -> str:
    if evaluations and (fits or idle):
        fit = "" if idle else f"of {work.aligner} ({len(fits)}) and "
        return f"records {fit}of {work.task} ({len(evaluations)}) on this model and device"
    return f"the methods' cost formulas, at {speed.basis}"
