"""`show`: one record."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.cli import options as shared
from harness.cli.find import find
from harness.cli.output import emit_json, say, table
from harness.contracts import HarnessError
from harness.records.provenance import differences, flat
from harness.records.schema import Record
from harness.util.safe_text import line


def show(
    *,
    run: Annotated[
        str | None, typer.Argument(metavar="ID|PATH", help="A run's id, its beginning, or its folder.")
    ] = None,
    store: shared.Stores = None,
    why: Annotated[bool, typer.Option("--why", help="Show everything that decides the run's id.")] = False,
    diff: Annotated[
        tuple[str, str] | None, typer.Option("--diff", metavar="A B", help="Say what makes the ids of two runs differ.")
    ] = None,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the run's settings as a file for `run --config`.")
    ] = False,
    as_json: shared.Json = False,
) -> None:
    """Show one run: scores, cost, liveness figures, settings, and the versions that produced it."""
    if diff is not None:
        _why_two(find(diff[0], store).record, find(diff[1], store).record, as_json=as_json)
        return
    if run is None:
        raise HarnessError("show needs a run: its id, its folder, or two ids after --diff")
    record = find(run, store).record
    if why:
        _why(record, as_json=as_json)
        return
    if as_yaml:
        say(settings_yaml(record))
        return
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


def settings_yaml(record: Record) -> str:
    """The settings of a run as a config file. Raises HarnessError for a record that did not keep them."""
    import yaml

    settings = record.manifest.settings
    if not settings:
        raise HarnessError(
            f"the record of run {record.id} holds no settings, because an earlier version wrote it; its command is in "
            f"the output of: show {record.id} --json"
        )
    text: str = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return f"# run {record.id}\n{text.rstrip()}"


def _why(record: Record, *, as_json: bool) -> None:
    """Everything decisive, a line each."""
    if as_json:
        emit_json(record.manifest.decisive)
        return
    table(
        f"what decides run {record.id}", ["", ""], [[k, _shown(v)] for k, v in flat(record.manifest.decisive).items()]
    )


def _why_two(first: Record, second: Record, *, as_json: bool) -> None:
    """Every decisive thing in which two runs differ."""
    found = differences(first.manifest.decisive, second.manifest.decisive)
    if as_json:
        emit_json(found)
        return
    say(f"{first.id} -> {second.id}: {len(found) or 'no'} decisive difference{'' if len(found) == 1 else 's'}")
    for difference in found:
        say(f"  {line(difference)}")


def sections(record: Record) -> dict[str, list[list[str]]]:
    """The record as titled rows of name and value."""
    scores = [[name, _score(score.mean, score.ci95, score.n)] for name, score in record.scores.items()]
    read = record.outputs.model_dump(mode="json") if record.outputs else {}
    return {
        "scores": scores,
        "outputs of another model, whose cost is not known": _rows(read),
        "aligner": _rows(record.aligner.model_dump(mode="json", exclude={"liveness"})),
        "liveness": _rows(dict(record.aligner.liveness)),
        "task": _rows(record.task.model_dump(mode="json")),
        "model": _rows(record.model.model_dump(mode="json")),
        "data": _rows(_counted(record)),
        "budget": _rows(record.budget.model_dump(mode="json")),
        "spent": [] if read else _rows(record.spent.model_dump(mode="json")),
        "seed": _rows(record.seed.model_dump(mode="json")),
        "manifest": _rows(record.manifest.model_dump(mode="json", exclude={"packages", "decisive", "files"})),
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
