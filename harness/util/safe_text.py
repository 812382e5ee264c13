"""Texts of strangers made harmless, for every place that they leave the harness at.

A name of a model folder, a reason of a failure, a plug-in's docstring may hold terminal sequences, marks that reverse
what is read, markup, formulas. What leaves goes through the function of its exit:

    line      one line for a terminal or a log
    markdown  a piece of a line of Markdown; code: the same, set as code
    csv_cell  a cell of a CSV file that a spreadsheet may open
    json_text JSON, whose values stay exactly what they are
    cut       a value that an error message repeats
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

VALUE = 80
"""Longest value that an error message repeats, in characters."""

_HARMFUL = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # C0 and C1 less white space
    "\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, or turns the reading
    "\ud800-\udfff\U000e0000-\U000e007f]"  # half a character; tags, which are invisible
)
_HARMFUL_IN_JSON = re.compile(f"{_HARMFUL.pattern}|[\x85\u2028\u2029]")
_LINE_BREAKS = re.compile("[\x0b\x0c\r\x1c-\x1e\x85\u2028\u2029]")
_MARKDOWN = re.compile(r"[\\`*{}\[\]<>#|!~&$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=[wW])\.")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def line(text: str) -> str:
    """`text` on one line: white space becomes single spaces, what a terminal or a reader is fooled by is spelt out."""
    return _HARMFUL.sub(_spelt, " ".join(text.split()))


def block(text: str) -> str:
    """`line` for a text of several lines: line feeds and tabs stay."""
    return _HARMFUL.sub(_spelt, _LINE_BREAKS.sub("\n", text.replace("\r\n", "\n")))


def cut(value: object, longest: int = VALUE) -> str:
    """The value's repr (a text in quotes) on one line of at most `longest` characters, cut in the middle."""
    if isinstance(value, str) and len(value) > 4 * longest:  # its repr would take time and memory for nothing
        value = value[: 2 * longest] + value[-2 * longest :]
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits than Python writes; too deeply nested
        text = f"{type(value).__name__} too large to show"
    return shorten(text, longest)


def shorten(text: str, longest: int) -> str:
    """`text` on one line of at most `longest` characters: the middle goes, for beginning and end tell most."""
    shown = line(text)
    if len(shown) <= longest:
        return shown
    tail = longest // 3
    return f"{shown[: longest - tail - 3]}...{shown[-tail:]}"


def markdown(text: str) -> str:
    """`text` inside a line of Markdown, where it shows as it is: no markup, link, HTML, or break out of a cell."""
    return _MARKDOWN.sub(lambda found: f"\\{found.group()}", line(text))


def code(text: str) -> str:
    """`text` set as code in Markdown, between more back-ticks than stand in it."""
    shown = line(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if shown.startswith("`") or shown.endswith("`") or not shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def csv_cell(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula (an apostrophe stands before it); numbers as they are."""
    if not isinstance(value, str):
        return value
    shown = line(value)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def json_text(value: Any, *, indent: int, ascii_only: bool = False) -> str:
    """`value` as JSON whose strings spell out what a terminal or a reader is fooled by; it parses to the same value.

    JSON has no number that is not finite: such a one becomes null. What has no JSON form is its `str`.
    """
    document = json.dumps(_finite(value), ensure_ascii=ascii_only, indent=indent, default=str, allow_nan=False)
    return _HARMFUL_IN_JSON.sub(_json_escape, document)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def _spelt(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")


def _json_escape(found: re.Match[str]) -> str:
    code_point = ord(found.group())
    if code_point < 0x10000:
        return f"\\u{code_point:04x}"
    high, low = divmod(code_point - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
