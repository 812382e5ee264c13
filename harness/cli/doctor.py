"""`doctor`: is everything here that a run needs?"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import typer

from harness.cli import options as shared
from harness.cli.output import emit_json, table
from harness.config import DEFAULT_MODEL
from harness.contracts import HarnessError

State = Literal["ok", "note", "broken"]
DISTRIBUTION = "align-harness"
HUB_TIMEOUT_S = 3.0
GIB = 2**30
NEEDED_MEMORY_GIB = 4.0
NEEDED_DISK_GIB = 2.0


Measure = Annotated[
    bool, typer.Option("--measure", help="Time a training step with fast paths and without; runs then choose by it.")
]
MeasuredModel = Annotated[
    str, typer.Option("--model", help="The model that --measure times: any of the kind that you use.")
]
MeasuredDevice = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda", help="The device on which --measure times it.")
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `note` is worth knowing; `broken` makes `doctor` exit with 1."""

    name: str
    verdict: State
    detail: str


def doctor(
    store: shared.StoreFolder = shared.DEFAULT_STORE,
    as_json: shared.Json = False,
    measure: Measure = False,
    model: MeasuredModel = DEFAULT_MODEL,
    device: MeasuredDevice = "auto",
) -> None:
    """Check python, packages, device, memory, disk, models, data and plug-ins."""
    checks = [*findings(store), *(_measured(model, device) if measure else ())]
    if as_json:
        emit_json([asdict(check) for check in checks])
    else:
        table("doctor", ["", "", ""], [[check.verdict, check.name, check.detail] for check in checks])
    if any(check.verdict == "broken" for check in checks):
        raise typer.Exit(1)


def findings(store: Path) -> Iterator[Finding]:
    """Every check in turn; one that itself fails is a broken finding, not a crash."""
    probes: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _device,
        _machine,
        lambda: _disk(store),
        _model,
        _hub,
        _data,
        _plugins,
    )
    for probe in probes:
        try:
            yield from probe()
        except Exception as error:
            name = getattr(probe, "__name__", "disk").strip("_<>")
            yield Finding(name, "broken", f"{type(error).__name__}: {error}")


def _measured(model: str, device: str) -> Iterator[Finding]:
    from harness.cli.measuring import measure

    kept, times = measure(model, device)
    fast, plain = times["fast_ms"], times["plain_ms"]
    better = "fast paths" if fast <= plain else "plain TRL and PEFT"
    detail = f"{kept}: {fast:.0f} ms a step with fast paths, {plain:.0f} ms without; --fast-paths auto takes {better}"
    yield Finding("fast paths", "ok", detail)


# ---------------------------------------------------------------- what is installed


def _python() -> Iterator[Finding]:
    fine = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if fine else "broken", f"{platform.python_version()} at {sys.executable}")


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    try:
        texts = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding(DISTRIBUTION, "broken", "not installed; run pip install -c constraints.txt . in the checkout")
        return
    for requirement in map(Requirement, texts):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield package_check(requirement.name, str(requirement.specifier))


def package_check(name: str, specifier: str) -> Finding:
    """Whether an installed package satisfies a version specifier."""
    from packaging.specifiers import SpecifierSet

    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "broken", f"not installed; needs {name}{specifier}")
    if not SpecifierSet(specifier).contains(version, prereleases=True):
        return Finding(name, "broken", f"{version}, but {specifier} is needed")
    return Finding(name, "ok", version)


def _plugins() -> Iterator[Finding]:
    try:
        registry = shared.registry(no_plugins=False, plugins=None)
    except HarnessError as error:
        yield Finding("plug-ins", "broken", str(error))
        return
    origins = sorted(set(registry.provenance.values()))
    yield Finding("plug-ins", "ok", f"{len(registry.provenance)} pieces from {', '.join(origins)}")
    for name, reason in registry.skipped.items():
        yield Finding(f"plug-in {name}", "note", f"skipped: {reason}")


# ---------------------------------------------------------------- the machine


def _device() -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding("device", "broken", f"torch cannot be imported: {error}")
        return
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        yield Finding("device", "ok", f"cuda: {name}, {free / GIB:.0f} of {total / GIB:.0f} GiB free")
    else:
        yield Finding("device", "ok", f"cpu, {torch.get_num_threads()} threads (no usable CUDA device)")


def _machine() -> Iterator[Finding]:
    yield Finding("cores", "ok", str(usable_cores()))
    total = memory_gib()
    if total is None:
        yield Finding("memory", "note", "cannot be read on this platform")
    else:
        enough = total >= NEEDED_MEMORY_GIB
        wish = "" if enough else f"; the default model wants {NEEDED_MEMORY_GIB:.0f} GiB"
        yield Finding("memory", "ok" if enough else "note", f"{total:.1f} GiB{wish}")


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float | None:
    """Physical memory, or None where it cannot be read."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    except (AttributeError, ValueError, OSError):
        return None


def _disk(store: Path) -> Iterator[Finding]:
    place = next(folder for folder in [store.resolve(), *store.resolve().parents] if folder.exists())
    free = shutil.disk_usage(place).free / GIB
    writable = os.access(place, os.W_OK)
    verdict: State = "broken" if not writable else "ok" if free >= NEEDED_DISK_GIB else "note"
    yield Finding("store", verdict, f"{store}: {free:.1f} GiB free{'' if writable else ', not writable'}")


# ---------------------------------------------------------------- models and data


def _model() -> Iterator[Finding]:
    from harness.models.find import cached_folder

    registry = shared.registry(no_plugins=True, plugins=None)
    folder = cached_folder(registry.model(DEFAULT_MODEL))
    yield Finding("default model", "ok", f"{DEFAULT_MODEL}: {folder or 'not cached; fetched on first use'}")


def _hub() -> Iterator[Finding]:
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    address = urlsplit(endpoint)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=HUB_TIMEOUT_S).close()
    except OSError as error:
        yield Finding("hub", "note", f"{endpoint} cannot be reached ({error}); --data auto uses the shipped sample")
    else:
        yield Finding("hub", "ok", f"{endpoint} answers")


def _data() -> Iterator[Finding]:
    named = os.environ.get("HARNESS_DATA")
    if not named:
        yield Finding("data", "ok", "HARNESS_DATA is not set; --data auto, hub, sample or PATH decides")
    elif named in ("auto", "hub", "sample"):
        yield Finding("data", "ok", f"HARNESS_DATA={named}")
    elif Path(named).is_dir():
        yield Finding(
            "data", "ok", f"HARNESS_DATA: {', '.join(sorted(p.name for p in Path(named).iterdir() if p.is_dir()))}"
        )
    else:
        yield Finding("data", "broken", f"HARNESS_DATA={named} is no folder")
