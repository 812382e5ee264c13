"""Rows of a data set as documents: what a task shows and a pool draws from, under the same ids.

A document is a row in the format of the data set that lm-eval's stock task reads, which may be another than the row's
own; a row that cannot be brought into it is named in a HarnessError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contracts import Dataset, Source

Row = Mapping[str, Any]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DocumentSet:
    """A data set whose rows can be read as documents."""

    dataset: Dataset
    document: Callable[[Row, str], Document]
    """A row and its id as a document; raises HarnessError naming a row that is malformed."""
    identity: Callable[[Row], str]
    """A row's own id, or a hash of what makes it this row."""
    question: str
    """Field of a document that holds the bare question."""

    def ids(self, rows: Iterable[Row]) -> list[str]:
        """The rows' ids, numbered where one occurs again."""
        return numbered(self.identity(row) for row in rows)

    def documents(self, source: Source, split: str, limit: int | None = None) -> dict[str, Document]:
        """Documents of a split's first `limit` rows, by id, in order. Raises HarnessError naming a malformed row."""
        rows = source.rows(self.dataset, split)[:limit]
        return {identity: self.document(row, identity) for identity, row in self._named(rows)}

    def rows(self, source: Source, split: str) -> list[Row]:
        """A split's rows with the fields of their documents over their own: each is read as the task reads it."""
        rows = source.rows(self.dataset, split)
        return [{**row, **self.document(row, identity)} for identity, row in self._named(rows)]

    def texts(self, documents: Mapping[str, Document]) -> dict[str, str]:
        """The bare question of every document, by id."""
        return {identity: str(document[self.question]) for identity, document in documents.items()}

    def _named(self, rows: Sequence[Row]) -> list[tuple[str, Row]]:
        return list(zip(self.ids(rows), rows, strict=True))


def numbered(ids: Iterable[str]) -> list[str]:
    """The same ids; one that occurs again gets `.2`, `.3`, and so on."""
    seen: dict[str, int] = {}
    out: list[str] = []
    for identity in ids:
        count = seen[identity] = seen.get(identity, 0) + 1
        out.append(identity if count == 1 else f"{identity}.{count}")
    return out
