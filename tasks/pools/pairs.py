"""Pools of labelled pairs: UltraFeedback, HH harmless-base, LiveQA-Med's graded answers.

The layouts of rows are those of `tasks.datasets.layouts`; a user's own pairs are the pool of `tasks.pools.own`.

Bai et al. 2022, "Training a Helpful and Harmless Assistant with RLHF", arXiv:2204.05862 (MIT). Cui et al. 2023,
"UltraFeedback", arXiv:2310.01377 (MIT). Ben Abacha et al. 2017, "Overview of the Medical Question Answering Task at
TREC 2017 LiveQA"; Ben Abacha and Demner-Fushman 2019, MedQuAD, arXiv:1901.08079 (CC BY 4.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import ClassVar

from harness.contracts import Dataset, LeftOut, Pair, Pool, Prompt, Ratings, Source, Spans, Verifier, user
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.datasets.graded import LIVEQA_MED, answer_pairs, better_and_worse, graded_answers, in_turn
from tasks.datasets.pairs import HH_HARMLESS, ULTRAFEEDBACK, Labelled, Row, asked, read_pairs


class PairPool:
    """What the pools of this module share; a pool of another data set in one of the layouts sets the three names only.

    Rows without a usable pair are left out and counted by the reasons of `tasks.datasets.layouts`, and by `repeated`: a
    pair that stood before.
    """

    name: ClassVar[str]
    licence: ClassVar[str]
    dataset: ClassVar[Dataset]
    spans: ClassVar[Spans] = "positional"
    """These answers close with no marker."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[Sequence[Row], Labelled]] = {}

    def labelled(self, source: Source, split: str = "pool") -> Labelled:
        """Pairs and reasons of a split. Raises HarnessError naming a row where none gives a pair."""
        rows = source.rows(self.dataset, split)
        known = self._read.get(split)
        if known is None or known[0] is not rows:
            known = self._read[split] = (rows, read_pairs(rows, f"{self.name} {split}"))
        return known[1]

    def revision(self, source: Source) -> str:
        """Hash of every pair of the training split as rendered: of the rows and of the templates."""
        return content_hash([asdict(pair) for pair in self.pairs(source)])

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """Every usable pair of a split; pairs of one prompt are one cluster. Raises HarnessError as `labelled` does."""
        return self.labelled(source, split).pairs

    def dropped(self, source: Source, split: str = "pool") -> Mapping[str, int]:
        """How many rows of a split gave no pair, by reason."""
        return self.labelled(source, split).dropped

    def left_out(self, source: Source, split: str = "pool") -> LeftOut:
        """`dropped` with the number of rows read, and the first row of each reason."""
        found = self.labelled(source, split)
        return LeftOut(found.rows, found.dropped, found.examples)

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
    dataset: ClassVar[Dataset] = ULTRAFEEDBACK


class HHHarmlessPool(PairPool):
    """Conversations that try to draw out harm, with the less harmful of two answers; offensive by design."""

    name: ClassVar[str] = "hh_harmless"
    licence: ClassVar[str] = "MIT"
    dataset: ClassVar[Dataset] = HH_HARMLESS


class LiveQAMedPool(PairPool):
    """Consumers' health questions with answers graded by experts: 1 incorrect, 2 related, 3 incomplete, 4 excellent.

    Two answers to one question are a pair where their grades differ by `gap` or more; the question is the cluster. An
    answer that was graded more than once has the mean of its grades. Of a question's pairs the first `per_question` by
    a hash of their texts are taken; one pair of every question stands before the second of any.
    """

    name: ClassVar[str] = "liveqa_med"
    licence: ClassVar[str] = "CC BY 4.0"
    dataset: ClassVar[Dataset] = LIVEQA_MED
    gap: ClassVar[float] = 1.0
    """Least difference of two answers' grades."""
    per_question: ClassVar[int] = 8
    """Most pairs of one question: without a bound two or three questions would be half of all pairs."""

    def labelled(self, source: Source, split: str = "pool") -> Labelled:
        """Pairs of a split, and the number of empty answers. Raises HarnessError naming a malformed row."""
        graded, empty = graded_answers(source.rows(self.dataset, split))
        chosen = [
            answer_pairs(question, user(question), better_and_worse(grades, self.gap))[: self.per_question]
            for question, grades in graded.items()
        ]
        return Labelled(in_turn(chosen), {"empty": empty} if empty else {})


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pools of this module."""
    return [UltraFeedbackPool, HHHarmlessPool, LiveQAMedPool]
