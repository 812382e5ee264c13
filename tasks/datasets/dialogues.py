"""Patients' questions with answers that somebody judged: rows of four layouts, read into one form.

A row is known by its fields, whatever folder it stands in; its question is a text or a list of messages that ends with
the patient's turn:

    question, answer, grade                  one graded answer (LiveQA-Med): 1 incorrect, 2 related, 3 incomplete,
                                             4 excellent
    question, answer_pos, answer_neg         a better answer and a worse one (GEM's form of iCliniq)
    Question, Free_form_answer, Must_have,   a physician's answer, and what an answer must say and had better say (K-QA)
      Nice_to_have
    question, answers, Must_have,            graded answers of one question together, statements where there are any
      Nice_to_have                           (the shipped sample); answers is a list of {"grade", "text"}

Ben Abacha et al. 2017; Ben Abacha and Demner-Fushman 2019, arXiv:1901.08079 (LiveQA-Med, CC BY 4.0). Manes et al. 2024,
"K-QA", arXiv:2401.14493 (MIT). GEM, arXiv:2511.13007 (iCliniq's form).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.contracts import Dataset, DatasetAbsent, HarnessError, Messages, Pair, Source
from harness.util.hashes import content_hash
from tasks.datasets.documents import Row
from tasks.datasets.graded import answer_pairs, answer_text, better_and_worse, in_turn, mean_grades
from tasks.datasets.pairs import asked, prompt_of

LAYOUTS = ("medical_dialogue", "icliniq", "liveqa_med", "k_qa")
"""Folders that are looked for below `--data PATH`; the first is also that of the sample."""
DATASET = Dataset(folder=LAYOUTS[0], hub="")
GRADES = (1, 2, 3, 4)
GAP = 1.0
"""Least difference of two answers' grades in a pair."""
PER_QUESTION = 8
"""Most pairs of one question: without a bound two or three questions would be half of all pairs."""
SOUND = 3.0
"""An answer of a lower grade is no reference, be it the best that its question has."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One question, or one conversation up to the patient's turn, and what is known of answers to it."""

    id: str
    layout: str
    """The folder that it was first found in."""
    prompt: Messages
    grades: Mapping[str, float]
    """Mean grade, 1 to 4, of every distinct graded answer."""
    preferred: tuple[tuple[str, str], ...] = ()
    """(better, worse) answers without grades."""
    physician: tuple[str, ...] = ()
    must_have: tuple[str, ...] = ()
    nice_to_have: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """The patient's turns."""
        return asked(self.prompt)

    @property
    def statements(self) -> tuple[str, ...]:
        """What an answer must say and had better say."""
        return (*self.must_have, *self.nice_to_have)

    @property
    def pairs(self) -> list[Pair]:
        """At most eight pairs of a better and a worse answer, taken by a hash of their texts."""
        ordered = [*better_and_worse(self.grades, GAP), *self.preferred]
        return answer_pairs(_key(self.prompt), self.prompt, ordered)[:PER_QUESTION]

    @property
    def references(self) -> tuple[str, ...]:
        """The physician's answer; else the best graded ones, if incomplete at worst; else the preferred ones."""
        best = max(self.grades.values(), default=0.0)
        graded = tuple(answer for answer, grade in self.grades.items() if grade == best >= SOUND)
        return self.physician or graded or tuple(dict.fromkeys(better for better, _ in self.preferred))


@dataclass(frozen=True, slots=True)
class _Part:
    """What one row says."""

    prompt: Messages
    graded: tuple[tuple[str, float], ...] = ()
    preferred: tuple[tuple[str, str], ...] = ()
    physician: tuple[str, ...] = ()
    must_have: tuple[str, ...] = ()
    nice_to_have: tuple[str, ...] = ()


def dialogues(source: Source, split: str, layout: str = "") -> list[Dialogue]:
    """Dialogues of a split: of the folder `layout`, or of every known folder that the source holds, taken in turn.

    Rows of one question are one dialogue. Raises HarnessError naming a malformed row, and where the source holds none
    of the folders.
    """
    if source.kind == "hub":
        raise HarnessError("medical_dialogue is on no hub; use --data PATH with one of its folders below it, or sample")
    found: dict[Messages, list[_Part]] = {}
    owners: dict[Messages, str] = {}
    for folder, rows in _folders(source, split, layout).items():
        for number, row in enumerate(rows, start=1):
            part = _part(row, f"{folder} {split} row {number}")
            found.setdefault(part.prompt, []).append(part)
            owners.setdefault(part.prompt, folder)
    whole = [_dialogue(owners[prompt], parts) for prompt, parts in found.items()]
    return list(in_turn([[one for one in whole if one.layout == folder] for folder in LAYOUTS]))


def pairs_of(found: Iterable[Dialogue]) -> tuple[Pair, ...]:
    """Every dialogue's pairs, one of each before the second of any."""
    return in_turn([dialogue.pairs for dialogue in found])


