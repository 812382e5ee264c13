"""Records into tables: what may stand side by side, and what the difference to the base model says.

A table holds only records that agree in every field of `Setting`. A row is a method with its changed hyper-parameters
and version, over all its seeds: values are averaged per item over seeds, then compared with the base model on the same
items (see `harness.stats`). Of a metric more is better, unless the records say that less is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from harness.contracts import BASE
from harness.records.schema import Record
from harness.stats import ALPHA, holm
from leaderboards.between import between, on_other_figures
from leaderboards.controls import pair_with_controls
from leaderboards.folds import mean_notes
from leaderboards.load import Entry
from leaderboards.rows import compared, draft, finished
from leaderboards.settings import groups, setting, shares_base
from leaderboards.table import MethodRow, Metric, Provenance, RowVerdict, Setting, Table, Versus


def rank(entries: Sequence[Entry]) -> list[Table]:
    """Group runs into tables, ordered by task, model and budget."""
    bases = [entry for entry in entries if entry.record.aligner.name == BASE]
    files = [entry for entry in entries if entry.record.outputs is not None]
    used: set[str] = set()
    tables = []
    for shared, rows in groups([entry for entry in entries if entry not in bases and entry not in files]):
        own, read = ([e for e in some if shares_base(e.record, shared)] for some in (bases, files))
        used.update(entry.folder for entry in (*own, *read))
        tables.append(_table(shared, [*rows, *(row for _, found in groups(read) for row in found)], own))
    for shared, rows in groups([entry for entry in files if entry.folder not in used]):
        own = [entry for entry in bases if shares_base(entry.record, shared)]
        used.update(entry.folder for entry in own)
        tables.append(_table(shared, rows, own))
    shown = {_contest(entry.record) for entry in bases if entry.folder in used} - {None}
    alone = groups([e for e in bases if e.folder not in used and _contest(e.record) not in shown])
    tables += [_table(shared, [], [entry for row in rows for entry in row]) for shared, rows in alone]
    return sorted(tables, key=lambda t: (t.setting.task, t.setting.model, t.setting.labels, t.setting.key()))


def _contest(record: Record) -> str | None:
    """What a judged run of base shares with the one that was made for its answers alone; None where nobody judged."""
    return None if record.task.judge is None else setting(record, ()).key(("baseline",))


# ---------------------------------------------------------------- one table


def _table(shared: Setting, rows: Sequence[list[Entry]], bases: Sequence[Entry]) -> Table:
    main, falling = shared.main_metric, _falling([entry for row in [*rows, bases] for entry in row])
    base = draft(bases) if bases else None
    drafts = [draft(row) for row in rows]
    if shared.null_by:
        pair_with_controls(drafts)
    compared(drafts, base, main)
    made = [finished(one, main) for one in drafts]
    sign = -1 if main in falling else 1
    ordered = sorted(_judged(made, main, shared.null_by, sign), key=lambda row: _order(row, main, sign))
    if base is not None:
        ordered.insert(0, finished(base, main))
    entries = [entry for row in [*rows, bases] for entry in row]
    labelled = _labelled(ordered)
    return Table(
        setting=shared,
        rows=labelled,
        n_units=max((m.score.n for m in _main(ordered, main)), default=0),
        mdd=_least(ordered, main),
        family=sum(row.p_holm is not None for row in ordered),
        notes=mean_notes(entries),
        provenance=_provenance([entry.record for entry in entries]),
        warnings=_warnings(shared, ordered, bool(bases)),
        lower_is_better=falling,
        between=between(drafts, labelled, main),
        on_other_figures=on_other_figures(drafts, labelled, main),
    )


def _falling(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The metrics of which less is better."""
    return tuple(sorted({name for entry in entries for name in entry.record.task.lower_is_better}))


def _main(rows: Iterable[MethodRow], metric: str) -> Iterator[Metric]:
    return (row.metrics[metric] for row in rows if metric in row.metrics)


def _least(rows: Iterable[MethodRow], metric: str) -> float | None:
    """The largest of the verdicts' smallest detectable differences; None where one of them would find none."""
    found = [versus.mdd for row in rows if row.verdict is not None for versus in _rests_on(row, metric)]
    least = [value for value in found if value is not None]
    return max(least) if least and len(least) == len(found) else None


