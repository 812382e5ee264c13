"""FLOPs a second on this machine: a short probe, kept in the cache's folder and corrected by what later records took.

A kept figure is that of a device with so many threads, and of a model on it; a probe (`harness.study.probe`) stands in
for a model that was never run here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
PHASES = ("fit", "evaluate", "written")
"""What has a speed of its own: a fit, an evaluation that scores texts, and one that writes answers."""
OF_A_GPU = 1 / 3
"""What of its best speed a GPU is taken to reach in either phase."""
CUDA_FLOPS_PER_SECOND = 2e13
"""Of a GPU that nothing was run on: the probe does not take a GPU, which others may be using."""
ASSUMED = f"an assumed speed of a GPU, {CUDA_FLOPS_PER_SECOND:.0e} FLOPs a second at its best: no record says more"


Probe = Callable[[], Mapping[str, float]]
"""Measures the speeds of `PHASES`."""


@dataclass(frozen=True, slots=True)
class Speed:
    """FLOPs a second of the phases, and where they are from, in words."""

    fit: float
    evaluate: float
    written: float
    """Of an evaluation that writes answers."""
    basis: str


def speed_here(
    cache: Path,
    device: str,
    threads: int,
    model: str,
    known: Sequence[Record],
    *,
    probe: Probe,
) -> Speed:
    """The speed of a model here: by records, else as kept, else by `probe`, whose figures are then kept.

    `known` are records of any model and device. A phase that no record says anything of has the speed of one that some
    record does.
    """
    same = [r for r in known if (r.model.weights_hash, r.model.device) == (model, device)]
    seen = _phases(r for r in same if r.manifest.threads == threads) or _phases(same)
    kept = _kept(cache).get(_machine(device, threads), {})
    before = kept.get(model)
    if seen is None and before is None:
        if device != "cpu":
            return _speed(dict.fromkeys(PHASES, CUDA_FLOPS_PER_SECOND * OF_A_GPU), ASSUMED)
        probed = kept.get(_probed(model)) or _keep_probe(cache, device, threads, model, probe())
        return _speed(probed, "the speed of a short probe of this machine")
    fallback = before or seen
    assert fallback is not None
    figures = {
        phase: (seen or {}).get(phase) or fallback.get(phase) or _nearest(phase, seen or fallback) for phase in PHASES
    }
    some = "a record" if len(same) == 1 else f"{len(same)} records"
    return _speed(figures, f"the speed of {some} of this model" if seen else "the speed that earlier studies saw here")


def _speed(figures: Mapping[str, float], basis: str) -> Speed:
    return Speed(figures["fit"], figures["evaluate"], figures["written"], basis)


def _nearest(phase: str, figures: Mapping[str, float]) -> float:
    """Of evaluations, those of the other kind; else whatever is known."""
    others = [name for name in ("evaluate", "written") if phase != "fit" and name in figures]
    return figures[others[0]] if others else next(iter(figures.values()))


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


def _phases(records: Iterable[Record]) -> dict[str, float] | None:
    """FLOPs a second by phase, the median over records; None where no record says any."""
    speeds: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for record in records:
        spent = record.spent
        if spent.flops > 0 and spent.seconds.fit > 0:
            speeds["fit"].append(spent.flops / spent.seconds.fit)
        if spent.inference.flops > 0 and spent.seconds.evaluate > 0:
            kind = "written" if spent.inference.generated_tokens else "evaluate"
            speeds[kind].append(spent.inference.flops / spent.seconds.evaluate)
    return {phase: median(found) for phase, found in speeds.items() if found} or None


def _probed(model: str) -> str:
    """The name under which a probe in the shapes of a model is kept."""
    return f"probe of {model}"


def _keep_probe(cache: Path, device: str, threads: int, model: str, found: Mapping[str, float]) -> Mapping[str, float]:
    everything, machine = _kept(cache), _machine(device, threads)
    _keep(cache, {**everything, machine: {**everything.get(machine, {}), _probed(model): dict(found)}})
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
