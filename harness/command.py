"""How a command asks `run` for a cell: each field's option, and `--set` for what has none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.config import CPU_DEMO, RunConfig, named_budget

FLAGS = frozenset({"generate", "shuffle_labels", "trust_remote_code"})
WITHOUT_OPTION = ("accelerate_config", "checkpoint_steps", "fold", "gradient_checkpointing", "processes", "profile")
"""Fields of a cell that `--set` alone reaches."""
SECTIONS = ("groups", "lora", "lengths")
FIRST = ("task", "data")
NAMED = ("draw_seed", "seed")
"""Fields that a command names even where they have their default."""
APART = frozenset({"aligner", "aligner_config", "outputs", "budget", "store", *SECTIONS, *FIRST, *NAMED})
"""Fields that have a place of their own in a command."""


def words_for(cell: Mapping[str, Any]) -> list[str]:
    """The words behind `run` that ask for one cell, given its settings as plain values; a default is left out.

    The budget is always named, so that no profile is chosen in its place.
    """
    usual = _usual(cell.get("profile"))
    others = {name: value for name, value in cell.items() if name not in APART and value != usual.get(name)}
    return [
        *option("outputs" if cell.get("outputs") is not None else "aligner", cell.get("outputs") or cell["aligner"]),
        *(word for name in FIRST for word in option(name, cell[name])),
        *("--budget", cell["budget"]["preset"]),
        *(word for name in NAMED for word in option(name, cell[name])),
        *(word for name, value in others.items() for word in option(name, value)),
        *(word for key, value in _parts(cell, usual) for word in ("--set", f"{key}={text(value)}")),
    ]


def option(name: str, value: Any) -> list[str]:
    """The words that give one field of a cell a value."""
    written = f"--{name.replace('_', '-')}"
    if name in FLAGS:
        return [written] if value else []
    if name in WITHOUT_OPTION or value is None:
        return ["--set", f"{name}={text(value)}"]
    if isinstance(value, Mapping):
        return [written, ",".join(f"{ours}={yours}" for ours, yours in value.items())]
    return [written, str(value)]


def bought(budget: Mapping[str, Any]) -> dict[str, Any]:
    """What of a budget does not follow from its number of labels."""
    usual = named_budget(budget["preset"], "budget").model_dump()
    return {name: value for name, value in budget.items() if value != usual[name]}


def text(value: object) -> str:
    """A value as `--set` reads it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _usual(profile: str | None) -> dict[str, Any]:
    """What a cell has where nothing is said, under a profile or none."""
    found = RunConfig(aligner="", task="").model_dump(mode="json")
    for name, value in (CPU_DEMO if profile else {}).items():
        found[name] = {**found[name], **value} if isinstance(value, dict) else value
    return found


def _parts(cell: Mapping[str, Any], usual: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What `--set` reaches into: the budget, the shared sections, a method's own settings."""
    yield from ((f"budget.{name}", value) for name, value in bought(cell["budget"]).items())
    for section in SECTIONS:
        known = cell.get(section, {}).items()
        yield from ((f"{section}.{name}", value) for name, value in known if value != usual[section].get(name))
    if cell.get("outputs") is None:
        yield from ((f"aligner.{name}", value) for name, value in cell.get("aligner_config", {}).items())
