"""Rows of care_protocol: a patient's question, the level of urgency that it calls for, and two answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contracts import Dataset, HarnessError, Messages, Pair, Source, user
from tasks.datasets.care_rules import LEVELS

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


def pairs_of(found: Sequence[Case], split: str) -> list[Pair]:
    """One pair per question.

    In the split `pool` a question is a unit of the draw: the two questions of a scenario are two patients, with other
    words and details. In the split `eval` the scenario is the unit, and intervals resample scenarios.
    """
    units = {case.id: None if split == "pool" else case.scenario for case in found}
    return [Pair(case.id, case.prompt, case.chosen, case.rejected, units[case.id]) for case in found]


def _case(row: Row, place: str) -> Case:
    texts = {name: row.get(name) for name in FIELDS}
    for name, value in texts.items():
        if not isinstance(value, str) or not value.strip():
            raise HarnessError(f"{place}: {name!r} is malformed: a text was expected, not {str(value)[:80]!r}")
    level = row.get("level")
    if level not in LEVELS:
        raise HarnessError(f"{place}: level {str(level)[:80]!r} is unknown; one of {', '.join(LEVELS)} was expected")
    return Case(**{name: str(value).strip() for name, value in texts.items()}, level=str(level))
