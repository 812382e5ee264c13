"""What may stand side by side: settings of tables, and runs grouped by them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from harness.contracts import HarnessError
from harness.records.schema import Record
from harness.util.hashes import content_hash
from leaderboards.load import Entry
from leaderboards.table import Setting, Table

Draw = int | tuple[int, int]
"""A draw's seed, and the index of the fold where there are folds."""
_BUDGET = ("preset", "labels", "prompts", "batch", "min_steps", "selection", "tune", "track", "cap_flops", "profile")


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
        generate=task.generate,
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
        folds=None if data.fold is None else data.fold.of,
        null_by=task.null_by,
        model_hash=_decisive_hash(record, "fit", "model"),
        judge_hash=_decisive_hash(record, "judgement", "judge", ("models", "facts")),
        **{name: getattr(budget, name) for name in _BUDGET},
    )


def _decisive_hash(record: Record, section: str, name: str, parts: Sequence[str] = ()) -> str | None:
    """Hash of one entry of a record's manifest, or of some parts of it; None where the record has none."""
    found = record.manifest.decisive.get(section, {}).get(name)
    return content_hash({part: found.get(part) for part in parts} if parts else found) if found else None


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


def apart_from_namesakes(tables: Sequence[Table], titles: Sequence[str]) -> list[list[str]]:
    """For each table the fields in which it differs from those of the same title; empty where its title is its own."""
    return [
        list(differences([other.setting for other, theirs in zip(tables, titles, strict=True) if theirs == title]))
        for title in titles
    ]


def groups(entries: Sequence[Entry]) -> list[tuple[Setting, list[list[Entry]]]]:
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
    return json.dumps([aligner.name, aligner.version, changed(record), draw], sort_keys=True, default=str)


SHUFFLED = ("labels", "shuffled")
"""How `changed` says that a row is a control of its labels."""


def changed(record: Record) -> dict[str, Any]:
    """What tells a row from the method as it comes: hyper-parameters, and a control of its labels."""
    return {**record.aligner.changed, **(dict([SHUFFLED]) if record.data.shuffled_labels else {})}


def method_of(record: Record, turned: Collection[tuple[str, object]]) -> str:
    """Method, version and settings, less those that make a control of it: what a row shares with its own control."""
    settings = {name: value for name, value in changed(record).items() if not _is_one_of(name, value, turned)}
    return json.dumps([record.aligner.name, record.aligner.version, settings], sort_keys=True, default=str)


def _is_one_of(name: str, value: object, turned: Collection[tuple[str, object]]) -> bool:
    return isinstance(value, str) and (name, value) in turned


def _setting_of(row: Sequence[Entry]) -> Setting:
    return setting(row[0].record, (entry.record.seed.draw for entry in row))


def _split_by_pairs(rows: Sequence[list[Entry]]) -> list[tuple[str | None, list[list[Entry]]]]:
    """Part rows whose records saw different pairs under one draw seed (the draw or the leak gate changed).

    Gives each part with the hash of its pairs. A record without pairs (needs none, or failed early) fits anywhere.
    """
    parts: list[tuple[dict[Draw, str], list[list[Entry]]]] = []
    for row in rows:
        mine = {_draw(e.record): _digest(ids) for e in row if (ids := _label_ids(e.record))}
        for seen, members in parts:
            if all(seen.get(draw, digest) == digest for draw, digest in mine.items()):
                seen.update(mine)
                members.append(row)
                break
        else:
            parts.append((mine, [row]))
    return [(_labels_hash(seen) if seen else None, members) for seen, members in parts]


def _draw(record: Record) -> Draw:
    return record.seed.draw if record.data.fold is None else (record.seed.draw, record.data.fold.index)


def _labels_hash(seen: Mapping[Draw, str]) -> str:
    """Of the labels of several draws, each draw's by their hash."""
    return _digest(sorted(map(str, seen.items())))


def _label_ids(record: Record) -> tuple[str, ...]:
    """Pairs, ratings that were bought, and the other groups' ratings by content: they say what is a new question."""
    data = record.data
    groups = record.manifest.decisive.get("answers", {}).get("groups", {})
    return (
        *data.pair_ids,
        *(f"{group}\x1f{question}" for group, given in data.rating_ids.items() for question in given),
        *(f"{group}\x1f{content}" for group, content in groups.get("auxiliary", {}).items()),
    )


def _digest(ids: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(sorted(ids)).encode()).hexdigest()


def _asks_the_same(base: Record, shared: Setting) -> bool:
    """Whether a run of base on groups had the ratings that a table's rows have: all others are asked."""
    drawn = _labels_hash({base.seed.draw: _digest(_label_ids(base))})
    return base.seed.draw in shared.draw_seeds and shared.pairs_hash in (None, drawn)


def shares_base(base: Record, shared: Setting) -> bool:
    """Whether a record of the base model answers the same items in the same way as a table's rows.

    The base model is not trained, so budget, adapter shape and draw leave it as it is; only few-shot prompts make it
    depend on the labelled pairs, and a draw of groups, with its number of labels, decides what is asked.
    """
    free: tuple[str, ...] = ("lora", *_BUDGET, "draw_seeds", "pairs_hash")
    if base.data.rating_ids and not _asks_the_same(base, shared):
        return False
    if shared.num_fewshot:
        if base.seed.draw not in shared.draw_seeds:
            return False
        free = ("lora", "draw_seeds", "pairs_hash")
    return setting(base, ()).key(free) == shared.key(free)
