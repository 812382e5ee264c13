"""Tables as Markdown, CSV and JSON.

Markdown is for reading: rounded, narrow, one section per table. CSV and JSON carry every figure in full.

CSV has one line per row and metric (`COLUMNS`); a row without a score has one line with an empty `mean`. JSON is
`{"format": 1, "tables": [Table, ...]}` with the fields of `leaderboards.table.Table` as documented there; `json_schema`
gives its JSON Schema, and `from_json` reads it back.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from harness.contracts import BASE, HarnessError
from harness.stats import Estimate
from leaderboards.table import Cost, JudgeFigure, Metric, Row, Setting, Table

Format = Literal["md", "csv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

JSON_FORMAT = 1
"""Rises when a field of the JSON changes meaning."""


@dataclass(frozen=True, slots=True)
class Document:
    """Top level of the JSON file."""

    format: int
    tables: list[Table]


def render(tables: Sequence[Table], format: str = "md") -> str:
    """One text with all tables, `format` being one of `FORMATS`. Raises HarnessError for another."""
    writers: dict[str, Callable[[Sequence[Table]], str]] = {"md": _markdown, "csv": _csv, "json": _json}
    if format not in writers:
        raise HarnessError(f"unknown leaderboard format {format!r}: expected one of {', '.join(FORMATS)}")
    return writers[format](tables)


def write(tables: Sequence[Table], folder: Path) -> tuple[Path, ...]:
    """Write `leaderboard.md`, `.csv` and `.json` into `folder`, each whole or not at all; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {folder / f"leaderboard.{kind}": render(tables, kind) for kind in FORMATS}
    for path, text in texts.items():
        _replace(path, text)
    return tuple(texts)


