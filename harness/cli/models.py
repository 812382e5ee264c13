"""`models`: the built-in models, and fetching one ahead of time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli import options as shared
from harness.cli.output import emit_json, note, say, table
from harness.contracts import ModelSource

MIB = 2**20

app = typer.Typer(help="Built-in models: name, licence, whether cached.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
    as_json: shared.Json = False,
) -> None:
    """List the built-in models: where each is cached and how large it is there, its licence and what it is."""
    if context.invoked_subcommand is not None:
        return
    rows = [state(source) for source in shared.registry(no_plugins, plugins).models.values()]
    if as_json:
        emit_json(rows)
        return
    headings = ["name", "cached", "licence", ""]
    table("models", headings, [[r["name"], _cached(r), r["licence"], r["description"]] for r in rows])


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="A built-in model.")],
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
) -> None:
    """Fetch a built-in model, check it and convert it once, so that later runs load it at once."""
    from harness.models.find import resolve

    registry = shared.registry(no_plugins, plugins)
    registry.model(name)
    files = resolve(name, registry_models=registry.models, say=note)
    say(str(files.folder))


def state(source: ModelSource) -> dict[str, Any]:
    """A built-in model's name, licence, description, and its folder and size in bytes where it is cached."""
    from harness.models.find import cached_folder

    folder = cached_folder(source)
    return {
        "name": source.name,
        "licence": source.licence,
        "description": source.description,
        "folder": None if folder is None else str(folder),
        "bytes": None if folder is None else size(folder),
    }


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _cached(row: dict[str, Any]) -> str:
    return "no" if row["folder"] is None else f"{row['bytes'] / MIB:.0f} MiB"
