"""From what the user typed to what will run: pure functions, no file written, no model looked at.

Precedence, weakest first: defaults, the profile `cpu-demo`, the config file, options, `--set`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.cli.axes import read_cells
from harness.cli.variants import Variant, variants
from harness.config import (
    CPU_DEMO,
    DEFAULT_MODEL,
    RunConfig,
    budget_of,
    check_value,
    keys,
    parse,
    validated,
)
from harness.contracts import BASE, HarnessError
from harness.lm.speeds import AUTO
from harness.plugins.registry import Registry
from harness.run.outputs import OUTPUTS, named_in
from harness.util.names import nearest
from harness.util.safe_text import cut

SECTIONS = ("budget", "groups", "lora", "lengths")
"""The nested models of RunConfig that `--set` reaches into."""
EVERY = "all"
"""Stands for every aligner but base, which each cell is compared with anyway."""
COMPUTE_KEYS = frozenset({"track", "cap_flops"})
"""Budget keys that say how compute is treated, not how much is bought: they leave the profile in place."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was typed, and the two facts of the machine that matter. None: not given."""

    aligner: str | None = None
    task: str | None = None
    model: str | None = None
    model_revision: str | None = None
    data: str | None = None
    train_on: str | None = None
    columns: dict[str, str] | None = None
    split_file: Path | None = None
    folds: int | None = None
    budget: str | None = None
    track: str | None = None
    cap_flops: float | None = None
    tune: int | None = None
    seeds: tuple[int, ...] = ()
    draw_seed: int | None = None
    shuffle_labels: bool | None = None
    limit: int | None = None
    num_fewshot: int | None = None
    generate: bool | None = None
    device: str | None = None
    precision: str | None = None
    fast_paths: str | None = None
    backend: str | None = None
    judge: str | None = None
    baseline: str | None = None
    outputs: Path | None = None
    """A file of outputs, in place of a method."""
    files: tuple[Path, ...] = ()
    """Files of outputs, each a cell beside those of the methods."""
    store: Path | None = None
    trust_remote_code: bool | None = None
    config: Path | None = None
    cell: dict[str, Any] | None = None
    """A cell of the config file: its values where it lists several."""
    sets: tuple[str, ...] = ()
    data_default: str | None = None
    """`HARNESS_DATA`: used where neither an option nor the file names the data."""
    cuda: bool = False
    """Whether the machine looks as if it had a CUDA device; the engine decides in the end."""


def resolve(options: Options, registry: Registry) -> RunConfig:
    """The one cell that `options` ask for, with the first of their seeds.

    Raises HarnessError for an unknown key or name (with the nearest one), an ill-typed value (with the type expected)
    and settings that contradict each other.
    """
    asked = _asked(options)
    if "aligner" not in asked and asked.get("outputs") is None:
        raise HarnessError(f"name an aligner: --aligner, {_installed(registry.aligners)}")
    if "task" not in asked:
        raise HarnessError(f"name a task: --task, {_installed(registry.tasks)}")
    if asked.get("outputs") is not None:
        named = asked.get("aligner_config") or named_in(Path(asked["outputs"]))
        asked |= {"aligner": OUTPUTS, "aligner_config": named}
    else:
        asked["aligner"] = registry.aligner(asked["aligner"]).name
        asked["aligner_config"] = _aligner_config(registry, asked, options.sets)
    if profile := _profile(asked, options.cuda):
        asked = _overlay({**CPU_DEMO, "profile": profile}, asked)
    asked["budget"] = budget_of(asked.get("budget", {}), "budget")
    for section in ("groups", "lora", "lengths"):
        asked[section] = validated(_section(section), asked.get(section, {}), section)
    config = validated(RunConfig, asked, "run")
    _check_names(config, registry)
    return config


def cells(options: Options, registry: Registry) -> list[RunConfig]:
    """One config per aligner, budget and training seed asked for, per cell of the config file, and per file of outputs.

    Raises HarnessError as `resolve` does.

    `options.aligner` may name several, separated by commas and with settings of their own in brackets, or all that are
    installed; `options.budget` several, too.
    """
    listed: list[dict[str, Any] | None] = [*read_cells(options.config)] if options.config else [None]
    found = _of_methods(options, registry, listed) if _names_a_method(options, listed) else []
    found += [_of_file(options, registry, path, cell) for path in options.files for cell in listed]
    return list({c.model_dump_json(): c for c in found}.values())  # an option may stand in for a list of the file


def _names_a_method(options: Options, listed: Sequence[Mapping[str, Any] | None]) -> bool:
    """Whether there are cells beside those of files: where nothing is named, the error says that."""
    return bool(options.aligner) or not options.files or any(cell and "aligner" in cell for cell in listed)


def _of_methods(options: Options, registry: Registry, listed: Sequence[dict[str, Any] | None]) -> list[RunConfig]:
    named = variants(options.aligner or "")
    chosen = [Variant(name) for name in registry.aligners if name != BASE] if named == [Variant(EVERY)] else named
    budgets = dict.fromkeys(name.strip() for name in (options.budget or "").split(",") if name.strip())
    each = [replace(options, budget=budget) for budget in budgets] or [options]
    ways = [_as_variant(way, one) for one in chosen for way in each] or each
    configs = [resolve(replace(way, cell=cell), registry) for way in ways for cell in listed]
    return [c.model_copy(update={"seed": seed}) for c in configs for seed in options.seeds or (c.seed,)]


def _of_file(options: Options, registry: Registry, path: Path, cell: dict[str, Any] | None) -> RunConfig:
    """The cell of a file of outputs: what is set of methods is not about it, and neither seed nor draw matters."""
    shared = tuple(text for text in options.sets if not text.startswith("aligner."))
    kept = None if cell is None else {key: value for key, value in cell.items() if key != "aligner_config"}
    config = resolve(replace(options, aligner=None, outputs=path, sets=shared, cell=kept), registry)
    return config.model_copy(update={"seed": 0, "draw_seed": 0, "shuffle_labels": False})


