"""A false step in a worked solution: one step gets a wrong result, and everything that follows from it follows suit.

To alter a step is to write, from there on, what a solver who made that slip would have written: every later mention of
the result, and the result of every later step that uses it. The altered step is the only false one. That is done only
where it is sound. Else `Unsound` gives the reason:

    no_steps       no annotation, or one that is broken
    not_computed   the final answer is no step's result
    not_shown      a step's result does not stand right after its annotation, or is rounded
    ambiguous      a number to be carried on could as well come from elsewhere: from the question, another step or a
                   unit's factor; or it stands there as a word, a clock time, an ordinal or a percentage's twin
    unexplained    a number after the slip comes from no step, no earlier text and not from the question
    unchanged      the slip does not reach the final answer
    unclean        no slip keeps whole numbers whole, cents at two digits, all positive, and which of two is the larger
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest

from harness.util.hashes import content_hash
from tasks.datasets.worked_solutions import (
    FIGURE,
    LARGE,
    NUMBER,
    Step,
    Unsound,
    evaluate,
    is_true,
    number,
    numbers,
    parse,
    plain,
    words,
    written,
)

_TIED_BEFORE, _TIED_AFTER = re.compile(r"\d:\Z"), re.compile(r":\d|(?:st|nd|rd|th)\b")
"""What makes a number part of a clock time or an ordinal."""
_SPELLED = re.compile(rf"(?<![\w.,%/*+-])((?:\$?{NUMBER}%?\s*[-+*/x]\s*)+\$?{NUMBER}%?)\s*=\s*\$?({NUMBER})")
"""An equation that the text itself spells out."""

FACTORS = frozenset(map(Fraction, (1, 2, 3, 4, 5, 7, 10, 12, 16, 24, 30, 31, 36, 52, 60, 100, 360, 365, 1000, 3600)))
"""Numbers that a step may use unasked: halves, feet in a yard, days, ounces, minutes, cents, grams."""
SLIPS = tuple(sign * size for size in (*range(1, 31), *range(35, 101, 5)) for sign in (1, -1))
"""How far off results are tried to be, in units of the right one's last digit that is not 0."""
ENOUGH = 3
"""Sound slips of a step after which no other is tried."""
GIVEN = -1
"""Origin of a number that the slip cannot touch."""
Origins = dict[Fraction, set[int]]
"""Where a value may come from: `GIVEN`, or the index of a step that the slip reaches."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A number that follows from the slip: the step it is the result of, and how it is written."""

    step: int
    like: str


@dataclass(frozen=True, slots=True)
class Altered:
    """A solution with one false step: its text (annotations included), its final answer, the step's index."""

    text: str
    answer: str
    step: int


Part = str | Mention


def alter(question: str, solution: str, answer: str, seed: str) -> Altered:
    """The solution with one step made false and what follows carried through to another final answer.

    `seed` fixes which step and which slip: the first, in orders by hash, that keeps the text's length; failing that,
    the first sound one. Raises Unsound with the most frequent reason of the steps when there is none.
    """
    steps, rest = parse(solution)
    if not FIGURE.fullmatch(answer.removeprefix("$")) or number(answer) not in {number(step.result) for step in steps}:
        raise Unsound("not_computed")
    asked = frozenset((*numbers(question), *words(question)))
    reasons, found = Counter[str](), list[Altered]()
    for index in _order(range(len(steps)), seed):
        try:
            route = _Route.planned(asked, steps, rest, answer, index)
            found += _slips(route, seed)
        except Unsound as unsound:
            reasons[str(unsound)] += 1
        if found and len(found[-1].text) == len(solution):
            return found[-1]
    if not found:
        raise Unsound(reasons.most_common(1)[0][0])
    return found[0]


def _slips(route: _Route, seed: str) -> list[Altered]:
    """Sound slips of one step, up to the first that keeps the length. Raises Unsound when there is none."""
    found = list[Altered]()
    length = sum(len(step.text) for step in route.steps) + len(route.rest)
    for wrong in _wrong_results(route.steps[route.slip].shown, f"{seed} {route.slip}"):
        try:
            found.append(route.altered(wrong))
        except Unsound:
            continue
        if len(found) == ENOUGH or len(found[-1].text) == length:
            return found
    if not found:
        raise Unsound("unclean")
    return found


