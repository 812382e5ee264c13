"""Pools of labelled pairs: UltraFeedback, HH harmless-base, LiveQA-Med's graded answers, and any file of pairs.

A row gives a pair in one of these layouts, on the hub as in a folder:

    prompt (or question), chosen, rejected     texts
    the same, any of them a list of messages   {"role": "user", "content": "..."}; of an answer the last turn counts
    chosen, rejected                           whole conversations, as lists of messages or as a transcript
                                               "\\n\\nHuman: ...\\n\\nAssistant: ..."; what both share is the prompt

Bai et al. 2022, "Training a Helpful and Harmless Assistant with RLHF", arXiv:2204.05862 (MIT). Cui et al. 2023,
"UltraFeedback", arXiv:2310.01377 (MIT). Ben Abacha et al. 2017, "Overview of the Medical Question Answering Task at
TREC 2017 LiveQA"; Ben Abacha and Demner-Fushman 2019, MedQuAD, arXiv:1901.08079 (CC BY 4.0).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, ClassVar, TypeVar

from harness.contracts import (
    Dataset,
    HarnessError,
    Message,
    Messages,
    Pair,
    Pool,
    Prompt,
    Ratings,
    Role,
    Source,
    Verifier,
    user,
)
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash

HUMAN = "\n\nHuman:"
_TURN = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS: Mapping[str, Role] = {"Human": "user", "Assistant": "assistant"}
_ROLES: Mapping[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_HEADER = re.compile(r"\AQuestion:.*?\nURL:[^\n]*\nAnswer:", re.DOTALL)
"""What stands before every answer of LiveQA-Med: the source's own question and address."""

Row = Mapping[str, Any]
T = TypeVar("T")
Q = TypeVar("Q")


@dataclass(frozen=True, slots=True)
class Labelled:
    """The pairs of a split, and how many rows gave none, by reason."""

    pairs: tuple[Pair, ...]
    dropped: Mapping[str, int]


class PairPool:
    """What the pools of this module share; a pool of another data set in one of the layouts sets the three names only.

    Rows without a usable pair are left out and counted (`dropped`): an empty prompt or answer, two equal answers,
    conversations that differ before the last turn, a pair that stood before.
    """

    name: ClassVar[str]
    licence: ClassVar[str]
    dataset: ClassVar[Dataset]

    def labelled(self, source: Source, split: str = "pool") -> Labelled:
        """Pairs and reasons of a split. Raises HarnessError naming a row in none of the layouts."""
        return read_pairs(source.rows(self.dataset, split), f"{self.name} {split}")

    def revision(self, source: Source) -> str:
        """Hash of every pair of the training split as rendered: of the rows and of the templates."""
        return content_hash([asdict(pair) for pair in self.pairs(source)])

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """Every usable pair of a split; pairs of one prompt are one cluster. Raises HarnessError as `labelled` does."""
        return self.labelled(source, split).pairs

    def dropped(self, source: Source, split: str = "pool") -> Mapping[str, int]:
        """How many rows of a split gave no pair, by reason."""
        return self.labelled(source, split).dropped

    def questions(self, source: Source) -> Mapping[str, str]:
        """The user's turns of every training pair, by pair id."""
        return {pair.id: asked(pair.prompt) for pair in self.pairs(source)}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every distinct prompt of the training pairs, under the id of its cluster."""
        distinct = {pair.unit: pair.prompt for pair in self.pairs(source)}
        return [Prompt(unit, messages) for unit, messages in distinct.items()]

    def groups(self, source: Source) -> Ratings:
        """None: nobody's opinions."""
        return {}

    def verifier(self, source: Source) -> Verifier | None:
        """None: no answer is right or wrong."""
        return None


class UltraFeedbackPool(PairPool):
    """Instructions with answers of many models, graded by a language model (binarised)."""

    name: ClassVar[str] = "ultrafeedback"
    licence: ClassVar[str] = "MIT"
    dataset: ClassVar[Dataset] = Dataset(folder="ultrafeedback", hub="trl-lib/ultrafeedback_binarized")


class HHHarmlessPool(PairPool):
    """Conversations that try to draw out harm, with the less harmful of two answers; offensive by design."""

    name: ClassVar[str] = "hh_harmless"
    licence: ClassVar[str] = "MIT"
    dataset: ClassVar[Dataset] = Dataset(folder="hh_harmless", hub="Anthropic/hh-rlhf", hub_folder="harmless-base")


