"""The answer that a worked solution comes to: behind a closing line, or in any form.

`final_number` is strict about where the number stands (it is what a pool pays for), `number_in_any_dress` is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

MARK = "####"
"""What stands before the answer in GSM8K."""
_CLOSING = re.compile(rf"(?:final\s+answer|{MARK})[^\S\n]*(?:\*\*)?:?[^\S\n]*(?:is\b)?:?\s*", re.IGNORECASE)
_LAST_SIDE = re.compile(r".*=")
_NUMBER = r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:\s*/\s*(?P<divisor>[1-9]\d*)\b)?"
_ANSWER = re.compile(r"[^\d.\-−]*?(?P<sign>[-−]?)[$€£\s]*" + _NUMBER)
_ANYWHERE = re.compile(r"(?:(?<![\w)\]}])(?P<sign>[-−]))?[$€£\s]*(?<![\w.^])(?<!\^\{)" + _NUMBER)
"""A number in running text; no exponent, and a hyphen behind a word or a number is no sign."""
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:\\[,;: !]|[ \u00a0\u2009\u202f])\d{3})+(?![\d,])")
"""Groups of three digits with LaTeX's or typography's thin spaces, or plain ones, between them."""
_UNDRESSED: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\\[dt]?frac\s*\{\s*([^{}]*)\}\s*\{\s*([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), ","),
    (_GROUPS, lambda groups: re.sub(r"\D", "", groups[0])),
)
"""What LaTeX and typography put around a number -> plain text."""


def final_number(completion: str) -> Fraction | None:
    """The number after the last "Final Answer" or `####`, or None where there is none.

    Of a line with equals signs the last side counts, else the line's first number. Thousands commas, currency and
    percent signs, units, bold type and closing zeros make no difference: `$1,250.00`, `**1250**`, `1250 m` are equal.
    """
    closing = closing_line(completion)
    return None if closing is None else first_number(_LAST_SIDE.sub("", closing))


def closing_line(completion: str) -> str | None:
    """What stands behind the last "Final Answer" or `####` up to the end of its line, or None where there is none."""
    marks = list(_CLOSING.finditer(completion))
    return completion[marks[-1].end() :].partition("\n")[0] if marks else None


def number_in_any_dress(text: str) -> Fraction | None:
    """The number behind the last closing line; without such a line that of the last box, else the last of the text.

    LaTeX and thin spaces make no difference either: `\\boxed{1{,}250}`, `\\$1\\,250`, `$1 250.00.` are equal. An
    exponent is no answer. None where there is no number at all.
    """
    plain = undressed(text)
    boxes = _BOXED.findall(plain)
    for found in (final_number(plain), first_number(_LAST_SIDE.sub("", boxes[-1])) if boxes else None):
        if found is not None:
            return found
    numbers = list(_ANYWHERE.finditer(plain))
    return _value(numbers[-1]) if numbers else None


def first_number(text: str) -> Fraction | None:
    """The first number of a text, or None where it has none."""
    found = _ANSWER.match(text)
    return None if found is None else _value(found)


def undressed(text: str) -> str:
    """A text with its numbers as plain text writes them."""
    for pattern, plain in _UNDRESSED:
        text = pattern.sub(plain, text)
    return text


def _value(found: re.Match[str]) -> Fraction:
    value = Fraction(found["number"].replace(",", "")) / int(found["divisor"] or 1)
    return -value if found["sign"] else value
