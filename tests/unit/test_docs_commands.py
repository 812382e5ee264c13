"""Commands and files that the pages show are understood: every option exists, every study and board file is valid."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="a source distribution holds no documentation"),
]
HISTORY = {"log", "decisions"}
"""Folders whose pages keep commands as they were once given."""
PAGES = [
    *(page for page in ROOT.glob("*.md") if page.name != "CHANGELOG.md"),
    *(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name not in HISTORY),
    *(ROOT / "examples").rglob("*.md"),
]
COMMAND = re.compile(r"(?:python -m harness|(?:^ *|`|do )align-harness)(?= )([^`;>\n]*)", re.M)
OPTION = re.compile(r"`(--[a-z][a-z-]*)(?![\w-])")
"""An option at the beginning of a span of code: it is the program's, unless `FOREIGN` names it."""
FOREIGN = {
    "--help",  # every command's, which click adds by itself
    *("--batch-size", "--threads"),  # of benchmarks/parity_lm_eval.py and benchmarks/bench_generate.py
    *("--cpus-per-task", "--gpus-per-node", "--mem"),  # of sbatch
}
OPEN = re.compile(r"\.\.\.| \[-|\|")
"""What marks a line as a form of commands and no command: an ellipsis, an optional part, a choice."""
YAML = re.compile(r"^```yaml\n(.*?)^```$", re.M | re.S)
FILED = [page for page in PAGES if YAML.search(page.read_text(encoding="utf-8"))]


def label(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands(text: str) -> Iterator[list[str]]:
    """The words behind the program's name, of each command that a page shows whole."""
    for found in COMMAND.findall(text.replace("\\\n", " ")):
        if not OPEN.search(re.sub(r"'[^']*'|\"[^\"]*\"", "", found)):
            words = shlex.split(found.rstrip(".,:"), comments=True)
            if words and re.fullmatch(r"[a-z-]+", words[0]):
                yield words


def fault(words: list[str]) -> str:
    """Why the command line does not take these words; empty where it does. Nothing is run."""
    import typer.main

    from harness.cli import app

    command: Any = typer.main.get_command(app)
    rest = words
    try:
        while rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]
        if command.name == "harness":
            return f"there is no command {words[0]!r}"
        command.make_context(command.name, list(rest))
    except typer.TyperException as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_command_is_understood(page: Path) -> None:
    found = {" ".join(words): fault(words) for words in commands(page.read_text(encoding="utf-8"))}
    assert {command: said for command, said in found.items() if said} == {}


def options(command: Any) -> set[str]:
    """Every option of a command and of those below it."""
    below = getattr(command, "commands", {}).values()
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}.union(
        *(options(child) for child in below)
    )


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_option_that_text_names_exists(page: Path) -> None:
    import typer.main

    from harness.cli import app

    named = set(OPTION.findall(page.read_text(encoding="utf-8")))
    assert named - options(typer.main.get_command(app)) - FOREIGN == set()


def test_a_command_that_is_gone_is_seen() -> None:
    shown = "`python -m harness rnu`, `align-harness run --aligners sft`, `python -m harness list aligners`"
    assert [bool(fault(words)) for words in commands(shown)] == [True, True, False]


@pytest.mark.parametrize("page", FILED, ids=label)
def test_every_file_on_a_page_is_valid(page: Path, tmp_path: Path) -> None:
    from harness.cli.axes import read_cells
    from harness.study.file import study_of
    from leaderboards.planned import BoardPlan

    for text in YAML.findall(page.read_text(encoding="utf-8")):
        value = yaml.safe_load(text)
        if "planned" in value:
            assert BoardPlan.model_validate(value).planned
        elif "aligners" in value:
            assert study_of(value, "a page").aligners
        else:
            file = tmp_path / "cells.yaml"
            file.write_text(text, encoding="utf-8")
            assert read_cells(file)
