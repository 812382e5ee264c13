"""What the documentation names is there: links, files, names of the code. Files are read, and nothing is imported."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="a source distribution holds no documentation"),
]
PACKAGES = ("harness", "aligners", "tasks", "leaderboards")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
MODULES = [module for package in PACKAGES for module in (ROOT / package).rglob("*.py")]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))

FOLDERS = "harness|aligners|tasks|leaderboards|tests|tools|benchmarks|examples|docs"
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
PATH = re.compile(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./*-]*[\w*])")
DOTTED = re.compile(rf"(?<![\w/.-])((?:{'|'.join(PACKAGES)})(?:\.\w+)+)")
PLACEHOLDER = re.compile(r"\b[A-Z]{4,}\b")
"""`tasks/NAME.py` stands for a file that the reader writes."""


def label(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def broken_links(text: str, folder: Path) -> Iterator[str]:
    for target in LINK.findall(text):
        if "://" not in target and not (folder / target).exists():
            yield target


def missing_paths(text: str) -> Iterator[str]:
    """Paths from the top folder, outside of links: what a link leads to depends on its page."""
    for path in PATH.findall(LINK.sub("]", text)):
        if not PLACEHOLDER.search(path) and not any(ROOT.glob(path)):
            yield path


def unknown_names(text: str) -> Iterator[str]:
    """Names of the code that nothing defines; `tasks.py` is a file of somebody else's."""
    yield from (name for name in DOTTED.findall(text) if not name.endswith(".py") and not resolves(name))


def resolves(name: str) -> bool:
    """Whether a dotted name is a file, a folder, or what stands in a module (`harness.a.b.Class.member`)."""
    if (ROOT / name).exists():
        return True
    place, parts = ROOT, name.split(".")
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    module = place / "__init__.py"
    if parts and (place / f"{parts[0]}.py").is_file():
        module = place / f"{parts.pop(0)}.py"
    return not parts or (module.is_file() and defines(ast.parse(module.read_text(encoding="utf-8")).body, parts))


def defines(body: list[ast.stmt], parts: list[str]) -> bool:
    for statement in body:
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            if resolves(f"{statement.module}.{'.'.join(parts)}"):
                return True
        elif parts[0] in bound(statement):
            inside = statement.body if isinstance(statement, ast.ClassDef) else None
            return len(parts) == 1 or inside is None or defines(inside, parts[1:])
    return False


def bound(statement: ast.stmt) -> set[str]:
    """The names that one statement of a module or a class binds."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    return set()


# ---------------------------------------------------------------- the pages


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page.read_text(encoding="utf-8"), page.parent)) == []


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_paths_are_there(page: Path) -> None:
    assert list(missing_paths(page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_names_are_defined(page: Path) -> None:
    assert list(unknown_names(page.read_text(encoding="utf-8"))) == []


def test_names_in_our_code_are_defined() -> None:
    """Docstrings, comments and messages too; `tasks.` also begins names of lm-eval's, so those are left out."""
    unknown = {label(module): gone for module in MODULES if (gone := stale(module.read_text(encoding="utf-8")))}
    assert unknown == {}


def stale(text: str) -> list[str]:
    return [name for name in unknown_names(text) if not name.startswith("tasks.")]


def test_what_is_gone_is_seen() -> None:
    text = "`harness/paired.py`, `harness.paired`, `harness.config.Gone`, [page](docs/gone.md), `tasks/NAME.py`"
    assert list(missing_paths(text)) == ["harness/paired.py"]
    assert list(unknown_names(text)) == ["harness.paired", "harness.config.Gone"]
    assert list(broken_links(text, ROOT)) == ["docs/gone.md"]


@pytest.mark.parametrize(
    "name",
    ["harness.config", "harness.config.RunConfig", "harness.config.RunConfig.aligner", "harness.hookspecs.hookimpl"],
)
def test_what_is_there_is_seen(name: str) -> None:
    assert resolves(name)


def test_each_decision_has_a_number_to_itself() -> None:
    numbers = [page.name[:4] for page in DECISIONS]
    assert numbers == sorted(set(numbers))
    assert [page.read_text(encoding="utf-8")[2:6] for page in DECISIONS] == numbers


def test_the_index_lists_each_decision() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    assert [target for target in LINK.findall(index) if target[0].isdigit()] == [page.name for page in DECISIONS]


def test_the_changelog_has_one_place_for_each_change() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    beginnings = [line[:40] for line in text.splitlines() if line.startswith("- ")]
    assert sorted(beginnings) == sorted(set(beginnings))
    assert re.findall(r"^#+ .*", text, re.M) == [
        "# Changelog",
        "## 0.1.0, unreleased",
        "### Latest changes",
        "### Earlier",
    ]


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_no_merge_is_left_over(page: Path) -> None:
    assert re.findall(r"^(?:<{7}|={7}$|>{7}|\|{7})", page.read_text(encoding="utf-8"), re.M) == []


# ---------------------------------------------------------------- the names of classes


def test_no_two_classes_share_a_name() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(label(module))
    assert len(places) > 300
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
