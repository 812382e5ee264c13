"""Tables as Markdown, CSV, JSON and LaTeX.

Markdown is for reading: rounded, narrow, one section per table. CSV and JSON carry every figure in full.

CSV has one line per row and metric (`COLUMNS`); a row without a score has one line with an empty `mean`. JSON is
`{"format": 2, "tables": [Table, ...]}` with the fields of `leaderboards.table.Table` as documented there; `json_schema`
gives its JSON Schema, and `from_json` reads it back.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from harness.contracts import HarnessError
from harness.util.own_json import differences, other_format, other_version
from harness.util.safe_text import csv_cell, json_text
from leaderboards.latex import latex
from leaderboards.markdown import markdown
from leaderboards.table import Cost, MethodRow, Metric, Setting, Table, Versus

Format = Literal["md", "csv", "json", "latex"]
FORMATS: tuple[Format, ...] = get_args(Format)

ENDINGS = {"latex": "tex"}
"""Of files, where a form has another name."""
JSON_FORMAT = 2
"""Rises when a field of the JSON changes meaning."""
REMEDY = "write the leaderboard again from its records"
"""What to do about a leaderboard that another version wrote."""


@dataclass(frozen=True, slots=True)
class Document:
    """Top level of the JSON file."""

    format: int
    tables: list[Table]


def render(tables: Sequence[Table], format: str = "md") -> str:
    """One text with all tables, `format` being one of `FORMATS`. Raises HarnessError for another."""
    writers: dict[str, Callable[[Sequence[Table]], str]] = {
        "md": markdown,
        "csv": _csv,
        "json": _json,
        "latex": latex,
    }
    if format not in writers:
        raise HarnessError(f"unknown leaderboard format {format!r}: expected one of {', '.join(FORMATS)}")
    return writers[format](tables)


def write(tables: Sequence[Table], folder: Path, forms: Sequence[str] = FORMATS) -> tuple[Path, ...]:
    """Write `leaderboard.md`, `.csv`, `.json` and `.tex` into `folder`, or some of them; returns their paths.

    Each is written whole or not at all. Beside the JSON stands its schema, `leaderboard.schema.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {folder / f"leaderboard.{ENDINGS.get(kind, kind)}": render(tables, kind) for kind in forms}
    if "json" in forms:
        texts[folder / "leaderboard.schema.json"] = json_text(json_schema(), indent=1) + "\n"
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
    return json_text(value, indent=1) + "\n"


def from_json(text: str) -> list[Table]:
    """The tables of a JSON leaderboard. Raises HarnessError when the text is not one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"this is no leaderboard in JSON: {error}") from error
    found = value.get("format") if isinstance(value, dict) else None
    if not isinstance(found, int):
        raise HarnessError("this is no leaderboard in JSON: a format and tables were expected")
    if found != JSON_FORMAT:
        raise other_format("the leaderboard", found, JSON_FORMAT, REMEDY)
    try:
        return TypeAdapter(Document).validate_python(value).tables
    except ValidationError as error:
        raise other_version("the leaderboard", differences(error), REMEDY) from error


def json_schema() -> dict[str, Any]:
    """JSON Schema of the JSON leaderboard."""
    return TypeAdapter(Document).json_schema()


# ---------------------------------------------------------------- CSV

_SETTING = tuple(f.name for f in fields(Setting))
_COST = tuple(f.name for f in fields(Cost))
_ROW = (
    "label",
    "aligner",
    "version",
    "changed",
    "role",
    "status",
    "statuses",
    "seeds",
    "n_scored",
    "verdict",
    "p_holm",
)
_SCORE = ("metric", "is_main", "better", "mean", "ci95_low", "ci95_high", "n_units", "seed_sd")
_VERSUS = ("difference", "difference_low", "difference_high", "p", "mdd")
_CONTROL = tuple(f"control_{name}" for name in _VERSUS)
"""The main metric against the row's own control."""
COLUMNS = (
    *(*_SETTING, "judge_agreement", *_ROW, *_SCORE, *_VERSUS, *_CONTROL),
    *(*(f"cost_{name}" for name in _COST), "records", "remarks"),
)
"""Columns of the CSV; those that hold lists or mappings hold them as JSON. `verdict` and `p_holm` are of the main
metric and stand on its line only; `better` says whether a higher or a lower figure is. A text that a spreadsheet would
take for a formula has an apostrophe before it."""


def _csv(tables: Sequence[Table]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        shared = {name: _plain(value) for name, value in asdict(table.setting).items()}
        shared["judge_agreement"] = _plain([asdict(figure) for figure in table.judge]) if table.judge else ""
        lines = (shared | line for row in table.rows for line in _csv_lines(table, row))
        writer.writerows({name: csv_cell(value) for name, value in line.items()} for line in lines)
    return out.getvalue()


def _csv_lines(table: Table, row: MethodRow) -> Iterator[dict[str, Any]]:
    values = {name: _plain(getattr(row, name)) for name in (*_ROW, "records", "remarks")}
    values |= {f"cost_{name}": value for name, value in asdict(row.cost).items()} if row.cost else {}
    main = table.setting.main_metric
    if main not in row.metrics:
        yield values | {"metric": main, "is_main": True, "better": _better(table, main)}
    for name, metric in row.metrics.items():
        blank = {} if name == main else {"verdict": "", "p_holm": ""}
        control = _csv_versus(_CONTROL, row.versus_control) if name == main else {}
        named = {"metric": name, "is_main": name == main, "better": _better(table, name)}
        yield values | blank | named | _csv_metric(metric) | control


def _better(table: Table, metric: str) -> str:
    return "lower" if metric in table.lower_is_better else "higher"


def _csv_versus(columns: Sequence[str], versus: Versus | None) -> dict[str, Any]:
    if versus is None:
        return {}
    low, high = versus.ci95 or ("", "")
    return dict(zip(columns, (versus.difference, low, high, versus.p, versus.mdd), strict=True))


def _csv_metric(metric: Metric) -> dict[str, Any]:
    score = metric.score
    low, high = score.ci95 or ("", "")
    values = (score.mean, low, high, score.n, metric.seed_sd)
    return dict(zip(_SCORE[3:], values, strict=True)) | _csv_versus(_VERSUS, metric.versus_base)


def _plain(value: Any) -> Any:
    """Lists and mappings as JSON; the rest as it is."""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list | tuple) else value