def _wrong_results(shown: str, seed: str) -> list[Fraction]:
    """Wrong results that look like the right one, in an order by hash: between half and double, as many closing zeros.

    First those without a prime factor above 5 where the right one has none (else those with one). Products of small
    numbers are commoner among results than among numbers; a slip that ignored that could be told by its figures alone.
    Neither is 1, for the sake of plurals.
    """
    right = number(shown)
    if right <= 1:
        return []
    digits = shown.lstrip("$").replace(",", "").replace(".", "")
    unit = Fraction(10) ** (len(digits) - len(digits.rstrip("0")) - len(shown.partition(".")[2]))
    tried = (right + size * unit for size in _order(SLIPS, seed))
    near = [wrong for wrong in tried if wrong > 1 and right / 2 <= wrong <= right * 2 and wrong / unit % 10 != 0]
    return sorted(near, key=lambda wrong: _is_round(wrong / unit) != _is_round(right / unit))


def _is_round(value: Fraction) -> bool:
    """Whether a whole number has no prime factor above 5."""
    rest = int(value)
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _order(items: Sequence[int], seed: str) -> list[int]:
    return random.Random(content_hash(seed)).sample(items, len(items))


@dataclass(frozen=True, slots=True)
class _Route:
    """Where the result of one step goes: the solution in parts, those that follow from it marked."""

    steps: Sequence[Step]
    rest: str
    slip: int
    given: frozenset[Fraction]
    """Values that the slip cannot touch."""
    expressions: Mapping[int, Sequence[Part]]
    """Of every later step that the slip reaches."""
    parts: Sequence[Part]
    answer: Mention

    @classmethod
    def planned(cls, asked: frozenset[Fraction], steps: Sequence[Step], rest: str, answer: str, slip: int) -> _Route:
        """`asked` are the question's numbers. Raises Unsound where an origin cannot be told or the answer stays."""
        origins: Origins = {value: {GIVEN} for value in asked}
        for step in steps[:slip]:
            for value in numbers(step.text):
                origins.setdefault(value, set()).add(GIVEN)
        parts: list[Part] = [step.text for step in steps[:slip]]
        parts += _slip_parts(steps[slip], slip, origins)
        expressions = dict[int, Sequence[Part]]()
        for index, step in enumerate(steps[slip + 1 :], start=slip + 1):
            expression, written_out = _later_parts(step, index, origins)
            parts += written_out
            if any(isinstance(part, Mention) for part in expression):
                expressions[index] = expression
        parts += _mark(rest, origins)
        last = max(index for index, step in enumerate(steps) if number(step.result) == number(answer))
        if last != slip and last not in expressions:
            raise Unsound("unchanged")
        given = frozenset(value for value, where in origins.items() if GIVEN in where)
        return cls(steps, rest, slip, given, expressions, parts, Mention(last, answer))

    def altered(self, wrong: Fraction) -> Altered:
        """The solution with this wrong result. Raises Unsound where what follows is unclean."""
        values = {self.slip: wrong}
        for index, expression in self.expressions.items():
            values[index] = evaluate(_fill(expression, values))
        self._keep_order(values)
        text = _fill(self.parts, values)
        answer = _fill([self.answer], values)
        if number(answer) == number(self.answer.like):
            raise Unsound("unchanged")
        if _flips("".join(step.text for step in self.steps) + self.rest, text) > 1:
            raise Unsound("unexplained")
        return Altered(text, answer, self.slip)

    def _keep_order(self, values: Mapping[int, Fraction]) -> None:
        """Which of two numbers is the larger must stay as it is, for the text may say so."""
        moved = [(number(self.steps[index].result), value) for index, value in values.items()]
        every = [*moved, *((value, value) for value in self.given)]
        if any((old < other) != (new < now) for old, new in moved for other, now in every if old != other):
            raise Unsound("unclean")


