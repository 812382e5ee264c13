"""Records into tables: what may stand side by side, and what the difference to the base model says.

A table holds only records that agree in every field of `Setting`. A row is a method with its changed hyper-parameters
and version, over all its seeds: values are averaged per item over seeds, then compared with the base model on the same
items (see `harness.stats`). Metrics are read as "higher is better".
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from harness.contracts import BASE, HarnessError
from harness.records.schema import Record, Score, Status
from harness.stats import ALPHA, Estimate, Paired, average_seeds, holm, mean_interval, paired_test, seed_sd
from leaderboards.load import Entry
from leaderboards.table import Cost, Metric, Provenance, Row, Setting, Table, Verdict

_SEVERITY: tuple[Status, ...] = ("ok", "degenerate", "failed")
_BUDGET = ("preset", "labels", "prompts", "batch", "min_steps", "selection", "tune", "track", "cap_flops", "profile")
_TOLERANCE = 1e-6


def setting(record: Record, draw_seeds: Iterable[int]) -> Setting:
    """The table that a record belongs to, given the draws that its row was fitted on."""
    task, data, model, budget = record.task, record.data, record.model, record.budget
    return Setting(
        task=task.name,
        task_revision=task.revision,
        main_metric=task.main_metric,
        judge=task.judge,
        judge_version=task.judge_version,
        baseline=task.baseline,
        limit=task.limit,
        num_fewshot=task.num_fewshot,
        source=data.source,
        pool=data.pool,
        pool_revision=data.pool_revision,
        model=model.name,
        weights_hash=model.weights_hash,
        precision=model.precision,
        device=model.device,
        backend=model.backend,
        lora=model.lora,
        lengths=model.lengths,
        draw_seeds=tuple(sorted(set(draw_seeds))),
        **{name: getattr(budget, name) for name in _BUDGET},
    )


def rank(entries: Sequence[Entry]) -> list[Table]:
    """Group runs into tables, ordered by task, model and budget."""
    bases = [entry for entry in entries if entry.record.aligner.name == BASE]
    used: set[str] = set()
    tables = []
    for shared, rows in _groups([entry for entry in entries if entry.record.aligner.name != BASE]):
        own = [entry for entry in bases if _shares_base(entry.record, shared)]
        used.update(entry.folder for entry in own)
        tables.append(_table(shared, rows, own))
    shown = {_contest(entry.record) for entry in bases if entry.folder in used} - {None}
    alone = _groups([e for e in bases if e.folder not in used and _contest(e.record) not in shown])
    tables += [_table(shared, [], [entry for row in rows for entry in row]) for shared, rows in alone]
    return sorted(tables, key=lambda t: (t.setting.task, t.setting.model, t.setting.labels, t.setting.key()))


def _contest(record: Record) -> str | None:
    """What a judged run of base shares with the one that was made for its answers alone; None where nobody judged."""
    return None if record.task.judge is None else setting(record, ()).key(("baseline",))


def refuse_mixed(settings: Sequence[Setting]) -> None:
    """Raise HarnessError naming the fields that differ when the settings are not one."""
    if len(settings) < 2:
        return
    parts = [f"{name} ({', '.join(map(str, values))})" for name, values in differences(settings).items()]
    raise HarnessError(
        f"these runs do not fit into one table, they differ in {'; '.join(parts)}; "
        "ask for separate tables or narrow the choice"
    )


def differences(settings: Sequence[Setting]) -> dict[str, list[Any]]:
    """The fields in which settings differ, with the distinct values of each, in order of appearance."""
    found: dict[str, list[Any]] = {}
    for name in (f.name for f in fields(Setting)):
        values: list[Any] = []
        for one in settings:
            value = getattr(one, name)
            if value not in values:
                values.append(value)
        if len(values) > 1:
            found[name] = values
    return found


# ---------------------------------------------------------------- grouping


def _groups(entries: Sequence[Entry]) -> list[tuple[Setting, list[list[Entry]]]]:
    """Rows (lists of entries) by setting; a row's set of draw seeds is part of its setting."""
    rows = _bucket(entries, lambda e: setting(e.record, ()).key() + _row_key(e.record))
    tables: dict[str, list[list[Entry]]] = {}
    for row in rows:
        tables.setdefault(_setting_of(row).key(), []).append(row)
    return [
        (replace(_setting_of(part[0]), pairs_hash=pairs_hash), part)
        for rows in tables.values()
        for pairs_hash, part in _split_by_pairs(rows)
    ]


