"""The records of a study, arranged for comparison: by panel, method and draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.contracts import HarnessError
from harness.records.schema import Record
from harness.records.store import Store
from harness.stats import average_seeds
from harness.study.index import Index, IndexedCell
from leaderboards.folds import by_seed, incomplete, inflation, missing_folds, together
from leaderboards.load import Entry, with_samples
from leaderboards.rows import UNFIT, left_out, role_of, sound
from leaderboards.table import Role

Values = Mapping[str, float]
PANEL = ("task", "pool", "model", "judge", "backend", "track", "budget")
OWN_CONTROLS = {"shuffled": "labels=shuffled", "swapped": "context=swapped"}
"""Kinds of a method's own controls, and how the name of such a row says it."""
CURVE = tuple(name for name in PANEL if name != "budget")


@dataclass
class Series:
    """A method in one panel: the values of its main metric by draw, averaged over the seeds of a draw."""

    method: str
    role: Role
    records: list[Record]
    by_draw: dict[int, Values]
    base: dict[int, Values]
    """The base model's values that each draw is compared with."""
    units: dict[str, str]
    metric: str
    """The figure that is compared."""
    notes: list[str] = field(default_factory=list)
    inflation: float = 1.0
    """Variance of a mean over the units, over that of independent ones: folds share what their models learned from."""
    degenerate: bool = False
    """Whether no draw is sound: the values are then those of the unfit runs, and nothing is tested."""

    @property
    def statuses(self) -> dict[str, int]:
        """Records by status."""
        return dict(Counter(record.status for record in self.records))

    @property
    def sign(self) -> int:
        """-1 where less of the figure is better."""
        return -1 if any(self.metric in record.task.lower_is_better for record in self.records) else 1

    @property
    def needs_control(self) -> bool:
        """Whether its task asks that a method also beats itself on shuffled labels."""
        return self.role == "method" and self.records[0].task.null_by is not None

    def control_of(self, kind: str) -> str | None:
        """The method of which this is the control of that kind: the name less what makes it one."""
        name, _, rest = self.method.partition(" [")
        parts = rest.removesuffix("]").split(", ") if rest else []
        if OWN_CONTROLS[kind] not in parts:
            return None
        left = ", ".join(part for part in parts if part != OWN_CONTROLS[kind])
        return f"{name} [{left}]" if left else name


@dataclass(frozen=True)
class PanelCells:
    """One panel's cells."""

    axes: Mapping[str, Any]
    series: tuple[Series, ...]
    base: Record | None
    draw: int | None = None
    """The only draw of these cells, where every draw asks other items and has a panel of its own."""
    others: Mapping[str, Sequence[Series]] = field(default_factory=dict)
    """The figures beside the main one, and the methods that have them."""

    @property
    def asks_anew(self) -> bool:
        """Whether draws ask different items, as with groups' opinions: then no item has a mean over the draws."""
        asked = ([values.keys() for values in one.by_draw.values()] for one in self.series)
        return any(items != draws[0] for draws in asked for items in draws)