def _rests_on(row: MethodRow, metric: str) -> Iterator[Versus]:
    """The comparisons on the main metric that a row's verdict rests on."""
    main = row.metrics.get(metric)
    yield from (versus for versus in (main.versus_base if main else None, row.versus_control) if versus)


def _order(row: MethodRow, metric: str, sign: int) -> tuple[int, float, str]:
    """By score, the best first; what is degenerate after that, and what has no score last."""
    main = row.metrics.get(metric)
    place = 2 if main is None else int(row.degenerate)
    return (place, -sign * main.score.mean if main else 0.0, row.label)


def _labelled(rows: Sequence[MethodRow]) -> tuple[MethodRow, ...]:
    """Rows that share a label get their version behind it."""
    count = Counter(row.label for row in rows)
    return tuple(replace(r, label=f"{r.label} v{r.version}") if count[r.label] > 1 else r for r in rows)


def _judged(rows: Sequence[MethodRow], metric: str, null_by: str | None, sign: int) -> list[MethodRow]:
    """Holm's adjustment over the rows that are in the family, and the verdict that follows from it.

    `sign` is -1 for a metric of which less is better.
    """
    tested = {i: claim for i, row in enumerate(rows) if (claim := _claim(row, metric, null_by))}
    adjusted = dict(zip(tested, holm([p for _, p in tested.values()]), strict=True))
    return [
        replace(row, p_holm=adjusted[i], verdict=verdict(sign * tested[i][0], adjusted[i])) if i in tested else row
        for i, row in enumerate(rows)
    ]


def _claim(row: MethodRow, metric: str, null_by: str | None) -> tuple[float, float] | None:
    """(difference, p) of what a row claims; None where it claims nothing.

    Against base alone, or against base and the control: then both must be beaten, so that the larger p counts (the
    test of an intersection of hypotheses), and the smaller difference, which is 0 where the two point apart.
    """
    main = row.metrics.get(metric)
    sides = [main.versus_base if main else None, *([row.versus_control] if null_by else [])]
    found = [(side.difference, side.p) for side in sides if side is not None and side.p is not None]
    return both(found) if row.in_family and len(found) == len(sides) else None


def both(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(difference, p) of the claim that every one of these differences is there."""
    least, most = min(d for d, _ in found), max(d for d, _ in found)
    difference = least if least > 0 else most if most < 0 else 0.0
    return difference, max(p for _, p in found)


def verdict(difference: float, p: float) -> RowVerdict:
    """What a difference, positive for the better, with (adjusted) p-value `p` says at the 5 % level."""
    if p >= ALPHA or difference == 0:
        return "cannot tell"
    return "better" if difference > 0 else "worse"


def _warnings(shared: Setting, rows: Sequence[MethodRow], has_base: bool) -> tuple[str, ...]:
    found = [f"{row.label}: {remark}" for row in rows for remark in row.remarks]
    if not has_base:
        found.append(
            f"no run of {BASE} on the same items: differences are missing; "
            f"make one with: python -m harness run --aligner {BASE} --task {shared.task}"
        )
    return tuple(found)


def _provenance(records: Sequence[Record]) -> Provenance:
    made = [record.manifest for record in records]
    packages: dict[str, set[str]] = {}
    for manifest in made:
        for name, version in manifest.packages.items():
            packages.setdefault(name, set()).add(version)
    commits = {(m.git_commit or "unknown") + (" (dirty)" if m.git_dirty else "") for m in made}
    created = sorted(manifest.created for manifest in made)
    return Provenance(
        commits=tuple(sorted(commits)),
        devices=tuple(sorted({m.device for m in made})),
        threads=tuple(sorted({m.threads for m in made})),
        platforms=tuple(sorted({m.platform for m in made})),
        pythons=tuple(sorted({m.python for m in made})),
        packages={name: tuple(sorted(versions)) for name, versions in sorted(packages.items())},
        first=created[0],
        last=created[-1],
    )
