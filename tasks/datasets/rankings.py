"""Scores, ranks and choices between two answers, read as pairs of a better and a worse answer.

The rule: of every two answers to a prompt whose scores differ, the one with the higher score is the better one, with
the lower rank where there are ranks; an answer that is scored more than once has the mean of its scores; a prompt gives
at most `PER_PROMPT` pairs, the first by a hash of their texts. Equal scores say nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from tasks.datasets.turns import Unusable, is_null

Row = Mapping[str, Any]
Scale = Literal["signed", "from 0", "from 1"]

PER_PROMPT = 8
"""Most pairs of one prompt: without a bound a prompt with ten answers would give 45."""
_TEXT = ("text", "content", "answer", "response", "completion", "output", "generation")
_SCORE = ("score", "rating", "grade", "reward", "overall_score", "label")
_FIRST = frozenset({"a", "model_a", "response_a", "answer_a", "first", "left", "chosen_a"})
_SECOND = frozenset({"b", "model_b", "response_b", "answer_b", "second", "right", "chosen_b"})
_NEITHER = frozenset({"tie", "both", "neither", "equal", "same", "tie (bothbad)", "both_bad", "bothbad", "none", "c"})


def scored(row: Row) -> list[tuple[Any, float]]:
    """(answer, score) of a row that holds several answers, or one. Raises Unusable for scores that are no numbers."""
    if "answers" not in row:
        return [(row.get("answer"), _value(row))]
    answers = _list(row["answers"], "answers")
    if "scores" in row or "ranks" in row:
        name, sign = ("scores", 1.0) if "scores" in row else ("ranks", -1.0)
        given = _list(row[name], name)
        if len(given) != len(answers):
            raise Unusable("malformed", f"{name!r} holds {len(given)} values for {len(answers)} answers")
        return [(_text(a), sign * number(g, name)) for a, g in zip(answers, given, strict=True) if g is not None]
    return [(_text(answer), _own(answer)) for answer in answers]


def scale_of(first: str, winners: Iterable[Any]) -> Scale:
    """How numbers choose: by their sign where one is negative, else from the number in the first answer's column.

    Columns without a number are counted from 0 where a choice is 0.
    """
    numbers = set()
    for winner in winners:
        with contextlib.suppress(Unusable):
            numbers.add(number(winner, "winner"))
    if min(numbers, default=0.0) < 0:
        return "signed"
    if first[-1:] in "01":
        return "from 0" if first.endswith("0") else "from 1"
    return "from 0" if 0.0 in numbers else "from 1"


def chosen_of(row: Row, scale: Scale) -> dict[str, Any]:
    """A row with two answers and a choice between them, as one with a better and a worse answer.

    Raises Unusable for a tie and for a choice of neither.
    """
    first = _is_first(row.get("winner"), row, scale)
    rest = {key: value for key, value in row.items() if key not in ("a", "b", "winner")}
    better, worse = ("a", "b") if first else ("b", "a")
    return {**rest, "chosen": row.get(better), "rejected": row.get(worse)}


def number(value: Any, field: str) -> float:
    """A score as a number, also where it is a text with a decimal comma. Raises Unusable for anything else."""
    if is_null(value):
        raise Unusable("null", f"{field!r} is null")
    words = {"true": 1.0, "false": 0.0}
    try:
        text = str(value).strip().lower()
        found = words[text] if text in words else float(text.replace(",", "."))
    except ValueError as error:
        raise Unusable("malformed", f"{field!r} is {str(value)[:80]!r}; expected a number") from error
    if not math.isfinite(found):
        raise Unusable("malformed", f"{field!r} is {found}; expected a finite number")
    return found


def _value(row: Row) -> float:
    if "score" in row:
        return number(row["score"], "score")
    return -number(row.get("rank"), "rank")


def _own(answer: Any) -> float:
    """The score that stands beside an answer's text in one object."""
    if isinstance(answer, Mapping):
        for key in _SCORE:
            if key in answer:
                return number(answer[key], key)
        if "rank" in answer:
            return -number(answer["rank"], "rank")
    raise Unusable("malformed", "'answers' hold no scores, and there is no column 'scores' or 'ranks'")


def _text(answer: Any) -> Any:
    if isinstance(answer, Mapping):
        return next((answer[key] for key in _TEXT if key in answer), None)
    return answer


def _list(value: Any, field: str) -> Sequence[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None if not value.strip() else value
    if value is None:
        raise Unusable("null", f"{field!r} is null")
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise Unusable("malformed", f"{field!r} is {str(value)[:80]!r}; expected a list")
    return value


def _is_first(winner: Any, row: Row, scale: Scale) -> bool:
    word = str(winner).strip().lower()
    if is_null(winner) or not word:
        raise Unusable("null", "'winner' is null")
    if word in _NEITHER:
        raise Unusable("tie", f"'winner' is {word[:80]!r}")
    if word in _FIRST or word in _SECOND:
        return word in _FIRST
    for side in ("a", "b"):
        if isinstance(row.get(side), str) and word == row[side].strip().lower():
            return side == "a"
    found = number(winner, "winner")
    if scale == "signed":
        if not found:
            raise Unusable("tie", "'winner' is 0, in the middle of its scale")
        return found < 0
    first = 0.0 if scale == "from 0" else 1.0
    if found not in (first, first + 1):
        raise Unusable(
            "tie" if found == 0 else "malformed", f"'winner' is {word[:80]!r}; expected {first:.0f} or {first + 1:.0f}"
        )
    return found == first
