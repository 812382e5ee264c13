"""`show`: one record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli import options as shared
from harness.cli.output import emit_json, say, table
from harness.contracts import HarnessError
from harness.records.schema import Record
from harness.records.store import Store
from harness.util.names import nearest
from harness.util.safe_text import cut, line


def show(
    run: Annotated[str, typer.Argument(metavar="ID|PATH", help="A run's id, its beginning, or its folder.")],
    store: shared.StoreFolder = shared.DEFAULT_STORE,
    as_json: shared.Json = False,
) -> None:
    """Show one run: scores, cost, liveness, and what produced it."""
    record = find(run, store)
    if as_json:
        emit_json(record.model_dump(mode="json"))
        return
    say(line(f"run {record.id}: {record.status}{f' ({record.reason})' if record.reason else ''}"))
    for title, rows in sections(record).items():
        if rows:
            say("")
            table(title, ["", ""], rows)
    if record.failure is not None:
        say(f"\n{record.failure.traceback.rstrip()}")


def find(run: str, store: Path) -> Record:
    """The record of an id, an unambiguous beginning of one, a run's folder or its record.json.

    Raises HarnessError with the nearest id when there is none.
    """
    place = Path(run)
    if place.name == "record.json":
        place = place.parent
    folder = place.resolve() if (place / "record.json").is_file() else _by_id(run, store)
    record = Store(folder.parent).record(folder.name)
    if record is None:
        raise HarnessError(f"run {cut(run)} has no record in {folder}")
    return record


def _by_id(run: str, store: Path) -> Path:
    ids = sorted(path.parent.name for path in store.glob("[!.]*/record.json"))
    if run in ids:
        return store / run
    if not any(name.startswith(run) for name in ids):
        raise HarnessError(f"no run {cut(run)} in {cut(str(store))}; {nearest(run, ids)}")
    return Store(store).find(run)


def sections(record: Record) -> dict[str, list[list[str]]]:
    """The record as titled rows of name and value."""
    scores = [[name, _score(score.mean, score.ci95, score.n)] for name, score in record.scores.items()]
    return {
        "scores": scores,
        "aligner": _rows(record.aligner.model_dump(mode="json", exclude={"liveness"})),
        "liveness": _rows(dict(record.aligner.liveness)),
        "task": _rows(record.task.model_dump(mode="json")),
        "model": _rows(record.model.model_dump(mode="json")),
        "data": _rows(_counted(record)),
        "budget": _rows(record.budget.model_dump(mode="json")),
        "spent": _rows(record.spent.model_dump(mode="json")),
        "seed": _rows(record.seed.model_dump(mode="json")),
        "manifest": _rows(record.manifest.model_dump(mode="json", exclude={"packages"})),
        "failure": _rows({"reason": record.failure.reason} if record.failure else {}),
    }


def _score(mean: float, interval: tuple[float, float] | None, n: int) -> str:
    return f"{mean:.4f}{f' [{interval[0]:.4f}, {interval[1]:.4f}]' if interval else ''} (n {n})"


def _counted(record: Record) -> dict[str, Any]:
    """The data with id lists as counts; `--json` has the lists."""
    values = record.data.model_dump(mode="json")
    return {
        key: len(value) if isinstance(value, list) and key != "warnings" else value for key, value in values.items()
    }


def _rows(values: dict[str, Any], prefix: str = "") -> list[list[str]]:
    rows: list[list[str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{prefix}{key}.")
        elif value not in (None, [], ""):
            rows.append([f"{prefix}{key}", _shown(value)])
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