def _replace(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# ---------------------------------------------------------------- JSON


def _json(tables: Sequence[Table]) -> str:
    value = TypeAdapter(Document).dump_python(Document(JSON_FORMAT, list(tables)), mode="json")
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def from_json(text: str) -> list[Table]:
    """The tables of a JSON leaderboard. Raises HarnessError when the text is not one."""
    try:
        document = TypeAdapter(Document).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        raise HarnessError(f"this is no leaderboard in JSON: {place}: {first['msg']}") from error
    if document.format != JSON_FORMAT:
        raise HarnessError(f"the leaderboard has format {document.format}, this version reads {JSON_FORMAT}")
    return document.tables


def json_schema() -> dict[str, Any]:
    """JSON Schema of the JSON leaderboard."""
    return TypeAdapter(Document).json_schema()


# ---------------------------------------------------------------- CSV

_SETTING = tuple(f.name for f in fields(Setting))
_COST = tuple(f.name for f in fields(Cost))
_ROW = ("label", "aligner", "version", "changed", "status", "statuses", "seeds", "n_scored", "verdict", "p_holm")
_SCORE = ("metric", "is_main", "mean", "ci95_low", "ci95_high", "n_units", "seed_sd")
_VERSUS = ("difference", "difference_low", "difference_high", "p", "mdd")
COLUMNS = (
    *(*_SETTING, "judge_agreement", *_ROW, *_SCORE, *_VERSUS),
    *(*(f"cost_{name}" for name in _COST), "records", "remarks"),
)
"""Columns of the CSV; those that hold lists or mappings hold them as JSON. `verdict` and `p_holm` are of the main
metric and stand on its line only."""


def _csv(tables: Sequence[Table]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        shared = {name: _plain(value) for name, value in asdict(table.setting).items()}
        shared["judge_agreement"] = _plain([asdict(figure) for figure in table.judge]) if table.judge else ""
        writer.writerows(shared | line for row in table.rows for line in _csv_lines(table, row))
    return out.getvalue()


def _csv_lines(table: Table, row: Row) -> Iterator[dict[str, Any]]:
    values = {name: _plain(getattr(row, name)) for name in (*_ROW, "records", "remarks")}
    values |= {f"cost_{name}": value for name, value in asdict(row.cost).items()}
    main = table.setting.main_metric
    if main not in row.metrics:
        yield values | {"metric": main, "is_main": True}
    for name, metric in row.metrics.items():
        blank = {} if name == main else {"verdict": "", "p_holm": ""}
        yield values | blank | {"metric": name, "is_main": name == main} | _csv_metric(metric)


def _csv_metric(metric: Metric) -> dict[str, Any]:
    score, paired = metric.score, metric.versus_base
    low, high = score.ci95 or ("", "")
    values = (score.mean, low, high, score.n, metric.seed_sd)
    found: dict[str, Any] = dict(zip(_SCORE[2:], values, strict=True))
    if paired is not None:
        low, high = paired.ci95 or ("", "")
        found |= zip(_VERSUS, (paired.difference, low, high, paired.p, paired.mdd), strict=True)
    return found


def _plain(value: Any) -> Any:
    """Lists and mappings as JSON; the rest as it is."""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list | tuple) else value


# ---------------------------------------------------------------- Markdown

_CHANCE = "chance"
"""Note with the main metric's value for a model that guesses."""
_SHORTCUTS = ("length_only", "bag_of_words")
"""Notes whose name contains one of these stand beside the metrics they question; the rest stand in the JSON only."""
_FLOORS = ("uniform", "mean_of_groups")
"""The same of answers that no context of a group was read for."""
_FLOP_UNITS = ((1e15, "PFLOPs"), (1e12, "TFLOPs"), (1e9, "GFLOPs"))


def _markdown(tables: Sequence[Table]) -> str:
    return "\n".join(_section(table) for table in tables)


def _section(table: Table) -> str:
    s = table.setting
    parts = [
        f"## {s.task}: {s.labels} labels, {s.model}",
        _opening(table),
        _main_table(table),
        _judge(table),
        _other_table(table),
        _beside(table, _SHORTCUTS, "Shortcut classifiers on the held-out pairs"),
        _beside(table, _FLOORS, "Without reading a group's own answers"),
        "\n".join(f"- {line}" for line in _facts(table)),
        "\n".join(f"- **note** {_cell(line)}" for line in table.warnings),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(table: Table) -> str:
    """What was measured, on how much, and what a model that guesses would score."""
    text = f"`{table.setting.main_metric}`, higher is better, {table.n_units} independent units."
    if _CHANCE in table.notes:
        text += f" Chance: {_span(*table.notes[_CHANCE])}."
    if _all_at_chance(table):
        text += " Every interval contains the chance level: on this task these models cannot be told from guessing."
    return text


def _all_at_chance(table: Table) -> bool:
    chance, _ = table.notes.get(_CHANCE, (None, None))
    main = [row.metrics[table.setting.main_metric] for row in table.rows if table.setting.main_metric in row.metrics]
    ranges = [metric.score.ci95 for metric in main]
    return chance is not None and bool(ranges) and all(r is not None and r[0] <= chance <= r[1] for r in ranges)


def _judge(table: Table) -> str:
    """How far the table's judge agrees with people, or how to find out."""
    judge = table.setting.judge
    if judge is None:
        return ""
    if not table.judge:
        return f"Agreement of judge `{judge}` with people: not measured: python -m harness judge check {judge}"
    return f"Agreement of judge `{judge}` with labelled pairs [95 % CI]: {'; '.join(map(_agreement, table.judge))}."


def _agreement(found: JudgeFigure) -> str:
    share = "no verdict" if found.agreement is None else _score(found.agreement)
    null = "" if found.null_win_rate is None else f", a constant answer wins {found.null_win_rate:.3f}"
    fails = "".join(f", **fails: {fault}**" for fault in found.fails)
    return (
        f"{found.set} {share} ({found.answered} of {found.pairs} pairs, labelled by {found.labelled_by}{null}){fails}"
    )


def _beside(table: Table, words: Sequence[str], what: str) -> str:
    """What something that understands nothing reaches on the same items."""
    found = [
        f"{name.replace('_', ' ')} {_span(*span)}"
        for name, span in table.notes.items()
        if any(word in name for word in words)
    ]
    return f"{what}: {', '.join(found)}." if found else ""


def _main_table(table: Table) -> str:
    scale, unit = _flop_unit(table.rows)
    head = (
        *("aligner", "seeds", f"{table.setting.main_metric} [95 % CI]", f"Δ {BASE} [95 % CI]", "p (Holm)"),
        *("labels", unit, "fit s", "GiB", "status", "verdict"),
    )
    return _grid(head, (_main_cells(table, row, scale) for row in table.rows), left=(0, 9, 10))


def _main_cells(table: Table, row: Row, scale: float) -> tuple[str, ...]:
    metric = row.metrics.get(table.setting.main_metric)
    paired = metric.versus_base if metric else None
    cost = row.cost
    return (
        row.label,
        str(row.n_scored) if row.n_scored == len(row.seeds) else f"{row.n_scored}/{len(row.seeds)}",
        _score(metric.score) if metric else "",
        _interval(paired.difference, paired.ci95, "+.3f") if paired else "",
        _p(row.p_holm),
        _labels(row),
        f"{cost.flops / scale:.1f}",
        f"{cost.fit_seconds:.0f}",
        f"{cost.peak_memory_bytes / 2**30:.1f}",
        _status(row),
        row.verdict or "",
    )


def _labels(row: Row) -> str:
    """Labels, and behind a plus those of other groups."""
    own, other = row.cost.labels, row.cost.auxiliary_labels
    return f"{own:g} + {other:g}" if other else f"{own:g}"


def _other_table(table: Table) -> str:
    """The metrics beside the main one, with their difference to base, which is not tested for the verdict."""
    names = sorted({n for row in table.rows for n in row.metrics} - {table.setting.main_metric})
    if not names:
        return ""
    rows = ((row.label, *(_other_cell(row.metrics.get(name)) for name in names)) for row in table.rows if row.metrics)
    return _grid(("aligner", *(f"{name} [95 % CI]" for name in names)), rows, left=(0,))


def _other_cell(metric: Metric | None) -> str:
    return _score(metric.score) if metric else ""


def _facts(table: Table) -> Iterator[str]:
    s, made = table.setting, table.provenance
    items = "all items" if s.limit is None else f"first {s.limit} items"
    against = f" against {s.baseline}" if s.baseline else ""
    judge = f", judge {s.judge} (version {s.judge_version}){against}" if s.judge else ""
    yield f"task {s.task}, revision `{_short(s.task_revision)}`, {items}, {s.num_fewshot} shots{judge}"
    pairs = f", pairs `{_short(s.pairs_hash)}`" if s.pairs_hash else ""
    yield f"data {s.source}, pool {s.pool}, revision `{_short(s.pool_revision)}`, draws {_list(s.draw_seeds)}{pairs}"
    yield f"model {s.model}, weights `{_short(s.weights_hash)}`, {s.precision}, {s.device}, {s.backend}"
    yield f"adapter {_pairs(s.lora)}; lengths {_pairs(s.lengths)}"
    yield _budget(s)
    yield (
        f"made by commit {_list(f'`{_commit(c)}`' for c in made.commits)} on {_list(made.devices)}, "
        f"threads {_list(made.threads)}"
    )
    mixed = [f"{name} {_list(versions)}" for name, versions in made.packages.items() if len(versions) > 1]
    if mixed:
        yield f"rows differ in library versions: {'; '.join(mixed)}"
    if table.mdd is not None:
        yield (
            f"minimal detectable difference: {table.mdd:.3f} (largest of the rows; 80 % power, two-sided 5 % level, "
            "before Holm): a smaller true difference may well go unseen"
        )


def _budget(s: Setting) -> str:
    cap = f", cap {s.cap_flops:.3g} FLOPs" if s.cap_flops is not None else ""
    profile = f", profile {s.profile}" if s.profile else ""
    return (
        f"budget {s.preset}: {s.labels} labels, {s.prompts} prompts, batch {s.batch}, at least {s.min_steps} steps, "
        f"selection {s.selection}{f' ({s.tune} trials)' if s.tune else ''}, track {s.track}{cap}{profile}"
    )


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[int]) -> str:
    rule = [":--" if i in left else "--:" for i in range(len(head))]
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text that cannot break out of its cell or line."""
    return " ".join(text.split()).replace("|", "\\|")


def _score(score: Estimate) -> str:
    return _interval(score.mean, score.ci95, ".3f")


def _interval(mean: float, ci95: tuple[float, float] | None, spec: str) -> str:
    return f"{mean:{spec}}" + (f" [{ci95[0]:{spec}}, {ci95[1]:{spec}}]" if ci95 else "")


def _span(low: float, high: float) -> str:
    return f"{low:.3f}" if math.isclose(low, high, abs_tol=5e-4) else f"{low:.3f} to {high:.3f}"


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _status(row: Row) -> str:
    share = "" if row.statuses[row.status] == len(row.seeds) else f" {row.statuses[row.status]}/{len(row.seeds)}"
    return row.status + share


def _flop_unit(rows: Iterable[Row]) -> tuple[float, str]:
    most = max((row.cost.flops for row in rows), default=0.0)
    return next((unit for unit in _FLOP_UNITS if most >= unit[0]), _FLOP_UNITS[-1])


def _commit(commit: str) -> str:
    name, _, dirty = commit.partition(" ")
    return f"{_short(name)} {dirty}".strip()


def _short(digest: str) -> str:
    return digest[:10]


def _list(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)


def _pairs(values: Mapping[str, object]) -> str:
    return _list(f"{name} {value}" for name, value in sorted(values.items()))
