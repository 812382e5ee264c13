"""Which columns of a user's own rows are what: by their usual names, or as `--columns` says."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.contracts import HarnessError
from harness.data.tables import EXTRA
from harness.util.names import nearest

Row = Mapping[str, Any]
Form = Literal["pair", "choice", "list", "single"]

USUAL: Mapping[str, tuple[str, ...]] = {
    "prompt": (
        *("prompt", "question", "instruction", "query", "input", "context", "user_input", "prompt_text", "user"),
        *("conversations", "conversation", "messages", "dialogue"),
    ),
    "input": ("input", "context"),
    "history": ("history",),
    "system": ("system", "system_prompt", "system_message"),
    "chosen": (
        *("chosen", "better", "preferred", "accepted", "good", "positive", "selected", "win", "pos", "y_w"),
        *("chosen_response", "response_chosen", "chosen_answer", "answer_chosen", "chosen_output", "response_w"),
        *("better_response", "better_answer", "answer_better", "preferred_output", "preferred_response"),
        *("preferred_answer", "accepted_response", "good_response", "answer_pos", "response_better", "winner_response"),
    ),
    "rejected": (
        *("rejected", "worse", "dispreferred", "refused", "bad", "negative", "reject", "lose", "neg", "y_l"),
        *("rejected_response", "response_rejected", "rejected_answer", "answer_rejected", "rejected_output"),
        *("worse_response", "worse_answer", "answer_worse", "non_preferred_output", "dispreferred_response"),
        *("dispreferred_answer", "bad_response", "answer_neg", "response_worse", "loser_response", "response_l"),
    ),
    "answers": ("answers", "responses", "completions", "generations", "outputs", "candidates", "candidate_responses"),
    "scores": ("scores", "ratings", "rewards", "grades"),
    "ranks": ("ranks", "ranking", "rankings"),
    "answer": ("answer", "response", "completion", "output", "reply", "generation"),
    "score": ("score", "rating", "grade", "reward", "label", "overall_score"),
    "rank": ("rank",),
    "winner": (
        *("winner", "preference", "preferred", "label", "choice", "better_response_id", "chosen_id", "better"),
        *("overall_preference", "annotation", "preferred_answer", "best", "verdict"),
    ),
    "cluster": ("cluster",),
    "split": ("split",),
    "id": ("id",),
}
"""What a row may hold, and the names that it usually has, the likelier first."""
_STEMS = ("response", "answer", "completion", "output", "option", "reply", "conversation", "text", "candidate", "model")
_ENDS = (("a", "b"), ("0", "1"), ("1", "2"))
TARGETS = (*USUAL, "a", "b")
"""What `--columns` may name."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The user's name of each thing that their rows hold, and in which form a row gives pairs."""

    form: Form
    names: Mapping[str, str]

    def rename(self, row: Row) -> dict[str, Any]:
        """A row under our names; what is mapped to nothing is left out, what the readers mark stays."""
        marked = {EXTRA: row[EXTRA]} if EXTRA in row else {}
        return marked | {ours: found for ours, name in self.names.items() if (found := _at(row, name)) is not _ABSENT}


_ABSENT = object()


def find_columns(rows: Sequence[Row], given: Mapping[str, str], place: str) -> Columns:
    """The columns of rows: those `given`, then by the usual names.

    Raises HarnessError for a target or a column that is not there, and where no form is complete; it names the fields
    that are there.
    """
    fields = list(dict.fromkeys(str(name) for row in rows for name in row))
    names = dict(_given(given, fields, rows, place))
    for ours, usual in USUAL.items():
        if ours not in names and (found := _usual(usual, fields, given.values())):
            names[ours] = found
    if not {"a", "b"} <= set(names):
        names |= _two_answers(fields)
    if names.get("input") == names.get("prompt") or ("prompt" in given and "input" not in given):
        names.pop("input", None)
    form = _form(names, given)
    if form is None:
        raise HarnessError(
            f"{place}: no columns for a better and a worse answer; the fields are: {', '.join(fields)}; name them with "
            "--columns prompt=...,chosen=...,rejected=..., or answers and scores of several answers"
        )
    wanted = {
        *_NEEDED[form][0],
        "prompt",
        "input",
        "history",
        "system",
        "cluster",
        "split",
        "id",
        "scores",
        "ranks",
        "score",
        "rank",
    }
    return Columns(form, {ours: name for ours, name in names.items() if ours in wanted})


_NEEDED: Mapping[Form, tuple[tuple[str, ...], ...]] = {
    "pair": (("chosen", "rejected"),),
    "choice": (("a", "b", "winner"),),
    "list": (("answers", "scores"), ("answers", "ranks"), ("answers",)),
    "single": (("answer", "score"), ("answer", "rank")),
}


def _form(names: Mapping[str, str], given: Mapping[str, str]) -> Form | None:
    """The first form all of whose columns are there; those that the user named decide before the others."""
    complete: list[Form] = [form for form, ways in _NEEDED.items() if any(set(way) <= set(names) for way in ways)]
    asked: list[Form] = [form for form in complete if any(ours in given for way in _NEEDED[form] for ours in way)]
    best = asked or complete
    return best[0] if best else None


def _given(
    given: Mapping[str, str], fields: Collection[str], rows: Sequence[Row], place: str
) -> Iterable[tuple[str, str]]:
    for ours, name in given.items():
        if ours not in TARGETS:
            raise HarnessError(f"--columns: unknown {ours!r}; {nearest(ours, TARGETS)}")
        if all(_at(row, name) is _ABSENT for row in rows):
            known = ", ".join(fields)
            close = nearest(name, fields)
            hint = f"; {close}" if close.startswith("did you mean") else ""
            raise HarnessError(f"{place}: no column {name!r} for {ours!r}; the fields are: {known}{hint}")
        yield ours, name


def _usual(usual: Iterable[str], fields: Iterable[str], taken: Collection[str]) -> str | None:
    plain = {_plain(field): field for field in fields if field not in taken}
    return next((plain[name] for name in usual if name in plain), None)


def _two_answers(fields: Iterable[str]) -> dict[str, str]:
    """The columns of two answers that a third column chooses between: `response_a` and `response_b`, and the like."""
    plain = {_plain(field): field for field in fields}
    for stem in _STEMS:
        for first, second in _ENDS:
            for joint in ("_", ""):
                a, b = f"{stem}{joint}{first}", f"{stem}{joint}{second}"
                if a in plain and b in plain:
                    return {"a": plain[a], "b": plain[b]}
    return {}


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _at(row: Row, name: str) -> Any:
    """The value of a column; `input.messages` is a field of the object in `input`, unless a column bears that name."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _ABSENT
        value = value[part]
    return value
