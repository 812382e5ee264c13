"""GSM8K as a source of labels: a worked solution against the same one with a false step, and a verifier.

The rejected side is made from the chosen one by `tasks.pools.false_steps.alter`: one step gets a wrong result, and all
that follows is computed from it. Which step and which result is fixed by the row's id. The calculator annotations
(`<<9*2=18>>`) that make this possible stand in neither side. Rows that give no sound pair are left out of the pairs and
counted (`dropped`); their questions stay among the prompts.

Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", arXiv:2110.14168; data MIT. The sample: Apache-2.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import ClassVar

from harness.contracts import Dataset, GoldAnswers, HarnessError, Messages, Pair, Pool, Prompt, Ratings, Source, user
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.datasets.documents import Row
from tasks.datasets.final_numbers import MARK, final_number, first_number
from tasks.datasets.gsm8k import DATASET, DOCUMENTS
from tasks.datasets.worked_solutions import Unsound, plain
from tasks.pools.false_steps import Altered, alter

SYSTEM = 'Think step by step, then end with a line "Final Answer: <number>".'
CLOSING = "Final Answer"
ROWS = 10_000
"""Solutions whose alteration is remembered: more than the data set has."""


@dataclass(frozen=True, slots=True)
class Worked:
    """A row in parts: its question, its solution with annotations, and its answer as written."""

    question: str
    solution: str
    answer: str


class Gsm8kPool:
    """Pairs, prompts and a verifier from GSM8K's training problems."""

    name: ClassVar[str] = "gsm8k"
    licence: ClassVar[str] = "MIT (public rows), Apache-2.0 (shipped sample)"
    dataset: ClassVar[Dataset] = DATASET

    def revision(self, source: Source) -> str:
        """Hash of every prompt and pair of the training split as rendered, and of the answers of rows without one."""
        pairs = self.pairs(source)
        known = {pair.id for pair in pairs}
        shown = [asdict(prompt) for prompt in self.prompts(source)], [asdict(pair) for pair in pairs]
        others = {identity: row.answer for identity, row in _rows(source, "pool") if identity not in known}
        return content_hash(*shown, others) if others else content_hash(*shown)

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """One pair of every row that can soundly be altered. Raises HarnessError naming a row that is malformed."""
        found = ((identity, row, _altered(row, identity)) for identity, row in _rows(source, split))
        return [_pair(identity, row, altered) for identity, row, altered in found if isinstance(altered, Altered)]

    def dropped(self, source: Source, split: str = "pool") -> Mapping[str, int]:
        """How many rows of a split gave no pair, by the reasons of `tasks.pools.false_steps`."""
        found = (_altered(row, identity) for identity, row in _rows(source, split))
        return dict(sorted(Counter(reason for reason in found if isinstance(reason, str)).items()))

    def questions(self, source: Source) -> Mapping[str, str]:
        """The problem of every training row."""
        return {identity: row.question for identity, row in _rows(source, "pool")}

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every training problem, with a pair (under its id) or without."""
        return [Prompt(identity, _prompt(row)) for identity, row in _rows(source, "pool")]

    def groups(self, source: Source) -> Ratings:
        """None: nobody's opinions."""
        return {}

    def verifier(self, source: Source) -> GoldAnswers:
        """1.0 where a completion's last final answer is the gold number."""
        return GoldAnswers({identity: row.answer for identity, row in _rows(source, "pool")}, gives_number)


def gives_number(gold: str, completion: str) -> float:
    """1.0 where the last "Final Answer" (or `####`) of a completion is the gold number, as written in the data.

    0.0 too where no number is given.
    """
    return float(first_number(gold) == final_number(completion))


def _rows(source: Source, split: str) -> Iterator[tuple[str, Worked]]:
    rows = source.rows(DATASET, split)
    for identity, row in zip(DOCUMENTS.ids(rows), rows, strict=True):
        yield identity, _worked(identity, row)


def _worked(identity: str, row: Row) -> Worked:
    solution, mark, answer = str(row.get("answer") or "").rpartition(MARK)
    if not (row.get("question") and mark and first_number(answer.strip()) is not None):
        raise HarnessError(
            f"gsm8k row {identity!r} is malformed: expected a question, and an answer that ends with '{MARK} <number>'"
        )
    return Worked(str(row["question"]), solution.rstrip(), answer.strip())


def _prompt(row: Worked) -> Messages:
    return user(row.question, system=SYSTEM)


def _pair(identity: str, row: Worked, altered: Altered) -> Pair:
    chosen, rejected = _answer(row.solution, row.answer), _answer(altered.text, altered.answer)
    return Pair(identity, _prompt(row), chosen, rejected, cluster=identity)


def _answer(solution: str, number: str) -> str:
    return f"{plain(solution)}\n{CLOSING}: {number}"


@lru_cache(maxsize=ROWS)
def _altered(row: Worked, seed: str) -> Altered | str:
    """The row's alteration, or the reason why there is none."""
    try:
        return alter(row.question, row.solution, row.answer, seed)
    except Unsound as unsound:
        return str(unsound)


@hookimpl
def harness_pools() -> list[type[Pool]]:
    """The pool of this module."""
    return [Gsm8kPool]
