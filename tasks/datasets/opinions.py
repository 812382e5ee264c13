"""How the people of a group answered a survey's questions: rows in two layouts, read into ratings by group.

A row of a folder is one group's answers to one question: `question` (its text, with lettered options), `options`,
`attribute` (the group), `gold_distribution`. A row of the hub's GlobalOpinionQA is one question: `question`, `options`,
and `selections`, which maps every country to its distribution.

Santurkar et al. 2023, "Whose Opinions Do Language Models Reflect?", arXiv:2303.17548 (MIT). Durmus et al. 2023,
"Towards Measuring the Representation of Subjective Global Opinions in Language Models", arXiv:2306.16388 (CC BY-NC-SA
4.0). The health parts of both: Shetty et al. 2025, "VITAL", arXiv:2502.13775.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from string import ascii_uppercase
from typing import Any

from harness.contracts import Dataset, HarnessError, Rating, Ratings, Source
from harness.util.hashes import content_hash
from harness.util.words import normalise
from tasks.datasets.documents import Row

ROUNDING = 0.05
"""How far published shares may sum from 1; they are divided by their sum."""
FOLDER_SPLITS: Mapping[str, str] = {"pool": "all", "eval": "all"}
"""A folder holds one file: groups and questions are divided by the draw, not by the data."""


@dataclass(frozen=True, slots=True)
class Surveys:
    """Every question with two options or more, under every group with enough of them.

    A question is known by its normalised text, options included. Of a text that stands twice under one group the first
    row counts.
    """

    dataset: Dataset
    least: int
    """Groups with fewer questions are left out."""

    @property
    def name(self) -> str:
        """The data set's name, for messages."""
        return self.dataset.folder

    def groups(self, source: Source) -> Ratings:
        """Ratings by group, both in a fixed order. Raises HarnessError naming a malformed row."""
        found: dict[str, dict[str, Rating]] = {}
        for group, rating in self._ratings(source):
            if len(rating.options) > 1:
                found.setdefault(group, {}).setdefault(rating.question, rating)
        return {group: tuple(r.values()) for group, r in sorted(found.items()) if len(r) >= self.least}

    def _ratings(self, source: Source) -> Iterator[tuple[str, Rating]]:
        dataset = self.dataset
        if source.kind == "hub":
            if not dataset.hub:
                raise HarnessError(
                    f"pool {self.name!r} is on no hub; use --data PATH with a folder {self.name!r} below it"
                )
            dataset = replace(dataset, splits={"pool": "train"})
        for number, row in enumerate(source.rows(dataset, "pool"), start=1):
            yield from _read(row, f"{self.name} row {number}")


def revision(groups: Ratings) -> str:
    """Hash of every group's ratings."""
    return content_hash({group: [asdict(rating) for rating in ratings] for group, ratings in groups.items()})


OPINIONQA = Surveys(Dataset(folder="opinionqa", hub="", splits=FOLDER_SPLITS), least=1)
"""Pew's surveys by US demographic group (the health part of OpinionQA)."""
GLOBAL_OPINIONS = Surveys(
    Dataset(folder="global_opinions", hub="Anthropic/llm_global_opinions", splits=FOLDER_SPLITS), least=24
)
"""Cross-national surveys by country (GlobalOpinionQA)."""


def rating(text: str, options: Sequence[str], shares: Sequence[float], place: str) -> Rating:
    """One group's opinion on a question whose text holds its options; shares are divided by their sum.

    Raises HarnessError naming `place` where there is not one share per option or they are far from summing to 1.
    """
    numbers = all(isinstance(share, int | float) for share in shares)
    total = math.fsum(shares) if numbers else math.nan
    fitting = len(options) == len(shares) and abs(total - 1) <= ROUNDING and all(share >= 0 for share in shares)
    if not (text.strip() and options and fitting):
        raise HarnessError(
            f"{place} is malformed: expected a question and one share per option, summing to 1; "
            f"found {len(options)} options and {len(shares)} shares that sum to {total:g}"
        )
    identity = content_hash(normalise(text))[:16]
    return Rating(identity, text.strip(), tuple(options), tuple(share / total for share in shares))


def lettered(question: str, options: Sequence[str]) -> str:
    """A question with its options, in the form in which the folder's rows have it."""
    listed = " ".join(f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
    return f"Question: {question.strip()}\nOptions: {listed}\nAnswer:"


def _read(row: Row, place: str) -> Iterator[tuple[str, Rating]]:
    """One rating of a folder's row, one for each country of a hub's row."""
    question, options, shares = row.get("question"), _listed(row.get("options")), row.get("gold_distribution")
    group, shares = row.get("attribute"), _literal(shares) if isinstance(shares, str) else shares
    asked = question if isinstance(question, str) and options else ""
    if asked and isinstance(group, str) and group.strip() and isinstance(shares, Sequence):
        yield group, rating(asked, options, shares, place)
    elif asked and (selections := _mapped(row.get("selections"))):
        for country, shares in selections.items():
            if not (isinstance(country, str) and country.strip() and isinstance(shares, Sequence)):
                raise HarnessError(f"{place} is malformed: expected shares by country, found {country!r}: {shares!r}")
            yield country, rating(lettered(asked, options), options, shares, f"{place}, {country}")
    else:
        raise HarnessError(
            f"{place} is malformed: expected question, options, attribute and gold_distribution, or selections"
        )


def _listed(options: Any) -> tuple[str, ...]:
    """Option texts; the hub has the list as Python writes it."""
    found = _literal(options) if isinstance(options, str) else options
    return tuple(map(str, found)) if isinstance(found, Sequence) and not isinstance(found, str) else ()


def _mapped(selections: Any) -> Mapping[str, Sequence[float]]:
    """Shares by country; the hub has the mapping as Python writes a defaultdict."""
    if isinstance(selections, str):
        selections = _literal(selections[selections.find("{") : selections.rfind("}") + 1])
    return selections if isinstance(selections, Mapping) else {}


def _literal(text: str) -> Any:
    """The value that a Python literal stands for, or None."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
