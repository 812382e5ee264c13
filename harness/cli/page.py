"""Samples as one HTML page: everything in one file, no script, every text escaped, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.records.shown import Compared, Part, Shown, marked
from harness.util.files import write_atomic
from harness.util.safe_text import block, line

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;"
    "background:#fff}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.3rem 0;font:inherit}"
    "details{border:1px solid #bbb;border-radius:4px;margin:.6rem 0;padding:.4rem .8rem}"
    "summary{cursor:pointer;font-weight:600}.answers{display:grid;gap:1rem;"
    "grid-template-columns:repeat(auto-fit,minmax(18rem,1fr))}.answer{background:#f3f5f7;padding:.5rem;"
    "border-radius:4px}.figures{color:#555;margin:.3rem 0 0}mark{background:#ffe08a;color:inherit}"
    ".beside,.prompt{margin:.5rem 0}"
    "@media(prefers-color-scheme:dark){body{background:#161616;color:#e6e6e6}.answer{background:#242a30}"
    ".figures{color:#aaa}mark{background:#6b5500}}"
)
OPEN_FIRST = 3
"""Items of a section that are unfolded when the page opens."""


@dataclass(frozen=True, slots=True)
class AnswerShown:
    """One model's answer: its name, its text in pieces, its figures."""

    name: str
    parts: Sequence[Part]
    figures: str


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a page."""

    name: str
    prompt: str
    answers: Sequence[AnswerShown]
    beside: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Section:
    """Items under a heading."""

    title: str
    entries: Sequence[Item]


def write_page(path: Path, title: str, about: Sequence[str], sections: Sequence[Section]) -> None:
    """Write the page, whole or not at all. The policy allows its own style alone, by its hash."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = Path(__file__).parent / "pages"
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    text = environment.get_template("samples.html").render(
        title=line(title),
        about=[line(sentence) for sentence in about],
        sections=[Section(line(section.title), section.entries) for section in sections],
        style=Markup(STYLE),  # a constant of this file
        style_hash=base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode(),
        open_first=OPEN_FIRST,
    )
    write_atomic(path, text.encode())


def single(item: Shown, name: str) -> Item:
    """An item of one run."""
    return _item(item, [AnswerShown(line(name), [(False, block(item.answer or "(no text)"))], figures(item))])


def double(both: Compared, names: tuple[str, str]) -> Item:
    """An item of two runs, with what differs marked."""
    texts = [block(item.answer or "(no text)") for item in (both.first, both.second)]
    parts = marked(texts[0], texts[1])
    shown = zip(names, parts, (both.first, both.second), strict=True)
    return _item(both.first, [AnswerShown(line(name), found, figures(item)) for name, found, item in shown])


def _item(item: Shown, answers: Sequence[AnswerShown]) -> Item:
    beside = [(name, block(text)) for name, text in item.beside.items()]
    return Item(line(item.id), block(item.prompt), answers, beside)


def figures(item: Shown) -> str:
    """`accuracy 1, loglik -3.2; P(chosen is better) = 0.731`."""
    values: Mapping[str, float] = item.values
    listed = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    return line("; ".join(part for part in (listed, *item.notes) if part))
