"""An honest judge, and copies of it that each break one promise: what the conformance kit must tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from harness.contracts import Judge, JudgeItem, Verdict
from harness.util.words import normalise


class HonestJudge:
    """Counts the reference's words in each answer."""

    name: ClassVar[str] = "honest"
    version: ClassVar[str] = "1"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        return [self.verdict(item) for item in items]

    def verdict(self, item: JudgeItem) -> Verdict:
        if item.reference is None:
            return Verdict(0.5, (), "", 0, 0.0, "no reference")
        p_a = 0.5 + (self.worth(item.a, item.reference) - self.worth(item.b, item.reference)) / 2
        return Verdict(p_a, (p_a,), "", 0, 0.0)

    def worth(self, answer: str, reference: str) -> float:
        wanted, found = set(normalise(reference).split()), set(normalise(answer).split())
        return len(wanted & found) / len(wanted)


class Deduplicates(HonestJudge):
    """Gives one verdict for items that are equal."""

    name = "deduplicates"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        return [self.verdict(item) for item in {(i.prompt, i.a, i.b): i for i in items}.values()]


class Scores(HonestJudge):
    """Gives scores where probabilities are asked for."""

    name = "scores"

    def verdict(self, item: JudgeItem) -> Verdict:
        found = super().verdict(item)
        return replace(found, p_a=found.p_a * 2 - 0.5)


class SilentTies(HonestJudge):
    """Fails on an empty answer and calls the failure a win."""

    name = "silent-ties"

    def verdict(self, item: JudgeItem) -> Verdict:
        if not item.a:
            return Verdict(0.9, (), "", 0, 0.0, "empty answer")
        return super().verdict(item)


class Moody(HonestJudge):
    """Changes its mind each time it is made."""

    name = "moody"
    made: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.made.append(1)

    def verdict(self, item: JudgeItem) -> Verdict:
        found = super().verdict(item)
        return replace(found, p_a=min(1.0, found.p_a * (1 + 0.2 * (len(self.made) % 2))))


class LikesFirst(HonestJudge):
    """Likes what stands first, unless both are the same."""

    name = "likes-first"

    def verdict(self, item: JudgeItem) -> Verdict:
        found = super().verdict(item)
        return found if item.a == item.b else replace(found, p_a=0.2 + 0.8 * found.p_a)


class LikesItself(HonestJudge):
    """Finds that an answer is better than itself."""

    name = "likes-itself"

    def verdict(self, item: JudgeItem) -> Verdict:
        found = super().verdict(item)
        return replace(found, p_a=0.8) if item.a == item.b else found


class Tires(HonestJudge):
    """Becomes less sure from item to item."""

    name = "tires"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        return [self.tired(self.verdict(item), index) for index, item in enumerate(items)]

    def tired(self, verdict: Verdict, index: int) -> Verdict:
        return replace(verdict, p_a=0.5 + (verdict.p_a - 0.5) / (1 + index))


class Normalises(HonestJudge):
    """Is the surer, the more it is asked in one call."""

    name = "normalises"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        share = len(items) / (1 + len(items))
        return [replace(v, p_a=0.5 + (v.p_a - 0.5) * share) for v in super().compare(items)]


class ReadsIds(HonestJudge):
    """Looks at the id."""

    name = "reads-ids"

    def verdict(self, item: JudgeItem) -> Verdict:
        found = super().verdict(item)
        return replace(found, p_a=0.5 + (found.p_a - 0.5) * (0.9 if item.id.startswith("other") else 1.0))


class Indifferent(HonestJudge):
    """Calls everything a tie."""

    name = "indifferent"

    def worth(self, answer: str, reference: str) -> float:
        return 0.0


class LikesLong(HonestJudge):
    """Is impressed by many words, however empty."""

    name = "likes-long"

    def worth(self, answer: str, reference: str) -> float:
        return 1.0 if len(answer) > 100 else super().worth(answer, reference) * 0.9


BROKEN: dict[type[Judge], str] = {
    Deduplicates: "one_verdict_each",
    Scores: "figures_valid",
    SilentTies: "statuses",
    Moody: "same_twice",
    LikesFirst: "antisymmetric",
    LikesItself: "identical_pair_is_a_tie",
    Tires: "order_of_items",
    Normalises: "batch",
    ReadsIds: "ids",
    Indifferent: "positive_control",
    LikesLong: "null_answer",
}
"""Every broken judge, with the check that must catch it."""
