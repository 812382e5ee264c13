"""What a cell will cost: a stated model of the work, scaled by records of the same method, task, model and device.

The model counts a fit as `TRAINING` FLOPs for every weight and every token of two answers for each pair of each
optimizer step, all at the study's full lengths, and, where a method is handed unlabelled prompts, `SAMPLES` answers to
each; an evaluation as `ASKED` full-length prompts with full-length answers for each item. It errs upwards. Where the
store holds records of the same kind, the model only carries them over to the new size: what they cost, times the ratio
of the modelled work. A judge's work and its price are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from harness.records.schema import Record

TRAINING = 8.0
"""FLOPs for each weight and token: forward and backward through the adapter, and the reference's forward."""
FORWARD = 2.0
ASKED = 2
"""Texts that an item takes: both answers of a pair, or the options of a question, which share their prompt."""
SAMPLES = 4
"""Answers that a method which samples writes to each unlabelled prompt."""
TRIAL_FITS = 4
"""Fits that a trial of hyper-parameters takes, a fold each."""
FLOPS_PER_SECOND = {"cpu": 2e10, "cuda": 2e13}
"""Where no record says: of a CPU for each thread."""
LOADING_S = 15.0
"""Starting the process that fits, and loading the model twice, where no record says."""
BYTES = {"fp32": 4, "bf16": 2}
RUNTIME_BYTES = 600 * 2**20
"""What Python, torch and its libraries take before any model is there."""
ROW_BYTES = 4096
"""A scored item with its texts, on disk."""


@dataclass(frozen=True, slots=True)
class Work:
    """What decides the work of a cell, in a form that plans and records share."""

    aligner: str
    task: str
    model: str
    device: str
    trains: bool
    pairs_seen: int
    """Optimizer steps times batch, trials of a search included."""
    prompts: int
    """Unlabelled prompts that the method is handed."""
    items: int
    prompt: int
    completion: int
    new_tokens: int
    parameters: int

    @property
    def fit_flops(self) -> float:
        """FLOPs of the fit by the model."""
        training = TRAINING * self.pairs_seen * 2 * (self.prompt + self.completion) if self.trains else 0.0
        return self.parameters * (training + FORWARD * SAMPLES * self.prompts * (self.prompt + self.new_tokens))

    @property
    def evaluate_flops(self) -> float:
        """FLOPs of the evaluation by the model."""
        return FORWARD * ASKED * self.parameters * self.items * (self.prompt + self.new_tokens)


@dataclass(frozen=True, slots=True)
class CellCost:
    """What a cell is expected to take: seconds and FLOPs by phase, bytes of memory at the peak and of disk."""

    load_s: float = 0.0
    fit_s: float = 0.0
    evaluate_s: float = 0.0
    fit_flops: float = 0.0
    evaluate_flops: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    basis: str = "nothing to do"
    """Where the figures come from, in words."""

    @property
    def seconds(self) -> float:
        """All phases."""
        return self.load_s + self.fit_s + self.evaluate_s


def work_of(record: Record) -> Work:
    """The work of a finished cell, as a plan for it would have stated it."""
    lengths: Mapping[str, int] = record.model.lengths
    return Work(
        aligner=record.aligner.name,
        task=record.task.name,
        model=record.model.weights_hash,
        device=record.model.device,
        trains=trains(record.aligner.config),
        pairs_seen=pairs_seen(record.budget.min_steps, record.budget.batch, record.budget.tune),
        prompts=len(record.data.prompt_ids),
        items=record.task.n_items,
        prompt=lengths.get("prompt", 1),
        completion=lengths.get("completion", 1),
        new_tokens=lengths.get("new_tokens", 1),
        parameters=max(record.model.parameters, 1),
    )


def trains(settings: Iterable[str]) -> bool:
    """Whether a method with these hyper-parameters runs an optimizer: those that do have a rate for it."""
    return any(name == "learning_rate" or name.endswith("_lr") for name in settings)


def pairs_seen(steps: int, batch: int, tune: int) -> int:
    """Pairs that all optimizer steps see, those of a search included."""
    return steps * batch * (1 + TRIAL_FITS * tune)


