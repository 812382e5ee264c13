"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import divert, note
from harness.contracts import HarnessError
from harness.plugins.loading import NOT_ALLOWED
from harness.plugins.registry import Registry, load

NoPlugins = Annotated[bool, typer.Option("--no-plugins", help="Leave third-party plug-ins out.")]
Plugins = Annotated[
    str | None,
    typer.Option("--plugins", metavar="A,B", help="Load only these third-party plug-ins.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")]
StoreFolder = Annotated[Path, typer.Option("--store", metavar="FOLDER", help="The folder of runs.")]
Stores = Annotated[
    list[Path] | None,
    typer.Option("--store", metavar="FOLDER", help="The folder of runs (default: runs); may be given twice."),
]

DEFAULT_STORE = Path("runs")


def registry(no_plugins: bool, plugins: str | None) -> Registry:
    """The registry that `--no-plugins` and `--plugins` ask for. Raises HarnessError for an unknown plug-in.

    From here on only results reach standard output, whatever the plug-ins print.
    """
    divert()
    allow = None if plugins is None else [name.strip() for name in plugins.split(",") if name.strip()]
    return load(plugins=not no_plugins, allow=allow)


def tell_skipped(loaded: Registry) -> None:
    """Name on standard error the plug-ins that were left out because they are at fault."""
    for name, reason in loaded.skipped.items():
        if not reason.endswith(NOT_ALLOWED):
            note(f"plug-in {name} is left out: {reason}")


def columns_of(text: str | None) -> dict[str, str]:
    """`prompt=question,chosen=better` as a mapping. Raises HarnessError for a part without an equals sign."""
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    pairs = [tuple(map(str.strip, part.split("=", 1))) for part in parts]
    for part, pair in zip(parts, pairs, strict=True):
        if len(pair) != 2 or not all(pair):
            raise HarnessError(f"--columns takes ours=yours (prompt=question,chosen=better), got {part[:80]!r}")
    return {pair[0]: pair[1] for pair in pairs}
