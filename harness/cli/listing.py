"""`list`: what is installed, and where each piece comes from."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from harness.cli import options as shared
from harness.cli.aligner import HEADINGS, described, settings_rows
from harness.cli.output import emit_json, table
from harness.plugins.registry import Registry

REQUIREMENTS = ("requires", "accepts", "capabilities")


class Listed(StrEnum):
    """What can be listed."""

    aligners = "aligners"
    tasks = "tasks"
    pools = "pools"
    judges = "judges"
    backends = "backends"
    models = "models"
    executors = "executors"


def list_(
    kind: Annotated[Listed | None, typer.Argument(help="List only this kind.", show_default=False)] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Also show every setting of the aligners.")] = False,
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
    as_json: shared.Json = False,
) -> None:
    """List what is installed, of every kind, with its origin, and the plug-ins that were skipped."""
    registry = shared.registry(no_plugins, plugins)
    kinds = list(Listed) if kind is None else [kind]
    if as_json:
        listed: dict[str, Any] = {k.value: entries(registry, k) for k in kinds}
        if verbose and Listed.aligners in kinds:
            listed["aligners"] = [described(value) | entry for value, entry in _both(registry, listed["aligners"])]
        emit_json({**listed, "skipped": dict(registry.skipped)})
        return
    for k in kinds:
        rows = [[e["name"], e["about"], e["origin"]] for e in entries(registry, k)]
        if rows:
            table(k.value, ["name", "", "from"], rows)
    if verbose and Listed.aligners in kinds:
        for name, value in registry.aligners.items():
            if settings := settings_rows(value):
                table(name, HEADINGS, settings)
    if registry.skipped:
        table("skipped plug-ins", ["name", "why"], [list(item) for item in registry.skipped.items()])


def _both(registry: Registry, listed: list[dict[str, Any]]) -> list[tuple[Any, dict[str, Any]]]:
    return [(registry.aligners[entry["name"]], entry) for entry in listed]


def entries(registry: Registry, kind: Listed) -> list[dict[str, Any]]:
    """Name, one line about it, origin and the attributes of every entry of a kind, in registration order."""
    offered: Mapping[str, Any] = getattr(registry, kind.value)
    singular = kind.value.removesuffix("s")
    return [
        {"name": name, "about": _about(value), "origin": registry.provenance[f"{singular}:{name}"], **_facts(value)}
        for name, value in offered.items()
    ]


def _about(value: Any) -> str:
    """The first line of a class's docstring, or a model's description."""
    text = getattr(value, "description", "") or (value.__doc__ if isinstance(value, type) else "")
    return text.strip().partition("\n")[0] if isinstance(text, str) else ""


def _facts(value: Any) -> dict[str, Any]:
    names = ("version", "aliases", "paper", "licence", "main_metric", "default_pool", *REQUIREMENTS)
    return {name: _plain(getattr(value, name)) for name in names if hasattr(value, name)}


def _plain(fact: Any) -> Any:
    if isinstance(fact, set | frozenset):
        return sorted(map(str, fact))
    return [str(item) for item in fact] if isinstance(fact, list | tuple) else str(fact)
