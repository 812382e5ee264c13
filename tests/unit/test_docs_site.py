"""The pages that the site generates from the code, and its links. mkdocs itself runs in `tox -e docs`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from harness.plugins.registry import load

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "docs_site.py"
pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(not SCRIPT.is_file(), reason="a source distribution holds no tools"),
]


@pytest.fixture(scope="module")
def site() -> Any:
    spec = importlib.util.spec_from_file_location("docs_site", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(site: Any) -> dict[str, str]:
    return dict(site.generated())


@pytest.mark.parametrize("command", ["run", "show", "leaderboard", "models fetch", "judge check", "data check"])
def test_every_command_has_its_options_on_the_page(pages: dict[str, str], command: str) -> None:
    _, _, behind = pages["reference/command-line.md"].partition(f"## `python -m harness {command}`")
    section = behind.partition("\n## ")[0]
    assert "| `--" in section


def test_every_setting_of_every_method_is_on_the_page(pages: dict[str, str]) -> None:
    for name, aligner in load(plugins=False).aligners.items():
        section = pages["reference/settings.md"].partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert f"Version {aligner.version}," in section
        for key in aligner.Config.model_json_schema(by_alias=True).get("properties", {}):
            assert f"| `{key}` |" in section


def test_a_setting_shows_its_default_and_its_range(pages: dict[str, str]) -> None:
    section = pages["reference/settings.md"].partition("\n## gem\n")[2].partition("\n## ")[0]
    assert "| `k` | `5` | at least 2 |" in section


def test_links_that_leave_the_folder_keep_their_words(site: Any) -> None:
    known = {"index.md", "changelog.md", "tasks/medqa.md", "decisions/README.md"}
    text = "[a](../../README.md#x) [b](../../CHANGELOG.md) [c](../../aligners/gem.py)"
    text += " [d](../tasks/medqa.md#y) [e](../decisions)"
    assert site.relinked(text, "methods/gem.md", known) == (
        "[a](../index.md) [b](../changelog.md) c [d](../tasks/medqa.md#y) [e](../decisions/README.md)"
    )


def test_pages_that_the_navigation_forgets_stand_in_their_section(site: Any) -> None:
    nav: list[Any] = [{"Start": ["index.md"]}, {"Project": [{"Decisions": ["decisions/README.md"]}]}, {"Reference": []}]
    site.complete(nav, ["decisions/0001.md", "decisions/README.md", "index.md", "models.md"])
    assert nav == [
        {"Start": ["index.md"]},
        {"Project": [{"Decisions": ["decisions/README.md", "decisions/0001.md"]}]},
        {"Reference": ["models.md"]},
    ]