def _folders(source: Source, split: str, layout: str) -> dict[str, Sequence[Row]]:
    rows: dict[str, Sequence[Row]] = {}
    absent: DatasetAbsent | None = None
    for folder in (layout,) if layout else LAYOUTS:
        try:
            rows[folder] = source.rows(Dataset(folder=folder, hub=""), split)
        except DatasetAbsent as error:
            absent = absent or error
    if not rows and absent is not None:
        raise absent if layout else HarnessError(f"{absent}; any of {', '.join(LAYOUTS)} would do")
    return rows


def _dialogue(layout: str, parts: Sequence[_Part]) -> Dialogue:
    prompt = parts[0].prompt
    graded = mean_grades(("", answer, grade) for part in parts for answer, grade in part.graded)
    return Dialogue(
        id=content_hash(_key(prompt))[:16],
        layout=layout,
        prompt=prompt,
        grades=graded.get("", {}),
        preferred=_distinct(part.preferred for part in parts),
        physician=_distinct(part.physician for part in parts),
        must_have=_distinct(part.must_have for part in parts),
        nice_to_have=_distinct(part.nice_to_have for part in parts),
    )


def _key(prompt: Messages) -> object:
    """What a question's ids are hashed from: its text where it is a single one, as the pool `liveqa_med` does."""
    return prompt[0].content if len(prompt) == 1 else [asdict(message) for message in prompt]


def _distinct(several: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(item for items in several for item in items))


# ---------------------------------------------------------------- one row


def _part(row: Row, place: str) -> _Part:
    known = [read for fields, read in _READERS if all(field in row for field in fields)]
    if not known:
        layouts = "; ".join(", ".join(fields) for fields, _ in _READERS)
        raise HarnessError(f"{place} is malformed: expected the fields of one layout ({layouts})")
    return known[0](row, place)


def _asked(row: Row, field: str, place: str) -> Messages:
    value = row[field]
    if not isinstance(value, str | list):
        raise HarnessError(f"{place}: {field!r} is malformed: expected a text or a list of messages")
    prompt = prompt_of(value, f"{place}: {field!r}")
    if not (prompt and prompt[-1].role == "user" and prompt[-1].content):
        raise HarnessError(f"{place}: {field!r} does not end with a patient's turn that holds text")
    return prompt


def _together(row: Row, place: str) -> _Part:
    prompt = _asked(row, "question", place)
    if not isinstance(row["answers"], list) or not all(isinstance(answer, Mapping) for answer in row["answers"]):
        raise HarnessError(f"{place}: 'answers' is malformed: expected a list of objects with text and grade")
    graded = [_graded(answer.get("text"), answer.get("grade"), place) for answer in row["answers"]]
    return _Part(
        prompt,
        graded=tuple(graded),
        must_have=_statements(row, "Must_have", place),
        nice_to_have=_statements(row, "Nice_to_have", place),
    )


def _single(row: Row, place: str) -> _Part:
    answer, grade = _graded(row["answer"], row["grade"], place)
    text = answer_text(answer)
    return _Part(_asked(row, "question", place), graded=((text, grade),) if text else ())


def _better_worse(row: Row, place: str) -> _Part:
    better, worse = (_text(row[field], f"{place}: {field!r}") for field in ("answer_pos", "answer_neg"))
    usable = better and worse and better != worse
    return _Part(_asked(row, "question", place), preferred=((better, worse),) if usable else ())


def _physicians(row: Row, place: str) -> _Part:
    answer = _text(row["Free_form_answer"], f"{place}: 'Free_form_answer'")
    return _Part(
        _asked(row, "Question", place),
        physician=(answer,) if answer else (),
        must_have=_statements(row, "Must_have", place),
        nice_to_have=_statements(row, "Nice_to_have", place),
    )


_READERS: tuple[tuple[tuple[str, ...], Callable[[Row, str], _Part]], ...] = (
    (("question", "answers"), _together),
    (("question", "answer", "grade"), _single),
    (("question", "answer_pos", "answer_neg"), _better_worse),
    (("Question", "Free_form_answer"), _physicians),
)


def _graded(answer: Any, grade: Any, place: str) -> tuple[str, float]:
    if not isinstance(answer, str) or isinstance(grade, bool) or grade not in GRADES:
        raise HarnessError(f"{place} is malformed: expected an answer's text and a grade from 1 to 4, not {grade!r}")
    return answer.strip(), float(grade)


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise HarnessError(f"{place} is malformed: expected a text, not {type(value).__name__}")
    return value.strip()


def _statements(row: Row, field: str, place: str) -> tuple[str, ...]:
    given = row.get(field) or []
    if not isinstance(given, list | tuple) or not all(isinstance(statement, str) for statement in given):
        raise HarnessError(f"{place}: {field!r} is malformed: expected a list of texts")
    return tuple(statement.strip() for statement in given if statement.strip())
