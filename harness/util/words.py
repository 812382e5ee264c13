"""The words of a text, and its words with the signs that change what it asks."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache

_NOT_WORD = re.compile(r"[\W_]+", re.UNICODE)
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, Japanese, Chinese: scripts that put no spaces between words."""
_SIGNS = frozenset("+-*/=<>^%&|~!#@$\\")
_BRACKETS = frozenset("()[]{}")
_DASHES = str.maketrans(dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014\u2015", "-"))
_FORMULA = re.compile(r"[+*/=<>^%&|~\\]|\d\s*-\s*\d")


def normalise(text: str) -> str:
    """The text's words only: NFKC, case folded, runs of letters and digits joined by single spaces."""
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def comparable(text: str) -> tuple[str, ...]:
    """What two texts must share to ask the same: words, numbers and signs, without case, punctuation and layout.

    Characters of scripts without spaces stand by themselves. Signs that only lay a text out (bullets, emphasis, a dash
    between words) are left out; brackets count beside operators, in calls and indices. `2 + 5` is not `2 - 5`.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_DASHES)
    brackets = _FORMULA.search(plain) is not None
    found: list[str] = []
    for match in _tokens(plain.isascii()).finditer(plain):
        if match.lastgroup == "signs":
            found += _meant(plain, match.start(), match.end(), brackets)
        else:
            found.append(match.group())
    return tuple(found)


@cache
def _tokens(ascii_only: bool) -> re.Pattern[str]:
    """Numbers with their points and commas, single characters of unspaced scripts, words with marks, runs of signs."""
    marks = "" if ascii_only else _marks()
    single = "" if ascii_only else rf"(?P<single>[{_UNSPACED}])|"
    apart = "" if ascii_only else f"(?![{_UNSPACED}])"
    word = rf"(?:{apart}[^\W_]|[{marks}])+" if marks else r"[^\W_]+"
    signs = rf"[^\w\s{marks}]+"
    return re.compile(rf"(?P<number>(?<![^\W_])\d+(?:[.,]\d+)+(?![^\W_]))|{single}(?P<word>{word})|(?P<signs>{signs})")


@cache
def _marks() -> str:
    """A character class of the marks that belong to the letter before them: vowel signs of Hindi, points of Arabic."""
    ranges: list[list[int]] = []
    for code in range(0x300, sys.maxunicode + 1):
        if unicodedata.category(chr(code)) in ("Mn", "Mc", "Me"):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


def _meant(text: str, start: int, end: int, brackets: bool) -> Iterator[str]:
    """The signs of a run that mean something."""
    for sign, at in _grouped(text, start, end):
        if sign[0] in _BRACKETS:
            if brackets or (sign[0] in "([{" and at and text[at - 1].isalnum()):  # a call, an index
                yield sign
        elif sign[0] not in _SIGNS:
            if unicodedata.category(sign[0])[0] == "S" and sign[0] != "`":
                yield sign
        elif not _lays_out(sign, text, at):
            yield sign


def _grouped(text: str, start: int, end: int) -> Iterator[tuple[str, int]]:
    """Equal signs in a row as one, with their places."""
    at = start
    while at < end:
        stop = at
        while stop < end and text[stop] == text[at]:
            stop += 1
        yield text[at:stop], at
        at = stop


def _lays_out(sign: str, text: str, at: int) -> bool:
    """Whether a sign is layout or prose here, by what stands on either side."""
    line = text.rfind("\n", 0, at) + 1
    stop = text.find("\n", at)
    before, after = text[line:at], text[at + len(sign) : stop if stop >= 0 else len(text)]
    left, right = before[-1:], after[:1]
    if len(sign) > 2 and not (before.strip() and after.strip()):
        return True  # a ruler
    if not before.strip() and (right.isspace() or not right):
        return True  # a bullet, a heading, a quotation
    touched = left.isalnum(), right.isalnum()
    if sign[0] == "*":
        return touched[0] != touched[1] or not after.strip()
    if sign[0] == "!":
        return not (left in _SIGNS or right in _SIGNS or (right.isalnum() and not left.isalnum()))
    if sign[0] == "#":
        return not any(touched)
    return sign == "-" and _is_dash(before, after)


def _is_dash(before: str, after: str) -> bool:
    """Whether a dash joins or parts words, rather than numbers or letters of a formula."""
    left, right = before.rstrip(), after.lstrip()
    if left == before and left[-1:].isalpha():
        return right != after or (len(left) > 1 and left[-2:-1].isalpha()) or not right[:1].isalnum()
    single = bool(re.search(r"(?:\A|[^\w])\w\Z", left)) and bool(re.match(r"\w(?:[^\w]|\Z)", right))
    return not (right[:1].isdigit() or left[-1:].isdigit() or single)
