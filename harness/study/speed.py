"""FLOPs a second on this machine: a short probe, kept in the cache's folder and corrected by what later records took.

A kept figure is that of a device with so many threads, and of a model on it; a probe stands in for a model that was
never run here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.contracts import HarnessError
from harness.util.files import read_json, write_json

if TYPE_CHECKING:
    from harness.records.schema import Record

SPEEDS = "speeds.json"
"""In the cache's folder."""
FIT_SHARE, EVALUATE_SHARE = 1 / 3, 1 / 3
"""What of the probe's speed a fit, and an evaluation, of a small model comes to (ours, seen on two CPUs)."""
CUDA_FLOPS_PER_SECOND = 2e13
"""Of a GPU that nothing was run on: the probe does not take a GPU, which others may be using."""
ASSUMED = f"an assumed speed of a GPU, {CUDA_FLOPS_PER_SECOND:.0e} FLOPs a second at its best: no record says more"
PROBE = 512
"""Side of the matrices of the probe."""
PROBE_S = 0.5


@dataclass(frozen=True, slots=True)
class Speed:
    """FLOPs a second of both phases, and where they are from, in words."""

    fit: float
    evaluate: float
    basis: str


def speed_here(cache: Path, device: str, threads: int, model: str, known: Sequence[Record]) -> Speed:
    """The speed of a model here: by records, else as kept, else by the probe, which is then kept.

    `known` are records of any model and device.
    """
    same = [r for r in known if (r.model.weights_hash, r.model.device) == (model, device)]
    seen = _phases(r for r in same if r.manifest.threads == threads) or _phases(same)
    kept = _kept(cache).get(_machine(device, threads), {})
    before = kept.get(model)
    if seen is None and before is None:
        probed = _probed(cache, kept, device, threads)
        basis = "the speed of a short probe of this machine" if device == "cpu" else ASSUMED
        return Speed(probed * FIT_SHARE, probed * EVALUATE_SHARE, basis)
    fallback = before or seen
    assert fallback is not None
    fit, evaluate = (
        (seen or {}).get(phase) or fallback.get(phase) or next(iter(fallback.values())) for phase in ("fit", "evaluate")
    )
    some = "a record" if len(same) == 1 else f"{len(same)} records"
    basis = f"the speed of {some} of this model" if seen else "the speed that earlier studies saw here"
    return Speed(fit, evaluate, basis)


def learn(cache: Path, records: Iterable[Record]) -> None:
    """Keep the speed that records of runs on this machine show, in the place of what was kept of their models."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        machine = _machine(record.model.device, record.manifest.threads)
        groups.setdefault((machine, record.model.weights_hash), []).append(record)
    kept = _kept(cache)
    for (machine, model), found in groups.items():
        if (seen := _phases(found)) is not None:
            before = kept.get(machine, {})
            kept[machine] = {**before, model: {**before.get(model, {}), **seen}}
    if groups:
        _keep(cache, kept)


def probe(threads: int) -> float:
    """FLOPs a second of products of matrices in float32 on so many threads, while nothing else runs.

    One thread is timed, by its time at work, and the fastest of several products counts. Several threads would wait for
    one another on a busy machine, and seem a hundred times slower than they are.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        a = torch.ones((PROBE, PROBE))
        times: list[float] = []
        began = time.thread_time()
        while len(times) < 5 or time.thread_time() - began < PROBE_S:
            start = time.thread_time()
            torch.mm(a, a)
            times.append(time.thread_time() - start)
    finally:
        torch.set_num_threads(before)
    return threads * 2 * PROBE**3 / min(times)


def _phases(records: Iterable[Record]) -> dict[str, float] | None:
    """FLOPs a second by phase, the median over records; None where no record says both."""
    speeds: dict[str, list[float]] = {"fit": [], "evaluate": []}
    for record in records:
        spent = record.spent
        if spent.flops > 0 and spent.seconds.fit > 0:
            speeds["fit"].append(spent.flops / spent.seconds.fit)
        if spent.inference.flops > 0 and spent.seconds.evaluate > 0:
            speeds["evaluate"].append(spent.inference.flops / spent.seconds.evaluate)
    return {phase: median(found) for phase, found in speeds.items() if found} or None


def _probed(cache: Path, kept: Mapping[str, Any], device: str, threads: int) -> float:
    if device != "cpu":
        return CUDA_FLOPS_PER_SECOND
    if "probe" in kept:
        return float(kept["probe"]["fit"])
    found = probe(threads)
    everything, machine = _kept(cache), _machine(device, threads)
    _keep(cache, {**everything, machine: {**everything.get(machine, {}), "probe": {"fit": found}}})
    return found


def _machine(device: str, threads: int) -> str:
    return f"{device}, {threads} {'thread' if threads == 1 else 'threads'}"


def _kept(cache: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Everything that is kept. Raises HarnessError for a file that is none of ours."""
    try:
        found = read_json(cache / SPEEDS) or {}
        return {
            str(machine): {str(name): {str(p): float(v) for p, v in one.items()} for name, one in models.items()}
            for machine, models in found.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise HarnessError(f"{cache / SPEEDS} holds no speeds; delete it, and they are measured again") from error


def _keep(cache: Path, kept: Mapping[str, Any]) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    write_json(cache / SPEEDS, dict(kept))
