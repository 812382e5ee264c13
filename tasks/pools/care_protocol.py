"""Patients' questions with an answer that keeps a clinic's house rules and one that does not, and their verifier.

Rules and levels are those of `tasks.datasets.care_rules`. The prompt is the patient's question alone: what the rules
are can be learned from the pairs only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import ClassVar

from harness.contracts import Dataset, GoldAnswers, Pair, Pool, Prompt, Ratings, Source, Spans
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.datasets.care_protocol import DATASET, LICENCE, cases, pairs_of
from tasks.datasets.care_rules import VERSION, check, level_of, share


def keeps_protocol(level: str, completion: str) -> float:
    """The share of what is asked of an answer, in sevenths: the six rules, and the right level."""
    return share([*check(completion).values(), level_of(completion) == level])


class CareProtocolPool:
    """Answers that keep a clinic's house rules, each paired with an answer that breaks some.

    What the independent unit is, `pairs_of` says.
    """

    name: ClassVar[str] = "care_protocol"
    licence: ClassVar[str] = LICENCE
    dataset: ClassVar[Dataset] = DATASET
    spans: ClassVar[Spans] = "positional"
    """Answers end with a question; they carry no final-answer marker."""

    def revision(self, source: Source) -> str:
        """Hash of every row of the training split as read, and of the version of the rules, which the verifier uses."""
        return content_hash([asdict(case) for case in cases(source, "pool")], VERSION)

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """An answer that keeps all rules, and one that breaks one or two or has the wrong level."""
        return pairs_of(cases(source, split), split)

    def questions(self, source: Source) -> Mapping[str, str]:
        """The training questions by id, which is that of pair and prompt."""
        return {case.id: case.question for case in cases(source, "pool")}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every training question."""
        return [Prompt(case.id, case.prompt) for case in cases(source, "pool")]

    def groups(self, source: Source) -> Ratings:
        """None: nobody's opinions."""
        return {}

    def verifier(self, source: Source) -> GoldAnswers:
        """The share of rules met, the right level among them."""
        return GoldAnswers({case.id: case.level for case in cases(source, "pool")}, keeps_protocol)


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pool of this module."""
    return [CareProtocolPool]