def cost(
    work: Work, known: Sequence[Record], *, threads: int, memory: int, disk: int, fitted: bool = False
) -> CellCost:
    """What `work` will take; `known` are finished records of any kind, of which those of the same sort are used.

    `memory` and `disk` (bytes) are what `footprint` says of the model; `fitted`: the cell's fit is there already.
    """
    same = [r for r in known if r.model.weights_hash == work.model and r.model.device == work.device]
    fits = [r for r in same if r.aligner.name == work.aligner]
    scored = [r for r in same if r.task.name == work.task]
    evaluations = [r for r in scored if r.aligner.name == work.aligner] or scored
    speed = speed_of(same) or FLOPS_PER_SECOND[work.device] * (threads if work.device == "cpu" else 1)
    fit_flops = _carried(fits, lambda r: r.spent.flops, lambda w: w.fit_flops, work, work.fit_flops)
    evaluate_flops = _carried(
        evaluations, lambda r: r.spent.inference.flops, lambda w: w.evaluate_flops, work, work.evaluate_flops
    )
    fit_s = _carried(fits, lambda r: r.spent.seconds.fit, lambda w: w.fit_flops, work, fit_flops / speed)
    evaluate_s = _carried(
        evaluations, lambda r: r.spent.seconds.evaluate, lambda w: w.evaluate_flops, work, evaluate_flops / speed
    )
    return CellCost(
        load_s=median(r.spent.seconds.load for r in same) if same else LOADING_S,
        fit_s=0.0 if fitted else fit_s,
        evaluate_s=evaluate_s,
        fit_flops=0.0 if fitted else fit_flops,
        evaluate_flops=evaluate_flops,
        memory_bytes=max((r.spent.peak_memory_bytes for r in fits), default=memory),
        disk_bytes=disk,
        basis=_basis(work, len(fits), len(evaluations), len(same)),
    )


def _carried(
    records: Sequence[Record],
    figure: Callable[[Record], float],
    part: Callable[[Work], float],
    work: Work,
    otherwise: float,
) -> float:
    """The median of what records took, each times the ratio of the modelled work; `otherwise` where there are none."""
    if not records:
        return otherwise
    before = [(figure(record), part(work_of(record))) for record in records]
    return median(took * (part(work) / modelled if modelled else 1.0) for took, modelled in before)


def speed_of(records: Sequence[Record]) -> float | None:
    """FLOPs a second over phases of records that say both; None where none does."""
    spent = [(r.spent.flops + r.spent.inference.flops, r.spent.seconds.fit + r.spent.seconds.evaluate) for r in records]
    speeds = [flops / seconds for flops, seconds in spent if flops > 0 and seconds > 0]
    return median(speeds) if speeds else None


def _basis(work: Work, fits: int, evaluations: int, same: int) -> str:
    if fits and evaluations:
        return f"records of {work.aligner} ({fits}) and of {work.task} ({evaluations}) on this model and device"
    if same:
        return f"the cost model, at the speed of {same} records of this model and device"
    return "the cost model alone: an upper limit of the work at an assumed speed"


def footprint(
    shapes: Mapping[str, tuple[int, ...]], *, rank: int, targets: str, precision: str, tokens: int, items: int
) -> tuple[int, int]:
    """(bytes of memory at the peak, bytes of disk) of a fit with an adapter of this rank.

    `shapes` are those of the weights; `tokens` stand in a batch with both answers, each with logits, their gradient
    and their log-probabilities over the vocabulary. The adapter, in fp32, is trained with a gradient and two moments,
    and kept twice: in the store's fit and in the run.
    """
    size = sum(_numbers(shape) for shape in shapes.values())
    adapter = sum(rank * sum(shape) for name, shape in shapes.items() if _adapted(name, shape, targets))
    vocabulary = max((shape[0] for shape in shapes.values() if len(shape) == 2), default=0)
    memory = RUNTIME_BYTES + size * BYTES.get(precision, 4) + 16 * adapter + 12 * tokens * vocabulary
    return memory, 8 * adapter + ROW_BYTES * items


def _numbers(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _adapted(name: str, shape: tuple[int, ...], targets: str) -> bool:
    """Whether the study's adapter lies on a weight: the matrices of the layers, or those of their attention."""
    numbered = any(part.isdigit() for part in name.split("."))
    return len(shape) == 2 and numbered and (targets == "all-linear" or "attn" in name or "attention" in name)
