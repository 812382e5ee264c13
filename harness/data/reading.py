"""What a cell reads of its data, by content: every split that a pool or a task asks a source for leaves a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.contracts import Dataset, Source, SourceKind
from harness.util.hashes import plain


@dataclass(frozen=True, slots=True)
class SplitRead:
    """A split that was read: where it is, and the hash of all its rows."""

    dataset: Dataset
    split: str
    rows: str

    def as_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is the inverse."""
        return {"dataset": asdict(self.dataset), "split": self.split, "rows": self.rows}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SplitRead:
        """From what `as_json` gave."""
        return cls(Dataset(**value["dataset"]), value["split"], value["rows"])


@dataclass(slots=True)
class WatchedSource:
    """A source, and what was read through this view of it. Views share the hashes: no split is hashed twice."""

    inner: Source
    read: dict[str, SplitRead] = field(default_factory=dict)
    """What was read through this view, by data set and split."""
    _known: dict[str, SplitRead] = field(default_factory=dict, repr=False)

    def view(self) -> WatchedSource:
        """The same source, with a list of its own of what is read."""
        return WatchedSource(self.inner, _known=self._known)

    @property
    def kind(self) -> SourceKind:
        """The source's."""
        return self.inner.kind

    def describe(self) -> str:
        """The source's."""
        return self.inner.describe()

    def announce(self) -> str:
        """The source's."""
        return self.inner.announce()

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        """The source's rows, which leave their hash. Raises HarnessError as the source does."""
        rows = self.inner.rows(dataset, split)
        name = "/".join(filter(None, (dataset.folder, dataset.config, dataset.hub_folder, split)))
        if name not in self._known:
            self._known[name] = SplitRead(dataset, split, rows_hash(rows))
        self.read[name] = self._known[name]
        return rows

    def hashes(self) -> dict[str, str]:
        """Hash of the rows of every split that was read through this view."""
        return {name: read.rows for name, read in sorted(self.read.items())}


def rows_hash(rows: Sequence[Mapping[str, Any]]) -> str:
    """sha256 (hex) of rows in their order; the order of a row's fields makes no difference."""
    digest = hashlib.sha256()
    for row in rows:
        text = json.dumps(row, sort_keys=True, separators=(",", ":"), default=_plain_or_shown)
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()


def _plain_or_shown(value: Any) -> Any:
    """A date or another value of a column format that JSON does not know, as it is written."""
    return plain(value) if isinstance(value, Mapping | Sequence | bytes) or hasattr(value, "item") else repr(value)
