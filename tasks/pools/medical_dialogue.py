"""Patients' questions as a source of labels: pairs of a better and a worse answer, from grades or as they are given.

The layouts are those of `tasks.datasets.dialogues`. Rows without judged answers (K-QA) give prompts and no pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import ClassVar

from harness.contracts import Dataset, Pair, Pool, Prompt, Ratings, Source, Spans, Verifier
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.datasets.dialogues import DATASET, dialogues, pairs_of


class MedicalDialoguePool:
    """Pairs and prompts of patients' questions, from every known folder that the source holds."""

    name: ClassVar[str] = "medical_dialogue"
    licence: ClassVar[str] = "Apache-2.0 (shipped sample), CC BY 4.0 (LiveQA-Med), MIT (K-QA)"
    dataset: ClassVar[Dataset] = DATASET
    spans: ClassVar[Spans] = "positional"
    """These answers close with no marker."""

    def revision(self, source: Source) -> str:
        """Hash of every pair and prompt of the training split as rendered."""
        return content_hash([asdict(pair) for pair in self.pairs(source)], [asdict(p) for p in self.prompts(source)])

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """At most eight pairs of every question, one of each before the second of any; the question is the cluster.

        Raises HarnessError naming a malformed row.
        """
        return pairs_of(dialogues(source, split))

    def questions(self, source: Source) -> Mapping[str, str]:
        """The patient's turns of every training question, by its id and by those of its pairs."""
        found = dialogues(source, "pool")
        by_pair = {pair.id: dialogue.question for dialogue in found for pair in dialogue.pairs}
        return {dialogue.id: dialogue.question for dialogue in found} | by_pair

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every training question, with judged answers or without."""
        return [Prompt(dialogue.id, dialogue.prompt) for dialogue in dialogues(source, "pool")]

    def groups(self, source: Source) -> Ratings:
        """None: nobody's opinions."""
        return {}

    def verifier(self, source: Source) -> Verifier | None:
        """None: no answer is right or wrong by rule."""
        return None


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pool of this module."""
    return [MedicalDialoguePool]
