"""What the documentation names is there: links, files, names of the code. Files are read, and nothing is imported."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

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
TARGET = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]*))?(?:\s[^)]*)?\)")
"""A link's file or address and its anchor, either of which may be empty."""
ADDRESS = re.compile(r"\b[a-z]+://[^\s)>\]\"'`|]*")
HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}|127\.0\.0\.1(?::\d+)?")
HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.M)
FENCED = re.compile(r"^```.*?^```$|^~~~.*?^~~~$", re.M | re.S)
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


def broken_anchors(text: str, page: Path) -> Iterator[str]:
    """Anchors of links, within the page and into other pages, that no heading there has."""
    for target, anchor in TARGET.findall(FENCED.sub("", text)):
        there = page.parent / target if target else page
        if anchor and "://" not in target and there.suffix == ".md" and (there == page or there.is_file()):
            headed = text if there == page else there.read_text(encoding="utf-8")
            if anchor not in anchors(headed):
                yield f"{target}#{anchor}"


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them; what the site makes of them `tox -e docs` checks."""
    seen: defaultdict[str, int] = defaultdict(int)
    made = set()
    for heading in HEADING.findall(FENCED.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        made.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return made


def malformed_addresses(text: str) -> Iterator[str]:
    """Addresses that cannot be right. Whether somebody answers there is not asked: tests need no network."""
    for address in ADDRESS.findall(FENCED.sub("", text)):
        parts = urlsplit(address)
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.netloc.startswith("127.0.0.1"))
        if not secure or not HOST.fullmatch(parts.netloc):
            yield address


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
def test_anchors_are_headings(page: Path) -> None:
    assert list(broken_anchors(page.read_text(encoding="utf-8"), page)) == []


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_addresses_are_well_formed(page: Path) -> None:
    assert list(malformed_addresses(page.read_text(encoding="utf-8"))) == []


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


def test_an_anchor_that_no_heading_has_is_seen(tmp_path: Path) -> None:
    other = tmp_path / "other.md"
    other.write_text(
        "# Over `all` [pairs](x.md)\n\n```sh\n# no heading\n```\n\n## Twice\n\n## Twice\n", encoding="utf-8"
    )
    there = "[a](other.md#over-all-pairs) [b](other.md#twice-1) [c](#here)\n\n# Here\n"
    gone = "[d](other.md#no-heading) [e](#there) [f](other.md#twice-2)"
    assert list(broken_anchors(there, tmp_path / "page.md")) == []
    assert list(broken_anchors(gone, tmp_path / "page.md")) == ["other.md#no-heading", "#there", "other.md#twice-2"]


def test_an_address_that_cannot_be_right_is_seen() -> None:
    good = "https://arxiv.org/abs/2305.18290, <https://github.com/a/b#c>, http://127.0.0.1:8000"
    bad = ["https://arxiv/abs", "http://example.org", "htps://a.org", "https://", "https://exa_mple.org"]
    assert list(malformed_addresses(good)) == []
    assert list(malformed_addresses(" ".join(bad))) == bad


@pytest.mark.parametrize(
    "name",
    ["harness.config", "harness.config.RunConfig", "harness.config.RunConfig.aligner", "harness.hookspecs.hookimpl"],
)
def test_what_is_there_is_seen(name: str) -> None:
    assert resolves(name)


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


def test_no_table_is_cut_by_an_empty_line() -> None:
    """A row behind an empty line is no row: pages show its text with the bars."""
    cut = re.compile(r"^\|[^\n]*\n\n\|[^\n]*\n(?!\|[ :|-]+\n)", re.M)
    assert [label(page) for page in PAGES if cut.search(FENCED.sub("", page.read_text(encoding="utf-8")))] == []


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


NO_METHODS = {"learning-rates.md", "sources.md"}
METHODS = sorted(page for page in (ROOT / "docs" / "methods").glob("*.md") if page.name not in NO_METHODS)
PARTS = ("When to use it", "The maths", "Settings", "What it costs", "What we measured", "Departures, and why")
MARK = re.compile(r"\[[SNR]\b[^\]\n]{0,30}\](?!\()")
MARKS = "The marks name the source of a default."


@pytest.mark.parametrize("page", METHODS, ids=label)
def test_a_methods_page_has_its_parts_in_order(page: Path) -> None:
    headings = HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
    assert tuple(heading for heading in headings if heading in PARTS) == PARTS


def test_marks_of_sources_are_three_and_are_explained_where_they_are_used() -> None:
    texts = {page: page.read_text(encoding="utf-8") for page in METHODS}
    used = {mark for text in texts.values() for mark in MARK.findall(text)}
    assert used == {"[S]", "[N]", "[R]"}
    explained = {text[text.index(MARKS) :].partition("\n\n")[0] for text in texts.values() if MARKS in text}
    assert len(explained) == 1, "one explanation, word for word the same on every page"
    assert [label(page) for page, text in texts.items() if MARK.search(text) and MARKS not in text] == []


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
