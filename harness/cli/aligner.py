"""`aligner NAME`: a method with every setting it has: default, range, and where the default comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from harness.cli import options as shared
from harness.cli.output import emit_json, say, table
from harness.config import keys, type_name
from harness.util.safe_text import line

HEADINGS = ("setting", "default", "type", "range", "what it is, and its source")
SIGNS = ((Ge, "ge", ">= "), (Gt, "gt", "> "), (Le, "le", "<= "), (Lt, "lt", "< "))


def aligner(
    name: Annotated[str, typer.Argument(help="A method's name; see `list aligners`.")],
    no_plugins: shared.NoPlugins = False,
    plugins: shared.Plugins = None,
    as_json: shared.Json = False,
) -> None:
    """Show a method's settings with default, range and source. Each is set by --set aligner.SETTING=VALUE."""
    found = shared.registry(no_plugins, plugins).aligner(name)
    if as_json:
        emit_json(described(found))
        return
    facts = described(found)
    say(line(f"{facts['name']}, version {facts['version']}: {facts['about']}"))
    say(line(f"paper: {facts['paper'] or 'none'}"))
    needs, takes = (", ".join(facts[name]) for name in ("requires", "accepts"))
    say(line(f"requires: {needs or 'nothing'}; takes, where the pool has it: {takes or 'nothing else'}"))
    say("")
    table(facts["name"], HEADINGS, settings_rows(found))


def described(aligner_class: Any) -> dict[str, Any]:
    """A method's facts and settings, as plain values."""
    return {
        "name": aligner_class.name,
        "version": aligner_class.version,
        "paper": aligner_class.paper,
        "about": (aligner_class.__doc__ or "").strip().partition("\n")[0],
        "requires": sorted(aligner_class.requires),
        "accepts": sorted(aligner_class.accepts),
        "settings": list(settings(aligner_class.Config)),
    }


def settings_rows(aligner_class: Any) -> list[list[str]]:
    """The settings as rows of a table."""
    found = settings(aligner_class.Config)
    return [[s["name"], json.dumps(s["default"]), s["type"], s["range"], s["description"]] for s in found]


def settings(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Name (as `--set` takes it), default, type, range and description with its source, of every field."""
    defaults = model().model_dump(mode="json", by_alias=True)
    for name, field in keys(model).items():
        yield {
            "name": name,
            "default": defaults[name],
            "type": "choice" if get_origin(field.annotation) is Literal else type_name(field.annotation),
            "range": range_of(field),
            "description": field.description or "",
        }


def range_of(field: FieldInfo) -> str:
    """`> 0, <= 1`; the choices of a setting that has some; empty where any value of the type goes."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(map(str, get_args(field.annotation)))
    limits = [f"{sign}{getattr(m, at):g}" for m in field.metadata for kind, at, sign in SIGNS if isinstance(m, kind)]
    limits += [f"length >= {m.min_length}" for m in field.metadata if isinstance(m, MinLen)]
    limits += [f"length <= {m.max_length}" for m in field.metadata if isinstance(m, MaxLen)]
    return ", ".join(limits)
