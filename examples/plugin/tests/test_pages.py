"""The pages that teach a plug-in show the modules that are tested here, and a kit that pytest would collect."""

import importlib
import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[3] / "docs" / "how-to"
MODULES = Path(__file__).parents[1] / "harness_examples"
SHOWN = {
    "add-aligner": "nll_margin",
    "add-pool": "sums_in_words",
    "add-task": "unseen_sums",
    "add-judge": "shorter",
    "add-backend": "plain",
    "add-executor": "by_command",
    "add-observer": "finished_runs",
}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def blocks(page):
    return BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("page", "module"), SHOWN.items())
def test_a_page_shows_the_module_as_it_is(page, module):
    assert blocks(page)[0] == (MODULES / f"{module}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in SHOWN if page != "add-observer"])
def test_the_kit_on_a_page_is_a_test_with_checks(page):
    names = {}
    exec(blocks(page)[1], names)  # the kits themselves run in test_*kit*.py, on the same classes
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    (mark,) = [mark for mark in test.pytestmark if mark.name == "parametrize"]
    assert len(mark.args[1]) >= 5


@pytest.mark.parametrize("page", [page for page in SHOWN if page != "add-observer"])
def test_a_page_lists_the_checks_of_its_kit(page):
    kit = importlib.import_module(f"harness.conformance.{page.removeprefix('add-')}s")
    listed = re.findall(r"^\| `(\w+)` \| (.+) \|$", (PAGES / f"{page}.md").read_text(encoding="utf-8"), re.M)
    assert listed == [(check.__name__.removeprefix("check_"), check.__doc__.splitlines()[0]) for check in kit.CHECKS]


def test_every_page_is_named():
    assert {page.stem for page in PAGES.glob("add-*.md")} >= set(SHOWN)
