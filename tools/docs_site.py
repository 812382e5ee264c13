"""What mkdocs asks for while it builds the site: pages that the code itself writes, and links that lead out of docs/.

The reference of the command line comes from the commands, the reference of settings from each method's configuration,
so neither can fall behind. Nothing here needs torch.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CARRIED = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "README.md": "index.md"}
"""Pages of the repository's top folder, and where the site has them."""
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


SECTIONS = {
    "decisions": "Decisions",
    "log": "Log",
    "how-to": "How to",
    "methods": "Methods",
    "tasks": "Tasks",
    "papers": "Papers",
}
"""Where a page of a folder stands in the navigation, if mkdocs.yml does not place it; others stand under Reference."""


def on_config(config: Any) -> Any:
    """Add the pages that mkdocs.yml does not name to the section of their folder."""
    complete(config.nav, sorted(page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")))
    return config


def complete(nav: list[Any], pages: list[str]) -> None:
    """Append to the sections of `nav` every page that stands nowhere in it."""
    named, sections = set(_leaves(nav)), dict(_sections(nav))
    for page in pages:
        if page not in named:
            sections[SECTIONS.get(page.partition("/")[0], "Reference")].append(page)


def _leaves(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from [value] if isinstance(value, str) else _leaves(value)


def _sections(nav: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    for entry in nav:
        for name, value in entry.items() if isinstance(entry, dict) else ():
            if isinstance(value, list):
                yield name, value
                yield from _sections(value)


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the files that mkdocs found."""
    from mkdocs.structure.files import File

    for name, content in generated().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links that leave docs/ at the site's copy, or keep their words alone where the site has none."""
    return relinked(markdown, page.file.src_uri, {file.src_uri for file in files})


def generated() -> dict[str, str]:
    """The generated pages by their path in the site."""
    carried = {
        place: (ROOT / name).read_text(encoding="utf-8") for name, place in CARRIED.items() if place != "index.md"
    }
    pages = {place: from_top(text) for place, text in carried.items()}
    return {**pages, "reference/command-line.md": command_line(), "reference/settings.md": settings()}


def from_top(text: str) -> str:
    """A page of the top folder as a page of docs/: its links begin one folder higher."""
    return LINK.sub(lambda m: m[0] if "://" in m[2] or m[2][0] == "#" else f"[{m[1]}](../{m[2]})", text)


def relinked(markdown: str, page: str, known: set[str]) -> str:
    """Links of the page at `page` (relative to docs/), made to stay inside the site."""

    def inside(match: re.Match[str]) -> str:
        words, (target, hash_, anchor) = match[1], match[2].partition("#")
        if "://" in target or not target:
            return match[0]
        place = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
        name = CARRIED.get(place) or place.removeprefix("docs/")
        if place.startswith("docs/") and f"{name}/README.md" in known:
            name = f"{name}/README.md"
        if name not in known:
            return words
        moved = posixpath.relpath(name, posixpath.dirname(page) or ".")
        return f"[{words}]({moved}{'' if place in CARRIED else hash_ + anchor})"

    return LINK.sub(inside, markdown)


# ---------------------------------------------------------------- the command line


def command_line() -> str:
    """Every command with its help, as a reader of the terminal sees it."""
    import typer.main

    from harness.cli import app

    head = "# Command line\n\nWritten from the commands themselves: `python -m harness COMMAND --help` says the same.\n"
    return head + "".join(_commands(typer.main.get_command(app), "python -m harness"))


def _commands(command: Any, path: str) -> Iterator[str]:
    context = command.make_context(path, [], resilient_parsing=True)
    yield f"\n## `{path}`\n\n{_paragraphs(command.help or '')}\n"
    rows = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    if rows:
        yield "\n| option | meaning |\n|---|---|\n" + "".join(f"| `{_cell(a)}` | {_cell(b)} |\n" for a, b in rows)
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _commands(child, f"{path} {name}")


def _paragraphs(text: str) -> str:
    return re.sub(r"[ \t]+", " ", text.strip())


def _cell(text: Any) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


# ---------------------------------------------------------------- settings


def settings() -> str:
    """Every method's hyper-parameters: default, range, what each does, and where its value comes from."""
    from harness.plugins.registry import load

    aligners = load(plugins=False).aligners
    head = (
        "# Settings of every method\n\nA setting is given with `--set aligner.NAME=VALUE`. This page is written "
        "from\nthe methods' configurations. The words in brackets name the source of a default: (paper), (authors) "
        "and (code)\nstand for the paper, its authors and their released code, and (ours) for a value of this "
        "project. The pages of\nthe methods mark the same sources by [letters](../methods/sources.md).\n"
    )
    return head + "".join(_settings_of(name, aligners[name]) for name in sorted(aligners))


def _settings_of(name: str, aligner: Any) -> str:
    paper = f"arXiv {aligner.paper}" if aligner.paper else "no paper"
    fields = aligner.Config.model_json_schema(by_alias=True).get("properties", {})
    title = f"\n## {name}\n\nVersion {aligner.version}, {paper}."
    if not fields:
        return f"{title} It has no settings.\n"
    rows = "".join(
        f"| `{key}` | {_default(field)} | {_range(field)} | {_meaning(field)} |\n" for key, field in fields.items()
    )
    return f"{title}\n\n| setting | default | values | meaning |\n|---|---|---|---|\n{rows}"


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "" if value is None else f"`{_cell(json.dumps(value))}`"


BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def _range(field: dict[str, Any]) -> str:
    parts = field.get("anyOf", [field])
    said = [f"{words} {part[bound]:g}" for part in parts for bound, words in BOUNDS.items() if bound in part]
    said += [", ".join(f"`{value}`" for value in part["enum"]) for part in parts if "enum" in part]
    said += [f"`{part['const']}`" for part in parts if "const" in part]
    return _cell(", ".join(said) or ", ".join(part["type"] for part in parts if part.get("type") not in (None, "null")))


def _meaning(field: dict[str, Any]) -> str:
    source = field.get("source")
    return _cell(field.get("description", "")) + (f" ({_cell(source)})" if source else "")
