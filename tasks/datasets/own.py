"""Rows of the user's own as pairs, whatever their columns and forms.

Rows give pairs in one of four forms, known by their columns (`tasks.datasets.columns`):

    prompt, chosen, rejected          a better and a worse answer, in the layouts of `tasks.datasets.layouts`
    prompt, two answers, winner       a choice between two answers
    prompt, answers, scores           several answers with scores, or ranks, in lists
    prompt, answer, score             one answer a row

The last two become pairs by the rule of `tasks.datasets.rankings`. What is held out: the rows that a split file or a
column `split` names, else the data's own split `test`, else a fifth of the pairs, exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.contracts import Messages, Pair, Reading
from harness.data.texts import cut
from tasks.datasets.columns import Columns, find_columns
from tasks.datasets.division import Division, Marks, by_column, divide, named_in
from tasks.datasets.graded import better_and_worse, mean_grades
from tasks.datasets.layouts import Sides, answer_in, check, prompt_in, sides, together, with_system
from tasks.datasets.pairs import Gathered, Labelled, pair_of
from tasks.datasets.rankings import PER_PROMPT, Scale, chosen_of, scale_of, scored
from tasks.datasets.turns import Unusable

Row = Mapping[str, Any]

ANY_DIFFERENCE = 1e-12
"""Scores that differ by less are equal."""


@dataclass(frozen=True, slots=True)
class DividedPairs:
    """Every usable pair of a set of rows, and how they are divided."""

    found: Labelled
    division: Division
    given: bool
    """Whether the user said which pairs are held out."""
    marks: Marks = field(default_factory=dict, repr=False)

    def holding_out(self, fold: tuple[int, int]) -> DividedPairs:
        """The same pairs with another fold held out."""
        return replace(self, division=divide(self.found.pairs, self.marks, None, fold))


def contradictions(pairs: Sequence[Pair]) -> int:
    """How many pairs say that one answer is better than another, of which another pair says the opposite."""
    said = {(pair.prompt, pair.chosen, pair.rejected) for pair in pairs}
    return sum((pair.prompt, pair.rejected, pair.chosen) in said for pair in pairs)


def read_own(rows: Sequence[Row], place: str, how: Reading, *, divided: bool = True) -> DividedPairs:
    """Every pair of rows in one of the forms. Raises HarnessError where columns or pairs are missing."""
    columns = find_columns(rows, how.columns, place)
    reader = _Reader(place, columns, how, rows)
    for row in rows:
        reader.read(columns.rename(row))
    reader.rank()
    found = _without(reader.made.labelled(), how.without, place)
    listed = named_in(Path(how.split_file)) if how.split_file and divided else None
    given = listed is not None or bool(by_column(found.pairs, reader.marks))
    division = divide(found.pairs, reader.marks, listed, how.fold) if divided else Division((), (), "")
    return DividedPairs(found, division, given, reader.marks)


def _without(found: Labelled, ids: Mapping[str, frozenset[str]], place: str) -> Labelled:
    """The pairs without those of these ids, which are counted under their reasons."""
    reasons = {identity: reason for reason, those in ids.items() for identity in those}
    gone = [pair for pair in found.pairs if pair.id in reasons]
    if not gone:
        return found
    dropped = Counter(found.dropped) + Counter(reasons[pair.id] for pair in gone)
    examples = dict(found.examples)
    for pair in gone:
        examples.setdefault(reasons[pair.id], f"{place}, the pair that asks {cut(pair.prompt[-1].content)!r}")
    kept = tuple(pair for pair in found.pairs if pair.id not in reasons)
    return Labelled(kept, dict(sorted(dropped.items())), examples, found.rows)


def whole_prompt(row: Row) -> Row:
    """A row whose prompt holds what other columns say of it: an input behind an instruction, turns before it."""
    if not row:
        raise Unusable("null", "is null")
    prompt, given, history = row.get("prompt"), row.get("input"), row.get("history")
    if isinstance(prompt, str) and isinstance(given, str) and given.strip():
        prompt = f"{prompt.strip()}\n\n{given.strip()}"
    if isinstance(history, list) and history and isinstance(prompt, str):
        pairs = [turn for turn in history if isinstance(turn, list | tuple) and len(turn) == 2]
        speakers = ("user", "assistant")
        before = [{"role": r, "content": text} for turn in pairs for r, text in zip(speakers, turn, strict=True)]
        prompt = [*(before or history), {"role": "user", "content": prompt}]
    return {**row, "prompt": prompt} if prompt is not row.get("prompt") else row


@dataclass
class _Ranked:
    """What is known of one prompt's answers, over all its rows."""

    judgements: list[tuple[str, str, float]] = field(default_factory=list)
    cluster: object = None
    rows: int = 0


class _Reader:
    """Reads rows one after the other; `marks` holds what each pair's row says of its split, and its id."""

    def __init__(self, place: str, columns: Columns, how: Reading, rows: Sequence[Row]) -> None:
        self.made = Gathered(place)
        self.marks: dict[str, tuple[object, object]] = {}
        self._form, self._control = columns.form, how.control
        self._ranked: dict[Messages, _Ranked] = {}
        self._scale: Scale | None = None
        if columns.form == "choice":
            self._scale = scale_of(columns.names["a"], (columns.rename(row).get("winner") for row in rows))

    def read(self, row: Row) -> None:
        """Add what a row gives; why it gives nothing is counted."""
        with self.made.row():
            row = whole_prompt(row)
            if self._form in ("list", "single"):
                self._remember(row)
                return
            if self._scale is not None:
                row = chosen_of(row, self._scale)
            self._add(sides(row, self._control), row)

    def rank(self) -> None:
        """Pairs of the answers that were remembered, at most `PER_PROMPT` of a prompt."""
        for prompt, ranked in self._ranked.items():
            grades = mean_grades(ranked.judgements).get("", {})
            ordered = [Sides(prompt, a, b) for a, b in better_and_worse(grades, ANY_DIFFERENCE)]
            if not ordered:
                reason = "tie" if len(grades) > 1 else "single"
                self.made.drop(
                    reason, f"prompt {prompt[-1].content[:80]!r}: no two answers with scores that differ", ranked.rows
                )
            for found in sorted(ordered, key=lambda found: pair_of(found).id)[:PER_PROMPT]:
                self.made.add(found, ranked.cluster)

    def _add(self, found: Sides, row: Row) -> None:
        pair = self.made.add(found, row.get("cluster"))
        self.marks.setdefault(pair.id, (row.get("split"), row.get("id")))

    def _remember(self, row: Row) -> None:
        """Note a row's answers and their scores; of a list, an answer that is none is passed over if another is one."""
        prompt = prompt_in(row, self._control)
        found: list[tuple[Messages, str, float]] = []
        fault = Unusable("empty", "'answers' holds no answer with a score")
        for value, score in scored(row):
            try:
                found.append((*self._answer(row, value, prompt), score))
            except Unusable as error:
                fault = error
        if not found:
            raise fault
        for asked, text, score in found:
            ranked = self._ranked.setdefault(asked, _Ranked(cluster=row.get("cluster")))
            ranked.judgements.append(("", text, score))
        self._ranked[found[0][0]].rows += 1

    def _answer(self, row: Row, value: Any, prompt: Messages | None) -> tuple[Messages, str]:
        answer = answer_in({**row, "answer": value}, "answer", prompt, self._control)
        asked = with_system(together(prompt, answer.before), row, self._control)
        check(Sides(asked, answer.text, f"{answer.text}."))
        return asked, answer.text