def _as_variant(options: Options, one: Variant) -> Options:
    """The options of one method of several; its own settings come last."""
    shuffle = True if one.shuffled else options.shuffle_labels
    return replace(options, aligner=one.name, sets=(*options.sets, *one.sets), shuffle_labels=shuffle)


def parse_seeds(texts: Sequence[str]) -> tuple[int, ...]:
    """Seeds of a repeatable, comma-separated option, in order, without repeats. Raises HarnessError for non-numbers."""
    field = keys(RunConfig)["seed"]
    parts = [part.strip() for text in texts for part in text.split(",")]
    return tuple(dict.fromkeys(check_value(field, part, "--seed") for part in parts))


# ---------------------------------------------------------------- the layers


def _asked(options: Options) -> dict[str, Any]:
    """The file, then options, then `--set`, as nested values; aligner settings of `--set` are typed later."""
    asked = dict(options.cell or {})
    if options.config and options.cell is None:
        [asked, *others] = read_cells(options.config)
        if others:
            raise HarnessError(
                f"config file {cut(str(options.config))} lists several cells where a single was expected"
            )
    if options.budget is not None:  # a preset replaces the file's amounts; how compute is treated stays
        kept = {key: value for key, value in asked.get("budget", {}).items() if key in COMPUTE_KEYS}
        asked["budget"] = {**kept, "preset": options.budget}
    asked = _overlay(asked, _flags(options))
    if options.data_default is not None:
        asked.setdefault("data", options.data_default)
    for key, text in _split(options.sets):
        section, _, leaf = key.partition(".")
        if section == "aligner" and leaf:
            continue
        asked = _overlay(asked, _setting(section, leaf, key, text))
    return asked


def _flags(options: Options) -> dict[str, Any]:
    names = [field.name for field in fields(options) if field.name in keys(RunConfig) and field.name != "budget"]
    flags = {name: value for name in names if (value := getattr(options, name)) is not None}
    terms = {name: value for name in (*COMPUTE_KEYS, "tune") if (value := getattr(options, name)) is not None}
    if options.tune:
        terms["selection"] = "kfold"
    if terms:
        flags["budget"] = terms
    if options.seeds:
        flags["seed"] = options.seeds[0]
    return flags


def _split(sets: Sequence[str]) -> list[tuple[str, str]]:
    for item in sets:
        if "=" not in item or item.startswith("="):
            raise HarnessError(f"--set takes key=value (aligner.beta=0.2, budget.batch=8), got {cut(item)}")
    return [(key.strip(), text.strip()) for key, _, text in (item.partition("=") for item in sets)]


def _setting(section: str, leaf: str, key: str, text: str) -> dict[str, Any]:
    if section in SECTIONS and leaf:
        return {section: {leaf: parse(_section(section), leaf, text, where=section, label=key)}}
    if section in SECTIONS:
        raise HarnessError(f"--set {key}: name what to set in it, one of {', '.join(keys(_section(section)))}")
    if leaf or section not in keys(RunConfig) or section == "aligner_config":
        known = ["aligner.*", *(f"{name}.*" for name in SECTIONS), *keys(RunConfig)]
        raise HarnessError(f"--set: unknown key {cut(key)}; {nearest(key, known)}")
    return {section: parse(RunConfig, section, text, where="--set", label=key)}


def _section(name: str) -> type[BaseModel]:
    model = RunConfig.model_fields[name].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return model


def _overlay(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = {**below, **value} if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


# ---------------------------------------------------------------- what needs a look at the registry or the machine


def _aligner_config(registry: Registry, asked: Mapping[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """The aligner's settings that differ from its defaults, checked against its own model, as plain values."""
    name = asked["aligner"]
    model = registry.aligner(name).Config
    values = dict(asked.get("aligner_config", {}))
    for key, text in _split(sets):
        section, _, leaf = key.partition(".")
        if section == "aligner" and leaf:
            values[leaf] = parse(model, leaf, text, where=f"aligner {name!r}", label=key)
    checked = validated(model, values, f"aligner {name!r}")
    return checked.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _profile(asked: Mapping[str, Any], cuda: bool) -> str | None:
    """`cpu-demo` for the default model on a CPU when nobody asked for an amount of data."""
    if "profile" in asked:
        return _explicit_profile(asked, cuda)
    bought = set(asked.get("budget", {})) - COMPUTE_KEYS - {"tune", "selection"}
    default_model = asked.get("model", DEFAULT_MODEL) == DEFAULT_MODEL
    return "cpu-demo" if _on_cpu(asked, cuda) and default_model and not bought else None


def _explicit_profile(asked: Mapping[str, Any], cuda: bool) -> str | None:
    profile: str | None = asked["profile"]
    if profile is not None and not _on_cpu(asked, cuda):
        raise HarnessError(f"profile {profile!r} is for the CPU; add --device cpu, or leave the profile out")
    return profile


def _on_cpu(asked: Mapping[str, Any], cuda: bool) -> bool:
    device = asked.get("device", "auto")
    return device == "cpu" or (device == "auto" and not cuda)


def _check_names(config: RunConfig, registry: Registry) -> None:
    registry.task(config.task)
    if config.backend != AUTO:
        registry.backend(config.backend)
    if config.train_on is not None:
        registry.pool(config.train_on)
    if config.judge is not None:
        registry.judge(config.judge)


def _installed(names: Mapping[str, object]) -> str:
    return f"one of {', '.join(sorted(names))}" if names else "but none is installed"
