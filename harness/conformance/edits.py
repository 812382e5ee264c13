"""Sources with something changed, or watched: what a revision must notice, and what may not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.contracts import Dataset, HarnessError, Source, SourceKind

Row = Mapping[str, Any]
Rows = Sequence[Row]
Edit = Callable[[Rows], Rows]


@dataclass
class Watched:
    """A source that remembers which splits were read, and may change rows on their way."""

    source: Source
    edits: Mapping[tuple[str, str], Edit] = field(default_factory=dict)
    """By folder of the data set and our name of the split."""
    read: dict[tuple[str, str], Rows] = field(default_factory=dict)

    @property
    def kind(self) -> SourceKind:
        """That of the source behind."""
        return self.source.kind

    def describe(self) -> str:
        """As the source behind."""
        return self.source.describe()

    def announce(self) -> str:
        """As the source behind."""
        return self.source.announce()

    def rows(self, dataset: Dataset, split: str) -> Rows:
        """The rows of the source behind, changed where an edit was asked for."""
        key = (dataset.folder, split)
        if key not in self.read:
            rows = self.source.rows(dataset, split)
            self.read[key] = self.edits[key](rows) if key in self.edits else rows
        return self.read[key]


@dataclass
class Few:
    """The first rows of every split of a source: a check that changes rows reads them some dozen times."""

    source: Source
    most: int
    _kept: dict[tuple[str, str], Rows] = field(default_factory=dict)

    @property
    def kind(self) -> SourceKind:
        """That of the source behind."""
        return self.source.kind

    def describe(self) -> str:
        """As the source behind."""
        return self.source.describe()

    def announce(self) -> str:
        """As the source behind."""
        return self.source.announce()

    def rows(self, dataset: Dataset, split: str) -> Rows:
        """The first `most` rows of the source behind."""
        key = (dataset.folder, split)
        if key not in self._kept:
            self._kept[key] = self.source.rows(dataset, split)[: self.most]
        return self._kept[key]


def edits(rows: Rows) -> Iterator[tuple[str, Edit]]:
    """Changes of a split, each with its name: a row less, and each field of the first and the last row moved.

    A field takes another row's value; where all rows agree, its text gets a word more. What a reader then refuses as
    malformed tells nothing.
    """
    if len(rows) > 1:
        yield "a row less", lambda given: given[:-1]
    for place in sorted({0, len(rows) - 1} if rows else ()):
        for name, value in rows[place].items():
            others = (row[name] for row in rows if name in row and row[name] != value)
            for changed in (next(others, None), _more(value)):
                if changed is not None:
                    yield f"field {name!r} of row {place + 1}", _with(place, name, changed)


def outcome(work: Callable[[], Any]) -> Any:
    """What some work gives; None where it refuses the rows."""
    try:
        return work()
    except HarnessError:
        return None


def _with(place: int, name: str, value: Any) -> Edit:
    def edit(rows: Rows) -> Rows:
        return [{**row, name: value} if number == place else row for number, row in enumerate(rows)]

    return edit


def _more(value: Any) -> Any:
    """A value with a word more in its first text, or None where it has none."""
    if isinstance(value, str):
        return f"{value} indeed"
    if isinstance(value, list) and value:
        first = _more(value[0])
        return None if first is None else [first, *value[1:]]
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if (found := _more(inner)) is not None:
                return {**value, name: found}
    return None
