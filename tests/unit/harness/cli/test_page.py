"""The page of samples: one file, no script, nothing of a text becomes markup."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.cli.page import STYLE, Section, double, single, write_page
from harness.contracts import SampleRow
from harness.records.shown import compared, shown

pytest.importorskip("jinja2")

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">\'"{{ 7 * 7 }}\x1b[31m\u202e'
VOID = {"meta", "br", "img"}


class Tags(HTMLParser):
    """Tags, attributes, and whether all that opens closes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path: Path) -> str:
    def row(score: float, answer: str) -> SampleRow:
        detail = {"prompt": HOSTILE, "output": answer, "reference": HOSTILE}
        return SampleRow(HOSTILE, "u", {HOSTILE: score}, detail)

    first, second = shown(row(1, HOSTILE)), shown(row(0, f"another {HOSTILE}"))
    [both] = compared([first], [second], HOSTILE)
    sections = [
        Section(HOSTILE, [single(first, HOSTILE)]),
        Section("two", [double(both, (HOSTILE, "b"))]),
    ]
    write_page(tmp_path / "page.html", HOSTILE, [HOSTILE], sections)
    return (tmp_path / "page.html").read_text()


def test_no_text_becomes_markup(page: str) -> None:
    found = Tags()
    found.feed(page)
    assert not found.open
    assert {tag for tag, _ in found.seen} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "details", "summary", "div", "b", "pre"),
        "mark",
    }
    assert not [name for _, attributes in found.seen for name in attributes if name.startswith("on") or name == "src"]
    assert "{{ 7 * 7 }}" in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_the_policy_lets_nothing_run_but_the_pages_own_style(page: str) -> None:
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
    assert "unsafe" not in policy
    [style] = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    assert style == STYLE
    assert "http" not in page.replace("http-equiv", "")


def test_what_differs_is_marked(page: str) -> None:
    assert page.count("<mark>") == 1
    assert "<mark>another </mark>" in page