class OwnPairsPool(PairPool):
    """Anybody's pairs in any of this module's layouts: a file, a data set of the hub, or a folder with one `pairs`.

    A file has no splits: every `held` th prompt by a hash of its text, with all its pairs, is held out.
    """

    name: ClassVar[str] = "pairs"
    licence: ClassVar[str] = "that of the data you point at"
    dataset: ClassVar[Dataset] = Dataset(folder="pairs", hub="")
    held: ClassVar[int] = 5

    def labelled(self, source: Source, split: str = "pool") -> Labelled:
        """Pairs and reasons of a split. Raises HarnessError naming a row in none of the layouts."""
        found = super().labelled(source, split)
        if source.kind != "file":
            return found
        kept = [p for p in found.pairs if self._held_out(p) == (split == "eval")]
        return Labelled(tuple(kept), found.dropped)

    def _held_out(self, pair: Pair) -> bool:
        return int(content_hash("held out", pair.unit)[:8], 16) % self.held == 0


class LiveQAMedPool(PairPool):
    """Consumers' health questions with answers graded by experts: 1 incorrect, 2 related, 3 incomplete, 4 excellent.

    Two answers to one question are a pair where their grades differ by `gap` or more; the question is the cluster. An
    answer that was graded more than once has the mean of its grades. Of a question's pairs the first `per_question` by
    a hash of their texts are taken; one pair of every question stands before the second of any.
    """

    name: ClassVar[str] = "liveqa_med"
    licence: ClassVar[str] = "CC BY 4.0"
    dataset: ClassVar[Dataset] = Dataset(folder="liveqa_med", hub="")
    gap: ClassVar[float] = 1.0
    """Least difference of two answers' grades."""
    per_question: ClassVar[int] = 8
    """Most pairs of one question: without a bound two or three questions would be half of all pairs."""

    def labelled(self, source: Source, split: str = "pool") -> Labelled:
        """Pairs of a split, and the number of empty answers. Raises HarnessError naming a malformed row."""
        graded, empty = _grades(source.rows(self.dataset, split))
        chosen = [
            answer_pairs(question, user(question), better_and_worse(grades, self.gap))[: self.per_question]
            for question, grades in graded.items()
        ]
        return Labelled(in_turn(chosen), {"empty": empty} if empty else {})


def better_and_worse(grades: Mapping[str, float], gap: float) -> list[tuple[str, str]]:
    """Every two answers of one question whose grades differ by `gap` or more, the better one first."""
    return [(a, b) for a, high in grades.items() for b, low in grades.items() if high - low >= gap]


def answer_pairs(question: object, prompt: Messages, ordered: Iterable[tuple[str, str]]) -> list[Pair]:
    """Pairs of one question, in an order that no answer's place in the data decides; the question is the cluster.

    `question` is what the ids are hashed from: the text, or the turns of a conversation.
    """
    cluster = content_hash(question)[:16]
    found = {content_hash(question, better, worse)[:16]: (better, worse) for better, worse in ordered}
    return [Pair(identity, prompt, *found[identity], cluster) for identity in sorted(found)]


def in_turn(lists: Sequence[Sequence[T]]) -> tuple[T, ...]:
    """The first of every list, then the second of every list, and so on."""
    return tuple(item for turn in zip_longest(*lists, fillvalue=None) for item in turn if item is not None)


def read_pairs(rows: Iterable[Row], place: str) -> Labelled:
    """The pairs of rows in any of the layouts. Raises HarnessError naming `place` and row where one is in none."""
    pairs: dict[str, Pair] = {}
    dropped: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        prompt, chosen, rejected = _sides(row, f"{place} row {number}")
        if fault := _fault(prompt, chosen, rejected):
            dropped[fault] += 1
            continue
        pair = _pair(row, prompt, chosen, rejected)
        dropped["repeated"] += pair.id in pairs
        pairs.setdefault(pair.id, pair)
    return Labelled(tuple(pairs.values()), {reason: count for reason, count in sorted(dropped.items()) if count})


def asked(prompt: Messages) -> str:
    """The user's turns of a prompt, for the leak gate."""
    return "\n".join(message.content for message in prompt if message.role == "user")


def prompt_of(value: Any, place: str) -> Messages:
    """A text, a list of messages or a transcript as messages; the open "Assistant:" that ends a transcript is no turn.

    Raises HarnessError naming `place` where it is neither.
    """
    if isinstance(value, str) and not value.startswith(HUMAN):
        return user(value.strip())
    turns = _turns(value, place)
    return turns[:-1] if turns and turns[-1] == Message("assistant", "") else turns


def turns_of(transcript: str) -> Messages:
    """A transcript of "Human:" and "Assistant:" turns as messages; turns in a row of one speaker are one message."""
    parts = _TURN.split(transcript)
    return _merged(Message(_SPEAKERS[who], text) for who, text in zip(parts[1::2], parts[2::2], strict=True))


