"""Worked solutions of word problems: the steps of their arithmetic, the numbers in their text, how numbers are written.

A solution is text with calculator annotations, `9 * 2 = $<<9*2=18>>18`, as in GSM8K (Cobbe et al. 2021,
arXiv:2110.14168): each is a step, whose result stands again right after it. What cannot be read or written raises
`Unsound` with a word that says why:

    no_steps       no annotation, or one that is broken
    unclean        a value that the form of another number cannot hold
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
FIGURE = re.compile(NUMBER)
_ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
_SHOWN = re.compile(rf"\$?{NUMBER}")
_PERCENT = re.compile(rf"({NUMBER})\s*%")
_LEADING_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")
_UNITS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
_TEENS = {"ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16}
_LATE_TEENS = {"seventeen": 17, "eighteen": 18, "nineteen": 19}
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
WORDS: Mapping[str, Fraction] = {
    **{word: Fraction(value) for word, value in (_UNITS | _TEENS | _LATE_TEENS | _TENS).items()},
    **{f"{ten}-{unit}": Fraction(a + b) for ten, a in _TENS.items() for unit, b in _UNITS.items()},
    **dict.fromkeys(("twice", "double", "doubled", "doubles", "pair", "pairs", "couple", "both"), Fraction(2)),
    **dict.fromkeys(("thrice", "triple", "tripled", "triples"), Fraction(3)),
    **dict.fromkeys(("half", "halves"), Fraction(1, 2)),
    **dict.fromkeys(("third", "thirds"), Fraction(1, 3)),
    **dict.fromkeys(("quarter", "quarters", "fourth", "fourths"), Fraction(1, 4)),
    **dict.fromkeys(("fifth", "fifths"), Fraction(1, 5)),
    "dozen": Fraction(12),
    "hundred": Fraction(100),
    "thousand": Fraction(1000),
    "million": Fraction(10**6),
}
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)?")
LARGE = frozenset({"hundred", "thousand", "million"})
"""Words that make a number together with the word or figure before them."""
_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Unsound(Exception):
    """A solution that cannot be read or soundly altered; its text is the reason."""


@dataclass(frozen=True, slots=True)
class Step:
    """One annotation, the text since the one before it, and its result as it is shown (empty where it is not)."""

    before: str
    expression: str
    result: str
    shown: str

    @property
    def text(self) -> str:
        """The step as it is written."""
        return f"{self.before}<<{self.expression}={self.result}>>{self.shown}"


def parse(solution: str) -> tuple[list[Step], str]:
    """The steps of a solution and the text after the last. Raises Unsound without any, or with one that is broken."""
    steps, last = list[Step](), 0
    for found in _ANNOTATION.finditer(solution):
        shown = _SHOWN.match(solution, found.end())
        steps.append(Step(solution[last : found.start()], found[1], found[2], shown[0] if shown else ""))
        last = shown.end() if shown else found.end()
    rest = solution[last:]
    broken = any(mark in text for text in (rest, *(step.before for step in steps)) for mark in ("<<", ">>"))
    if broken or not steps or not all(FIGURE.fullmatch(step.result.strip()) for step in steps):
        raise Unsound("no_steps")
    return steps, rest


def plain(solution: str) -> str:
    """A solution as its reader sees it: without annotations."""
    return _ANNOTATION.sub("", solution)


@lru_cache(maxsize=4096)
def number(text: str) -> Fraction:
    """The value of a number as texts write it: `1,200`, `$0.50`, `.5`."""
    return Fraction(text.strip().removeprefix("$").replace(",", ""))


def evaluate(expression: str) -> Fraction:
    """The exact value of sums, differences, products and quotients of numbers; `20%` is 0.2.

    Raises Unsound for anything else.
    """
    text = _LEADING_ZEROS.sub("", _PERCENT.sub(r"(\1/100)", expression).replace(",", "")).strip()
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ZeroDivisionError) as error:
        raise Unsound("no_steps") from error


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _value(node.operand) * (-1 if isinstance(node.op, ast.USub) else 1)
    raise Unsound("no_steps")


def is_true(step: Step) -> bool:
    """Whether a step's arithmetic gives exactly the result that it states and shows."""
    try:
        return bool(step.shown) and evaluate(step.expression) == number(step.result) == number(step.shown)
    except Unsound:
        return False


def numbers(text: str) -> list[Fraction]:
    """The values of all figures in a text, in order."""
    return [number(found) for found in FIGURE.findall(text)]


def words(text: str) -> list[Fraction]:
    """The values of number words; of two joined by a hyphen that are no number together, of each."""
    found = _WORD.findall(text.lower())
    parts = [part for word in found for part in ([word] if word in WORDS else word.split("-"))]
    return [WORDS[part] for part in parts if part in WORDS]


def written(value: Fraction, like: str) -> str:
    """A value in the form of another number: as many decimals, thousands marked alike.

    Raises Unsound where that form cannot hold it, or would not be chosen for it.
    """
    decimals = len(like.partition(".")[2])
    scaled = value * 10**decimals
    if value <= 0 or scaled.denominator != 1:
        raise Unsound("unclean")
    digits = str(int(scaled)).rjust(decimals + 1, "0")
    whole, cents = (digits[:-decimals], digits[-decimals:]) if decimals else (digits, "")
    if decimals not in (0, 2) and cents.endswith("0") and not like.endswith("0"):
        raise Unsound("unclean")
    whole = f"{int(whole):,}" if "," in like else whole
    whole = "" if whole == "0" and like.startswith(".") else whole
    return f"{whole}.{cents}" if decimals else whole
