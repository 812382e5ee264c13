"""A run by what the user calls it, in the stores that were named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cli.options import DEFAULT_STORE
from harness.contracts import HarnessError
from harness.records.schema import Record
from harness.records.store import Store
from harness.util.names import nearest
from harness.util.safe_text import cut


@dataclass(frozen=True, slots=True)
class Found:
    """A record, and the store that it lies in."""

    record: Record
    store: Store


def find(run: str, stores: Sequence[Path] | None) -> Found:
    """The run of an id, an unambiguous beginning of an id, a run's folder or its record.json.

    Raises HarnessError with the nearest id when there is none.
    """
    place = Path(run)
    if place.name == "record.json":
        place = place.parent
    folder = place.resolve() if (place / "record.json").is_file() else _by_id(run, stores or [DEFAULT_STORE])
    record = Store(folder.parent).record(folder.name)
    if record is None:
        raise HarnessError(f"run {cut(run)} has no record in {folder}")
    return Found(record, Store(folder.parent))


def _by_id(run: str, stores: Sequence[Path]) -> Path:
    """A run that lies in several stores is the first's."""
    found = {path.parent.name: path.parent for store in reversed(stores) for path in store.glob("[!.]*/record.json")}
    if run in found:
        return found[run]
    hits = sorted(name for name in found if name.startswith(run))
    if len(hits) == 1:
        return found[hits[0]]
    places = " or ".join(cut(str(store)) for store in stores)
    if hits:
        raise HarnessError(f"run id {run!r} is ambiguous in {places}: {', '.join(hits)}")
    raise HarnessError(f"no run {cut(run)} in {places}; {nearest(run, sorted(found))}")