def _bucket(entries: Iterable[Entry], key: Callable[[Entry], str]) -> list[list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(key(entry), []).append(entry)
    return list(found.values())


def _row_key(record: Record) -> str:
    aligner = record.aligner
    draw = record.seed.draw if record.data.rating_ids else None  # another draw of groups asks other groups
    return json.dumps([aligner.name, aligner.version, _changed(record), draw], sort_keys=True, default=str)


def _changed(record: Record) -> dict[str, Any]:
    """What tells a row from the method as it comes: hyper-parameters, and a control of its labels."""
    return {**record.aligner.changed, **({"labels": "shuffled"} if record.data.shuffled_labels else {})}


def _setting_of(row: Sequence[Entry]) -> Setting:
    return setting(row[0].record, (entry.record.seed.draw for entry in row))


def _split_by_pairs(rows: Sequence[list[Entry]]) -> list[tuple[str | None, list[list[Entry]]]]:
    """Part rows whose records saw different pairs under one draw seed (the draw or the leak gate changed).

    Gives each part with the hash of its pairs. A record without pairs (needs none, or failed early) fits anywhere.
    """
    parts: list[tuple[dict[int, str], list[list[Entry]]]] = []
    for row in rows:
        mine = {e.record.seed.draw: _digest(ids) for e in row if (ids := _label_ids(e.record))}
        for seen, members in parts:
            if all(seen.get(draw, digest) == digest for draw, digest in mine.items()):
                seen.update(mine)
                members.append(row)
                break
        else:
            parts.append((mine, [row]))
    return [(_digest(map(str, sorted(seen.items()))) if seen else None, members) for seen, members in parts]


def _label_ids(record: Record) -> tuple[str, ...]:
    data = record.data
    return (
        *data.pair_ids,
        *(f"{group}\x1f{question}" for group, given in data.rating_ids.items() for question in given),
    )


def _digest(ids: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(sorted(ids)).encode()).hexdigest()


def _shares_base(base: Record, shared: Setting) -> bool:
    """Whether a record of the base model answers the same items in the same way as a table's rows.

    The base model is not trained, so budget, adapter shape and draw leave it as it is; only few-shot prompts make it
    depend on the labelled pairs, and a draw of groups decides what is asked.
    """
    free: tuple[str, ...] = ("lora", *_BUDGET, "draw_seeds", "pairs_hash")
    if base.data.rating_ids and base.seed.draw not in shared.draw_seeds:
        return False
    if shared.num_fewshot:
        if base.seed.draw not in shared.draw_seeds:
            return False
        free = ("lora", "draw_seeds", "pairs_hash")
    return setting(base, ()).key(free) == shared.key(free)


# ---------------------------------------------------------------- one table


def _table(shared: Setting, rows: Sequence[list[Entry]], bases: Sequence[Entry]) -> Table:
    base_values = _values(_scored(_latest(bases)[0]))[0]
    made = [_row(shared, row, base_values) for row in rows]
    ordered = sorted(_judged(made, shared.main_metric), key=lambda row: _order(row, shared.main_metric))
    if bases:
        ordered.insert(0, _row(shared, bases, None))
    entries = [entry for row in [*rows, bases] for entry in row]
    return Table(
        setting=shared,
        rows=_labelled(ordered),
        n_units=max((m.score.n for m in _main(ordered, shared.main_metric)), default=0),
        mdd=max((m.versus_base.mdd or 0.0 for m in _main(ordered, shared.main_metric) if m.versus_base), default=0.0)
        or None,
        notes=_notes(entries),
        provenance=_provenance([entry.record for entry in entries]),
        warnings=_warnings(shared, ordered, bool(bases)),
    )


def _main(rows: Iterable[Row], metric: str) -> Iterator[Metric]:
    return (row.metrics[metric] for row in rows if metric in row.metrics)


def _order(row: Row, metric: str) -> tuple[float, str]:
    main = row.metrics.get(metric)
    return (-main.score.mean if main else float("inf"), row.label)


def _labelled(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows that share a label get their version behind it."""
    count = Counter(row.label for row in rows)
    return tuple(replace(r, label=f"{r.label} v{r.version}") if count[r.label] > 1 else r for r in rows)


def _judged(rows: Sequence[Row], metric: str) -> list[Row]:
    """Holm's adjustment over the rows that were tested, and the verdict that follows from it."""
    tested = {i: m.versus_base for i, r in enumerate(rows) if (m := r.metrics.get(metric)) and m.versus_base}
    adjusted = dict(zip(tested, holm([paired.p for paired in tested.values()]), strict=True))
    return [
        replace(row, p_holm=adjusted[i], verdict=verdict(tested[i].difference, adjusted[i])) if i in tested else row
        for i, row in enumerate(rows)
    ]


def verdict(difference: float, p: float) -> Verdict:
    """What a difference with (adjusted) p-value `p` says at the 5 % level."""
    if p >= ALPHA or difference == 0:
        return "cannot tell"
    return "better" if difference > 0 else "worse"


def _warnings(shared: Setting, rows: Sequence[Row], has_base: bool) -> tuple[str, ...]:
    found = [f"{row.label}: {remark}" for row in rows for remark in row.remarks]
    if not has_base:
        found.append(
            f"no run of {BASE} on the same items: differences are missing; "
            f"make one with: python -m harness run --aligner {BASE} --task {shared.task}"
        )
    return tuple(found)


def _notes(entries: Iterable[Entry]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for entry in entries:
        for name, value in entry.record.task.notes.items():
            low, high = found.get(name, (value, value))
            found[name] = (min(low, value), max(high, value))
    return dict(sorted(found.items()))


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


# ---------------------------------------------------------------- one row


def _row(shared: Setting, entries: Sequence[Entry], base: Mapping[str, Mapping[str, float]] | None) -> Row:
    """`base` holds the base model's values by metric and item; None for the base row itself."""
    kept, remarks = _latest(entries)
    scored = _scored(kept)
    metrics, problems = _metrics(scored or kept, base)
    statuses = Counter(entry.record.status for entry in kept)
    first = kept[0].record
    return Row(
        label=label(first.aligner.name, _changed(first)),
        aligner=first.aligner.name,
        version=first.aligner.version,
        changed=_changed(first),
        seeds=tuple((e.record.seed.draw, e.record.seed.training) for e in kept),
        n_scored=len(scored),
        status=max(statuses, key=_SEVERITY.index),
        statuses={status: statuses[status] for status in _SEVERITY if statuses[status]},
        metrics=dict(sorted(metrics.items(), key=lambda item: (item[0] != shared.main_metric, item[0]))),
        p_holm=None,
        verdict=None,
        cost=_cost([entry.record for entry in scored or kept]),
        liveness=_liveness([entry.record for entry in scored or kept]),
        records=tuple(entry.record.id for entry in kept),
        # Base is cached per budget, so several equal runs of it are normal and need no remark.
        remarks=(*(remarks if base is not None else ()), *_reasons(kept), *problems),
    )


def label(name: str, changed: Mapping[str, Any]) -> str:
    """A row's name: the method and its hyper-parameters that are not the defaults."""
    parts = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in sorted(changed.items())
    ]
    return f"{name} [{', '.join(parts)}]" if parts else name


def _latest(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """One entry per seed, the newest; a remark names the older ones."""
    newest: dict[tuple[int, int], Entry] = {}
    older: list[str] = []
    for entry in sorted(entries, key=lambda e: (e.record.manifest.created, e.folder)):
        seed = (entry.record.seed.draw, entry.record.seed.training)
        if seed in newest:
            older.append(newest[seed].folder)
        newest[seed] = entry
    remarks = [f"newer runs of the same seeds replace {', '.join(older)}"] if older else []
    return [newest[seed] for seed in sorted(newest)], remarks


def _scored(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.record.status != "failed" and entry.samples is not None]


def _reasons(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        record = entry.record
        seed = f"draw {record.seed.draw}, seed {record.seed.training}"
        if record.status != "ok":
            failure = record.failure.reason if record.failure else None
            reason = record.reason or failure or "no reason given"
            yield f"{record.status} ({seed}): {reason}"
        if entry.problem:
            yield f"{entry.problem} ({seed}): no paired test of this run"


Values = dict[str, dict[str, float]]


def _values(entries: Sequence[Entry]) -> tuple[Values, list[str]]:
    """Per metric and item, the mean over seeds; a metric whose items differ between seeds is a problem, not a crash."""
    runs = [entry.samples.values for entry in entries if entry.samples is not None]
    found: Values = {}
    problems: list[str] = []
    for metric in sorted({name for run in runs for name in run}):
        try:
            found[metric] = average_seeds([run.get(metric, {}) for run in runs])
        except HarnessError as error:
            problems.append(f"{metric} cannot be averaged over seeds: {error}")
    return {metric: values for metric, values in found.items() if values}, problems


def _metrics(
    entries: Sequence[Entry], base: Mapping[str, Mapping[str, float]] | None
) -> tuple[dict[str, Metric], list[str]]:
    scored = _scored(entries)
    if not scored:
        return _published(entries), []
    values, problems = _values(scored)
    units = {item: unit for entry in scored if entry.samples for item, unit in entry.samples.units.items()}
    found: dict[str, Metric] = {}
    for name, by_item in values.items():
        try:
            score = mean_interval(list(by_item.values()), [units[item] for item in by_item])
        except HarnessError as error:
            problems.append(f"{name} has no mean: {error}")
            continue
        paired, problem = _versus(by_item, (base or {}).get(name), units)
        problems += [f"{name} is not compared with {BASE}: {problem}"] if problem else []
        runs = [entry.samples.values[name] for entry in scored if entry.samples]
        found[name] = Metric(score, seed_sd(runs), paired)
    return found | _whole(scored), problems + _disagreements(scored)


def _whole(entries: Sequence[Entry]) -> dict[str, Metric]:
    """Metrics of the whole set, which only records have: means over the seeds, where all of them give the metric.

    The seeds answer the same items, so their intervals are not independent: the mean of the limits is taken for the
    interval of the mean, which is too wide rather than too narrow. There are no rows to pair, hence no test.
    """
    given = [{name: score for name, score in e.record.scores.items() if score.whole} for e in entries]
    return {name: _mean_of([scores[name] for scores in given]) for name in set.intersection(*map(set, given))}


def _mean_of(scores: Sequence[Score]) -> Metric:
    runs = [{"": score.mean} for score in scores]
    limits = [score.ci95 for score in scores if score.ci95 is not None]
    low, high = (math.fsum(side) / len(scores) for side in zip(*limits, strict=True)) if limits else (0.0, 0.0)
    ci95 = (low, high) if len(limits) == len(scores) else None
    return Metric(Estimate(average_seeds(runs)[""], ci95, min(s.n for s in scores)), seed_sd(runs), None)


def _versus(
    values: Mapping[str, float], base: Mapping[str, float] | None, units: Mapping[str, str]
) -> tuple[Paired | None, str | None]:
    """The paired test, or why there is none."""
    if base is None:
        return None, None
    try:
        return paired_test(values, base, units), None
    except HarnessError as error:
        return None, str(error)


def _published(entries: Sequence[Entry]) -> dict[str, Metric]:
    """Scores as a single record states them, for a run whose samples are gone."""
    if len(entries) != 1 or entries[0].record.status == "failed":
        return {}
    scores = entries[0].record.scores
    return {name: Metric(Estimate(s.mean, s.ci95, s.n), None, None) for name, s in scores.items()}


def _disagreements(entries: Iterable[Entry]) -> list[str]:
    """Records whose stated score is not the mean of their samples: one of the two files was changed."""
    found: list[str] = []
    for entry in entries:
        values = entry.samples.values if entry.samples else {}
        for name, score in entry.record.scores.items():
            column = values.get(name)
            if column and abs(sum(column.values()) / len(column) - score.mean) > _TOLERANCE * max(1.0, abs(score.mean)):
                found.append(f"{entry.folder}: {name} in record.json is not the mean of samples.parquet")
    return found


def _cost(records: Sequence[Record]) -> Cost:
    def mean(figure: Callable[[Record], float]) -> float:
        return sum(figure(record) for record in records) / len(records)

    return Cost(
        labels=mean(lambda r: r.spent.labels),
        auxiliary_labels=mean(lambda r: r.spent.auxiliary_labels),
        prompts=mean(lambda r: r.spent.prompts),
        generated_tokens=mean(lambda r: r.spent.generated_tokens),
        forward_tokens=mean(lambda r: r.spent.forward_tokens),
        trained_tokens=mean(lambda r: r.spent.trained_tokens),
        optimizer_steps=mean(lambda r: r.spent.optimizer_steps),
        flops=mean(lambda r: r.spent.flops),
        inference_flops=mean(lambda r: r.spent.inference.flops),
        fit_seconds=mean(lambda r: r.spent.seconds.fit),
        evaluate_seconds=mean(lambda r: r.spent.seconds.evaluate),
        total_seconds=mean(lambda r: r.spent.seconds.total),
        lost_seconds=mean(lambda r: r.spent.lost.seconds),
        peak_memory_bytes=max(r.spent.peak_memory_bytes for r in records),
    )


def _liveness(records: Sequence[Record]) -> dict[str, float]:
    names = sorted({name for record in records for name in record.aligner.liveness})
    found = {name: [r.aligner.liveness[name] for r in records if name in r.aligner.liveness] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}
