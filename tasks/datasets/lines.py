"""An answer's lines as a reader sees them: one form of blanks, dashes and fractions, no Markdown, lists as lists.

Rules that read `lines_of` need not know in how many ways a hyphen, a bullet or emphasis can be written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_ONE_FORM = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        "\u2044": "/",  # of a fraction: NFKC makes 1, this and 2 of a half
        "\u2019": "'",
    }
)
_CIRCLED = {code: f"{code - 0x245F}. " for code in range(0x2460, 0x2474)}
"""Numbers in circles: a list's marks, of which NFKC leaves bare digits."""
_UNSEEN = re.compile("[\ufe00-\ufe0f]")
"""They choose between two pictures of the character before them."""

_HAS_WORD = re.compile(r"[^\W_]")
_BEFORE_LINE = re.compile(r"^(?:#{1,6}\s+|>\s*)+")
"""Of a Markdown heading or quotation."""
_EMPHASIS = re.compile(r"\*(?!\s)|(?<=\S)\*|[_`]")
"""An asterisk that touches something; one between blanks, or before the only one of a line, is a sign or a bullet."""

_BULLET = "[•‣⁃◦∙⋅·・»›\uf0b7\u2190-\u21ff\u25a0-\u25ff]"
"""Typographic bullets, arrows and geometric shapes; U+F0B7 is the bullet of Word's symbol font."""
_MARK = re.compile(rf"(?:(?:-{{1,3}}|[*+]|[-=]>|\(?\d{{1,2}}(?:[.)]|\u20e3))\s+|{_BULLET}\s*)(?=\S)")
_DOUBTFUL_MARK = re.compile(
    r"(?:\(?(?:[a-z]|[ivx]{2,4})[.)]\s+|[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]+\s*)(?=\S)", re.IGNORECASE
)
"""A letter, a Roman number or a picture; a sentence may begin so, too: "E. coli is a germ."."""


@dataclass(frozen=True, slots=True)
class PlainLine:
    """What a line says, without its mark where it is the item of a list."""

    text: str
    listed: bool


def lines_of(text: str) -> list[PlainLine]:
    """The lines that hold a letter or a digit.

    A line is listed where it begins with a mark and a blank; with a mark that a sentence may begin with, where a line
    next to it does so, too.
    """
    plain = [line for raw in _in_one_form(text).splitlines() if _HAS_WORD.search(line := _undressed(raw))]
    doubtful = [_DOUBTFUL_MARK.match(line) for line in plain]
    return [_line(line, _MARK.match(line) or _in_company(doubtful, place)) for place, line in enumerate(plain)]


def running_text(lines: Sequence[PlainLine]) -> str:
    """The lines as one text, in which a semicolon keeps an item apart from what stands before it."""
    return " ".join(f"; {line.text}" if line.listed else line.text for line in lines)


def _in_one_form(text: str) -> str:
    """Compatibility form (a full-width colon is a colon), without characters that have no width."""
    plain = _UNSEEN.sub("", unicodedata.normalize("NFKC", text.translate(_CIRCLED))).translate(_ONE_FORM)
    return "".join(each for each in plain if unicodedata.category(each) != "Cf")


def _undressed(line: str) -> str:
    return " ".join(_EMPHASIS.sub("", _BEFORE_LINE.sub("", line.strip())).split())


def _in_company(marks: list[re.Match[str] | None], place: int) -> re.Match[str] | None:
    """The mark at a place, where one of its neighbours has one as well."""
    return marks[place] if any(marks[max(place - 1, 0) : place] + marks[place + 1 : place + 2]) else None


def _line(text: str, mark: re.Match[str] | None) -> PlainLine:
    return PlainLine(text, listed=False) if mark is None else PlainLine(text[mark.end() :], listed=True)