def _slip_parts(step: Step, index: int, origins: Origins) -> Iterator[Part]:
    """The false step; what is said before it stays, but for its result where that is announced."""
    if not is_true(step):
        raise Unsound("not_shown")
    right = number(step.result)
    for value in (*numbers(step.expression), *(v for v in numbers(step.before) if v != right)):
        origins.setdefault(value, set()).add(GIVEN)
    before = {value: {GIVEN} for value in numbers(step.before)}
    if right in before:
        before[right] = origins.get(right, set()) | {index}
    yield from _mark(step.before, before)
    yield f"<<{step.expression}="
    yield from _result_parts(step, index)
    origins.setdefault(right, set()).add(index)


def _later_parts(step: Step, index: int, origins: Origins) -> tuple[list[Part], list[Part]]:
    """(expression, all parts) of a step after the slip; adds its result and its factors to the origins."""
    factors = {value: {GIVEN} for value in numbers(step.expression) if value in FACTORS}
    expression = _mark(step.expression, _joined(origins, factors))
    reached = any(isinstance(part, Mention) for part in expression)
    if reached and not is_true(step):
        raise Unsound("not_shown")
    result: Origins = {number(step.result): {index if reached else GIVEN}}
    before = _mark(step.before, _joined(origins, factors, result))
    for value, where in (*factors.items(), *result.items()):
        origins.setdefault(value, set()).update(where)
    if not reached:
        return expression, [*before, f"<<{step.expression}={step.result}>>{step.shown}"]
    return expression, [*before, "<<", *expression, "=", *_result_parts(step, index)]


def _result_parts(step: Step, index: int) -> Iterator[Part]:
    yield Mention(index, step.result.strip())
    yield ">>" + "$" * step.shown.startswith("$")
    yield Mention(index, step.shown.removeprefix("$"))


def _joined(*origins: Origins) -> Origins:
    keys = {key for one in origins for key in one}
    return {key: set().union(*(one.get(key, ()) for one in origins)) for key in keys}


def _mark(text: str, origins: Origins) -> list[Part]:
    """A text in parts, its numbers that follow from the slip marked. Raises Unsound where an origin cannot be told."""
    reached = {value for value, where in origins.items() if where != {GIVEN}}
    if any(value in reached for value in words(text)) or (reached and LARGE & set(text.lower().split())):
        raise Unsound("ambiguous")
    parts, last = list[Part](), 0
    for found in FIGURE.finditer(text):
        origin = _origin(number(found[0]), origins, reached)
        if origin == GIVEN:
            continue
        if _TIED_BEFORE.search(text, 0, found.start()) or _TIED_AFTER.match(text, found.end()):
            raise Unsound("ambiguous")
        parts += (text[last : found.start()], Mention(origin, found[0]))
        last = found.end()
    return [*parts, text[last:]]


def _origin(value: Fraction, origins: Origins, reached: set[Fraction]) -> int:
    found = origins.get(value)
    if found is None:
        if reached & _twins(value):
            raise Unsound("ambiguous")
        if not origins.keys() & _twins(value):
            raise Unsound("unexplained")
        return GIVEN
    if len(found) > 1:
        raise Unsound("ambiguous")
    return next(iter(found))


def _twins(value: Fraction) -> set[Fraction]:
    """What a percentage or a share may be written for: 40 % is 0.4, leaves 60 % or 0.6, and adds up to 1.4."""
    return {value * 100, value / 100, 100 - value, (1 - value) * 100, (value - 1) * 100, value - 100, 1 - value}


def _fill(parts: Sequence[Part], values: Mapping[int, Fraction]) -> str:
    return "".join(part if isinstance(part, str) else written(values[part.step], part.like) for part in parts)


def _flips(right: str, altered: str) -> int:
    """How many equations that the text spells out are true in one and false in the other."""
    sides = zip_longest(_SPELLED.findall(plain(right)), _SPELLED.findall(plain(altered)))
    return sum(before is None or after is None or (_holds(before) and not _holds(after)) for before, after in sides)


def _holds(equation: tuple[str, str]) -> bool:
    try:
        return evaluate(equation[0].replace("$", "").replace("x", "*")) == number(equation[1])
    except Unsound:
        return False