# ---------------------------------------------------------------- rows to pairs


def _sides(row: Row, place: str) -> tuple[Messages | None, str, str]:
    """(prompt, chosen, rejected); no prompt where the two conversations differ before their last turns."""
    given = row.get("prompt", row.get("question"))
    (before, chosen), (other, rejected) = (
        _side(row.get(side), given is not None, f"{place}: {side!r}") for side in ("chosen", "rejected")
    )
    if given is not None:
        return prompt_of(given, f"{place}: 'prompt'"), chosen, rejected
    return before if before == other else None, chosen, rejected


def _side(value: Any, prompted: bool, place: str) -> tuple[Messages, str]:
    """(the turns before, the answer): of a plain text no turn, where a prompt stands elsewhere."""
    if isinstance(value, str) and prompted:
        return (), value.strip()
    turns = _turns(value, place)
    if not turns or turns[-1].role != "assistant":
        raise HarnessError(
            f"{place} does not end with the assistant's turn; a conversation up to the answer was expected"
        )
    return turns[:-1], turns[-1].content


def _turns(value: Any, place: str) -> Messages:
    if isinstance(value, str) and value.startswith(HUMAN):
        return turns_of(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _merged(_message(turn, place) for turn in value)
    raise HarnessError(
        f"{place} is malformed: expected prompt, chosen and rejected as texts or lists of messages, "
        f'or chosen and rejected as transcripts that start with "Human:" after an empty line'
    )


def _message(turn: Any, place: str) -> Message:
    role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, Mapping) else (None, None)
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None or not isinstance(content, str):
        raise HarnessError(f"{place} holds a malformed message: expected a role ({', '.join(_ROLES)}) and a content")
    return Message(known, content)


def _merged(turns: Iterable[Message]) -> Messages:
    """Stripped turns, those in a row of one speaker joined: many chat templates insist on taking turns."""
    merged: list[Message] = []
    for turn in turns:
        text = turn.content.strip()
        if merged and merged[-1].role == turn.role:
            merged[-1] = Message(turn.role, f"{merged[-1].content}\n\n{text}".strip())
        else:
            merged.append(Message(turn.role, text))
    return tuple(merged)


def _fault(prompt: Messages | None, chosen: str, rejected: str) -> str | None:
    """Why no pair can be made, or None."""
    if prompt is None:
        return "other_prompt"
    if not (prompt and prompt[-1].role == "user" and prompt[-1].content and chosen and rejected):
        return "empty"
    return "identical" if chosen == rejected else None


def _pair(row: Row, prompt: Messages | None, chosen: str, rejected: str) -> Pair:
    messages = prompt or ()
    identity = content_hash([asdict(message) for message in messages], chosen, rejected)[:16]
    cluster = row.get("cluster")
    if cluster is None or cluster == "":  # 0 is a name like any other
        cluster = content_hash([asdict(message) for message in messages])[:16]
    return Pair(identity, messages, chosen, rejected, str(cluster))


# ---------------------------------------------------------------- graded answers


def _grades(rows: Iterable[Row]) -> tuple[dict[str, dict[str, float]], int]:
    """(mean grade of every distinct answer by question, number of empty answers)."""
    given = list(map(_judgement, rows))
    filled = [judgement for judgement in given if judgement[1]]
    return mean_grades(filled), len(given) - len(filled)


def mean_grades(judgements: Iterable[tuple[Q, str, float]]) -> dict[Q, dict[str, float]]:
    """The mean grade of every distinct answer, by question, from (question, answer, grade)."""
    given: dict[Q, dict[str, list[float]]] = {}
    for question, answer, grade in judgements:
        given.setdefault(question, {}).setdefault(answer, []).append(grade)
    return {q: {a: sum(g) / len(g) for a, g in answers.items()} for q, answers in given.items()}


def _judgement(row: Row) -> tuple[str, str, float]:
    question, answer, grade = row.get("question"), row.get("answer"), row.get("grade")
    if not (isinstance(question, str) and question.strip() and isinstance(answer, str) and grade in (1, 2, 3, 4)):
        named = row.get("doc", row.get("qid"))
        raise HarnessError(f"liveqa_med row {named!r} is malformed: expected question, answer and a grade from 1 to 4")
    return question.strip(), answer_text(answer), float(grade)


def answer_text(answer: str) -> str:
    """An answer without its header (question and address of its source) and the parenthesis that closes every row."""
    body, headers = _HEADER.subn("", answer)
    body = body.strip()
    return body.removesuffix(")").rstrip() if headers else body


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pools of this module."""
    return [UltraFeedbackPool, HHHarmlessPool, LiveQAMedPool, OwnPairsPool]
