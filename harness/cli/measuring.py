"""`doctor --measure`: how long a training step takes here, with fast paths and without."""

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
