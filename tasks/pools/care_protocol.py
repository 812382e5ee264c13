"""Patients' questions with an answer that keeps a clinic's house rules and one that does not, and their verifier.

Rules and levels are those of `tasks.care_rules`. The prompt is the patient's question alone: what the rules are can be
learned from the pairs only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from harness.contracts import Dataset, HarnessError, Messages, Pair, Pool, Prompt, Ratings, Source, Verifier, user
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.care_rules import LEVELS, VERSION, check, level_of, share

DATASET = Dataset(folder="care_protocol", hub="")
LICENCE = "Apache-2.0, written for this project"
FIELDS = ("id", "scenario", "question", "chosen", "rejected")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One question, the level that it calls for, and two answers."""

    id: str
    scenario: str
    """The situation that the question describes; questions of one scenario are no independent observations."""
    level: str
    question: str
    chosen: str
    rejected: str

    @property
    def prompt(self) -> Messages:
        """The patient's question, without a system message."""
        return user(self.question)


def cases(source: Source, split: str) -> list[Case]:
    """Every row of a split. Raises HarnessError naming a malformed row, and for a hub: the rows are on none."""
    if source.kind == "hub":
        raise HarnessError("care_protocol is on no hub; use --data sample, or --data PATH with a folder care_protocol")
    return [
        _case(row, f"care_protocol {split} row {number}") for number, row in enumerate(source.rows(DATASET, split), 1)
    ]


def _case(row: Row, place: str) -> Case:
    texts = {name: row.get(name) for name in FIELDS}
    for name, value in texts.items():
        if not isinstance(value, str) or not value.strip():
            raise HarnessError(f"{place}: {name!r} is malformed: a text was expected, not {str(value)[:80]!r}")
    level = row.get("level")
    if level not in LEVELS:
        raise HarnessError(f"{place}: level {str(level)[:80]!r} is unknown; one of {', '.join(LEVELS)} was expected")
    return Case(**{name: str(value).strip() for name, value in texts.items()}, level=str(level))


@dataclass(frozen=True, slots=True)
class Protocol:
    """Rewards an answer with the share of what is asked of it: the six rules, and the right level."""

    levels: Mapping[str, str]
    """The right level by prompt id."""

    def __call__(self, prompt_id: str, completion: str) -> float:
        """Between 0 and 1, in sevenths. Raises KeyError for an unknown prompt."""
        right = level_of(completion) == self.levels[prompt_id]
        return share([*check(completion).values(), right])


class CareProtocolPool:
    """One pair per question; every question is a prompt too.

    In the split `pool` a question is a unit of the draw: the two questions of a scenario are two patients, with other
    words and details. In the split `eval` the scenario is the unit, and intervals resample scenarios.
    """

    name: ClassVar[str] = "care_protocol"
    licence: ClassVar[str] = LICENCE
    dataset: ClassVar[Dataset] = DATASET
    spans: ClassVar[str] = "positional"
    """Both sides give their parts in one order, so spans of them can be matched by position."""

    def revision(self, source: Source) -> str:
        """Hash of every row of the training split as read, and of the version of the rules, which the verifier uses."""
        return content_hash([asdict(case) for case in cases(source, "pool")], VERSION)

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """An answer that keeps all rules, and one that breaks one or two or has the wrong level."""
        return list(_pairs(cases(source, split), split))

    def questions(self, source: Source) -> Mapping[str, str]:
        """The training questions by id, which is that of pair and prompt."""
        return {case.id: case.question for case in cases(source, "pool")}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every training question."""
        return [Prompt(case.id, case.prompt) for case in cases(source, "pool")]

    def groups(self, source: Source) -> Ratings:
        """None: nobody's opinions."""
        return {}

    def verifier(self, source: Source) -> Verifier | None:
        """The share of rules met, the right level among them."""
        return Protocol({case.id: case.level for case in cases(source, "pool")})


def _pairs(found: Sequence[Case], split: str) -> Iterator[Pair]:
    for case in found:
        unit = None if split == "pool" else case.scenario
        yield Pair(case.id, case.prompt, case.chosen, case.rejected, unit)


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pool of this module."""
    return [CareProtocolPool]
