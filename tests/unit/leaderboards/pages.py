"""Pages of a site as a test reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

FIGURE = re.compile(r"[-+]?[\d,]*\d(\.\d+)?(e[-+]?\d+)?( ([A-Za-z]|GiB))?( s)?")
"""A number, with a unit or without."""


@dataclass
class Cell:
    attributes: dict[str, str]
    text: str = ""


@dataclass
class PageTable:
    attributes: dict[str, str]
    rows: list[list[Cell]] = field(default_factory=list)

    def column(self, place: int) -> list[Cell]:
        return [row[place] for row in self.rows[1:] if place < len(row)]


class Page(HTMLParser):
    """Collects what could run, what could be fetched, the texts, and the tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self.data: list[str] = []
        self.tables: list[PageTable] = []
        self.inside: tuple[str, str | None] = ("", None)
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in given.items()]
        self.inside = (tag, given.get("type"))
        if tag == "table":
            self.tables.append(PageTable(given))
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("td", "th"):
            self.in_cell = True
            self.tables[-1].rows[-1].append(Cell(given))

    def handle_endtag(self, tag: str) -> None:
        self.inside = ("", None)
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        kept = self.texts
        if self.inside[0] == "script":
            kept = self.data if self.inside[1] == "application/json" else self.scripts
        kept.append(data)
        if self.in_cell:
            self.tables[-1].rows[-1][-1].text += data


def pages_of(site: Path) -> dict[str, Page]:
    """All pages of a site, by their paths in it."""
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


def wrong_links(site: Path, pages: Mapping[str, Page]) -> list[str]:
    """Links that leave the site, or lead to nothing."""
    return [
        f"{name} -> {link}" for name, page in pages.items() for link in _links(page) if not _leads(site, name, link)
    ]


def _links(page: Page) -> Iterator[str]:
    for _, attribute, value in page.attributes:
        if attribute in ("href", "src") and not value.startswith(("#", "data:,")):
            yield value


def _leads(site: Path, name: str, link: str) -> bool:
    target = ((site / name).parent / link.partition("#")[0]).resolve()
    return target.is_relative_to(site.resolve()) and target.exists()


def values_that_sort_as_text(page: Page) -> list[str]:
    """Columns of sortable tables that hold numbers and are not said to."""
    found: list[str] = []
    for table in page.tables:
        for place, head in enumerate(table.rows[0] if "sortable" in table.attributes.get("class", "") else []):
            texts = [cell.text.strip() for cell in table.column(place) if cell.text.strip()]
            numbers = texts and all(FIGURE.fullmatch(text) for text in texts)
            if numbers and head.attributes.get("data-kind") != "number" and "data-fixed" not in head.attributes:
                found.append(head.text)
    return found
