"""Questions about groups, their options, and ratings that were bought."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import ChooseRequest, HarnessError, Messages, Pair, Rating, Ratings, Span, user
from harness.util.hashes import content_hash
from harness.util.names import nearest
from harness.util.words import normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]


LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


LEAST = 1e-6
"""Smallest probability that a prediction may give, so that its logarithm is finite."""


_QUESTION = re.compile(r"^\s*question\s*:\s*", re.IGNORECASE)


_ANSWER = re.compile(r"\s*answer\s*:\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """What is embedded: one text per option, and in each the characters of the option itself."""

    texts: tuple[str, ...]
    spans: tuple[Span, ...]

    @property
    def key(self) -> str:
        """Name of the content: equal texts have equal keys."""
        return content_hash(self.texts, self.spans)


def plain(messages: Messages) -> str:
    """A conversation as plain text."""
    return "\n\n".join(message.content for message in messages)


def bare(prompt: str, options: Sequence[str]) -> str:
    """The question alone: without `Question:`, `Answer:`, and the list of its options where that stands at the end."""
    text = _ANSWER.sub("", _QUESTION.sub("", prompt)).strip()
    for joint in (" ", "\n"):
        listed = joint.join(_labelled(options))
        if text.endswith(listed):
            text = re.sub(r"\s*options\s*:\s*$", "", text[: -len(listed)], flags=re.IGNORECASE).strip()
    return text


def option_question(prompt: str, options: Sequence[str]) -> Question:
    """A closed question: each text holds the prompt, all listed options, and one of them as the answer.

    Raises HarnessError without options, or with more than there are letters.
    """
    if not 0 < len(options) <= len(LABELS):
        raise HarnessError(f"a question with 1 to {len(LABELS)} options was expected, {len(options)} were given")
    head = f"{bare(prompt, options)}\nOptions: {' '.join(_labelled(options))}\nAnswer: "
    return _question([f"{head}{letter}. " for letter, _ in zip(LABELS, options, strict=False)], options)


def closed_question(group: str, rating: Rating) -> ChooseRequest:
    """A rating's question, lettered and asked on behalf of a group. Raises HarnessError beyond 26 options."""
    if len(rating.options) > len(LABELS):
        raise HarnessError(
            f"question {rating.question!r} has {len(rating.options)} options; at most {len(LABELS)} can be lettered"
        )
    labels = tuple(LABELS[: len(rating.options)])
    return ChooseRequest(prompt=user(rating.prompt), labels=labels, options=rating.options, group=group)


def answers_question(prompt: str, answers: Sequence[str]) -> Question:
    """An open question and answers to it."""
    return _question([f"{prompt}\n\n"] * len(answers), answers)


def same_question(prompt: str, options: Sequence[str]) -> str:
    """A name that two askings of one question share, whatever their case, spacing and listing of options."""
    return "\x1f".join((normalise(bare(prompt, options)), *map(normalise, options)))


def _labelled(options: Sequence[str]) -> list[str]:
    return [f"{letter}. {option}" for letter, option in zip(LABELS, options, strict=False)]


def _question(heads: Sequence[str], answers: Sequence[str]) -> Question:
    texts = tuple(head + (answer if answer.strip() else ".") for head, answer in zip(heads, answers, strict=True))
    return Question(texts, tuple((len(head), len(text)) for head, text in zip(heads, texts, strict=True)))


@dataclass(frozen=True, slots=True)
class Rated:
    """A question and one source's preference for each of its options, in [0, 1], summing to 1."""

    question: Question
    y: tuple[float, ...]


def rated(ratings: Sequence[Rating]) -> tuple[Rated, ...]:
    """A group's ratings. Raises HarnessError where probabilities are not as many as options, or no numbers."""
    return tuple(Rated(option_question(r.prompt, r.options), _checked(r)) for r in ratings)


def rated_pairs(pairs: Sequence[Pair], *, swapped: bool = False) -> tuple[Rated, ...]:
    """One question per pair: y is 1 for the chosen and 0 for the rejected answer, or the reverse where `swapped`."""
    y = (0.0, 1.0) if swapped else (1.0, 0.0)
    return tuple(Rated(answers_question(plain(p.prompt), (p.chosen, p.rejected)), y) for p in pairs)


def known_group(group: str | None, groups: Ratings | Mapping[str, Any]) -> str:
    """The group asked for. Raises HarnessError naming the nearest when it is not one of the target groups."""
    if group in groups:
        return str(group)
    hint = nearest(str(group), list(groups), label="target groups")
    raise HarnessError(f"a question was asked on behalf of group {group!r}, which is no target group; {hint}")


def _checked(rating: Rating) -> tuple[float, ...]:
    y = rating.probabilities
    if len(y) != len(rating.options) or not all(0.0 <= p <= 1.0 for p in y) or abs(sum(y) - 1) > 1e-3:
        raise HarnessError(
            f"question {rating.question!r}: one probability per option, summing to 1, was expected, got {list(y)}"
        )
    return y