class StudyResults:
    """Every record of an index that is there, read once."""

    def __init__(self, index: Index, store: Store) -> None:
        self.index = index
        names = dict.fromkeys(name for cell in index.cells for name in (*cell.needs, cell.run))
        records = {store.run_dir(name): record for name in names if (record := _record(store, name)) is not None}
        self.entries = {entry.record.id: entry for entry in with_samples(records)}

    def counts(self) -> dict[str, int]:
        """Cells by what came of them."""
        return dict(Counter(self._status(cell) for cell in self.index.cells))

    def _status(self, cell: IndexedCell) -> str:
        return self.entries[cell.run].record.status if cell.run in self.entries else "missing"

    def groups(self) -> list[PanelCells]:
        """The panels, in the order of the study."""
        found: dict[tuple[str, ...], list[IndexedCell]] = {}
        for cell in self.index.cells:
            if cell.run in self.entries:
                found.setdefault(tuple(str(cell.axes[name]) for name in PANEL), []).append(cell)
        return [self._group(cells) for cells in found.values()]

    def by_draw(self, group: PanelCells) -> list[PanelCells]:
        """A panel that draws divide, draw by draw."""
        wanted = tuple(str(group.axes[name]) for name in PANEL)
        cells = [
            cell
            for cell in self.index.cells
            if cell.run in self.entries and tuple(str(cell.axes[name]) for name in PANEL) == wanted
        ]
        draws = sorted({int(cell.axes["draw"]) for cell in cells})
        return [self._group([cell for cell in cells if int(cell.axes["draw"]) == draw], draw) for draw in draws]

    def _group(self, cells: Sequence[IndexedCell], draw: int | None = None) -> PanelCells:
        methods: dict[str, list[IndexedCell]] = {}
        for cell in cells:
            methods.setdefault(cell.method, []).append(cell)
        base = next((e for cell in cells if (e := self._base(cell)) is not None), None)
        main = self.entries[cells[0].run].record.task.main_metric
        series = tuple(self._series(method, own, main) for method, own in methods.items())
        others = {name: self._with_values(methods, name) for name in self._other_metrics(cells, main)}
        others = {name: found for name, found in others.items() if found}
        return PanelCells(cells[0].axes, series, base.record if base is not None else None, draw, others)

    def _with_values(self, methods: Mapping[str, Sequence[IndexedCell]], metric: str) -> list[Series]:
        made = (self._series(method, cells, metric) for method, cells in methods.items())
        return [one for one in made if one.by_draw]

    def _other_metrics(self, cells: Sequence[IndexedCell], main: str) -> list[str]:
        samples = (self.entries[cell.run].samples for cell in cells)
        return sorted({name for one in samples if one is not None for name in one.values} - {main})

    def _base(self, cell: IndexedCell) -> Entry | None:
        return self.entries.get(cell.needs[0]) if cell.needs else None

    def _series(self, method: str, cells: Sequence[IndexedCell], metric: str) -> Series:
        entries = [self.entries[cell.run] for cell in cells]
        records = [entry.record for entry in entries]
        notes = [_not_ok(record) for record in records if record.status != "ok"]
        read = [entry for entry in entries if _values(entry, metric)]
        scored = sound(read) or read
        notes += [*left_out(read, scored), *incomplete(scored)]
        drawn: dict[int, list[Values]] = {}
        for (draw, _), folds in by_seed(scored).items():
            if not missing_folds(folds):
                drawn.setdefault(draw, []).append(together(folds).values[metric])
        base: dict[int, dict[str, float]] = {}
        for cell in cells:
            other = self._base(cell)
            if other is not None and (theirs := _values(other, metric)):
                base[int(cell.axes["draw"])] = base.get(int(cell.axes["draw"]), {}) | dict(theirs)
        units = {item: unit for one in scored if one.samples for item, unit in one.samples.units.items()}
        by_draw = dict(_averaged(drawn, notes))
        unfit = any(entry.record.status in UNFIT for entry in scored)
        return Series(
            method, role_of(records[0]), records, by_draw, dict(base), units, metric, notes, inflation(entries), unfit
        )


def _not_ok(record: Record) -> str:
    return f"draw {record.seed.draw}: {record.status}: {record.reason or 'no reason given'}"


def _record(store: Store, name: str) -> Record | None:
    try:
        return None if name.startswith("missing-") else store.record(name)
    except HarnessError:
        return None


def _values(entry: Entry, metric: str) -> Values:
    if entry.samples is None or entry.record.status == "failed":
        return {}
    return entry.samples.values.get(metric, {})


def _averaged(drawn: Mapping[int, list[Values]], notes: list[str]) -> Iterator[tuple[int, Values]]:
    for draw, runs in sorted(drawn.items()):
        try:
            yield draw, average_seeds(runs)
        except HarnessError as error:
            notes.append(f"draw {draw}: {error}")
