"""`doctor --measure`: how long a training step takes here, and how fast engines sample."""

from __future__ import annotations

from harness.cli import options as shared
from harness.config import Lora


def measure(model: str, device: str) -> tuple[str, dict[str, float]]:
    """Time both, and keep the figures for `--fast-paths auto`: what they are kept under, and the figures.

    Raises HarnessError for a model or a device that is not there.
    """
    from harness.lm.paths import keep
    from harness.lm.step_time import step_times
    from harness.models.adapters import add_lora
    from harness.models.find import cache_dir, resolve
    from harness.models.load import device_kind, load, pick_device, pick_precision

    place = pick_device(device)
    files = resolve(model, registry_models=shared.registry(no_plugins=False, plugins=None).models)
    loaded, _ = load(files, device=place, precision=pick_precision("auto", place, files))
    figures = step_times(add_lora(loaded, Lora(), 0))
    return keep(cache_dir(), device_kind(place), files.folder, figures), figures


def engines(model: str, device: str) -> tuple[str, dict[str, float | str]]:
    """Time how every backend samples, and keep that for `--backend auto`: what it is kept under, and what was found.

    By backend: tokens a second, or why it does not sample here. Raises HarnessError for a model or a device that is
    not there.
    """
    from harness.lm.speeds import Where, keep, speeds
    from harness.models.find import cache_dir, resolve
    from harness.models.load import device_kind, pick_device, pick_precision

    place, registry = pick_device(device), shared.registry(no_plugins=False, plugins=None)
    files = resolve(model, registry_models=registry.models)
    precision = pick_precision("auto", place, files)
    found = dict(speeds(registry.backends, files, device=place, precision=precision))
    where = Where(cache_dir(), device_kind(place), files.folder, precision)
    keep(where, {name: speed for name, speed in found.items() if isinstance(speed, float)})
    return where.key, {name: one if isinstance(one, float) else str(one) for name, one in found.items()}
