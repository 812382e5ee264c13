"""`export` and `import`: runs for other tools and from other people."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options as shared
from harness.cli.card import card
from harness.cli.find import Found, find
from harness.cli.output import emit_json, note, say
from harness.contracts import HarnessError
from harness.models.hashes import model_hashes
from harness.records.exports import logged_samples, model_outputs
from harness.records.foreign import Imported, import_runs
from harness.records.hub import DataSet, data_set, fetched, sent
from harness.records.measured import measured_of, take_over
from harness.records.schema import Record
from harness.records.store import Store
from harness.util.files import storage, write_atomic, write_json
from harness.util.names import nearest
from harness.util.safe_text import line

if TYPE_CHECKING:
    from leaderboards.table import MethodRow

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PRIVACY = "What is exported holds the texts of your data and of the models; look at it before you pass it on."


class Form(StrEnum):
    """What a run can be exported as."""

    alpaca_eval = "alpaca_eval"
    lm_eval = "lm_eval"
    adapter = "adapter"
    merged = "merged"
    card = "card"
    run = "run"
    every_eval_ever = "every_eval_ever"


ONE_FILE = (Form.alpaca_eval, Form.adapter, Form.merged, Form.card)
"""Forms whose files have the same names for every run."""


def export(
    *,
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="A run's id, its beginning, or its folder.")],
    form: Annotated[
        Form,
        typer.Option(
            "--as",
            help="alpaca_eval: model_outputs.json; lm_eval: samples JSONL; adapter: for PEFT; merged: the whole "
            "model; card: README.md; run: the run itself, for another store; every_eval_ever: the shared schema "
            "of evaluation results.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="The folder to write to; files of the same name are replaced. For run also hub:OWNER/NAME.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For merged: the name or folder of the base model, if it is not where it was.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For every_eval_ever: who ran the evaluation.", show_default=False),
    ] = None,
    store: shared.Stores = None,
) -> None:
    """Write runs for other tools: answers, samples, the adapter (PEFT), merged weights, a card, the run itself."""
    found = [find(run, store) for run in runs]
    if len(found) > 1 and form in ONE_FILE:
        raise HarnessError(
            f"--as {form.value} takes one run, and {len(found)} are named; only lm_eval, run and every_eval_ever take "
            "several"
        )
    target = data_set(str(out))
    if target is not None:
        _to_hub(found, form, target)
    else:
        with storage(out):
            out.mkdir(parents=True, exist_ok=True)
            for path in _written(found, form, out, model, by):
                say(str(path))
    note(PRIVACY)


def _written(found: Sequence[Found], form: Form, out: Path, model: str | None, by: str | None) -> Iterator[Path]:
    """Write the runs; the paths of what was written."""
    if form is Form.every_eval_ever:
        yield from _every_eval_ever(found, out, by)
        return
    writers: Mapping[Form, Callable[[Found], list[Path]]] = {
        Form.alpaca_eval: lambda one: _alpaca(one, out),
        Form.lm_eval: lambda one: _lm_eval(one, out),
        Form.adapter: lambda one: [*_adapter(one, out), _card(one, out)],
        Form.merged: lambda one: [*_merged(one, out, model), _card(one, out)],
        Form.card: lambda one: [_card(one, out)],
        Form.run: lambda one: [_run(one, out)],
    }
    for one in found:
        yield from writers[form](one)
    if form is Form.run:
        for store, records in _by_store(found).items():
            yield from _judges(store, out, records)


def _to_hub(found: Sequence[Found], form: Form, target: DataSet) -> None:
    if form is not Form.run:
        raise HarnessError(
            f"--as {form.value} is written to a folder; only --as run can be written to a data set of the hub"
        )
    for one in found:
        one.store.verified(one.record.id)
    judges = {
        path.relative_to(store).as_posix(): path
        for store, records in _by_store(found).items()
        for path in measured_of(store, records)
    }
    say(sent(target, [one.store.run_dir(one.record.id) for one in found], judges))


def _by_store(found: Sequence[Found]) -> dict[Path, list[Record]]:
    stores: dict[Path, list[Record]] = {}
    for one in found:
        stores.setdefault(one.store.root, []).append(one.record)
    return stores


def _judges(source: Path, target: Path, records: Sequence[Record]) -> list[Path]:
    """Take over what was measured of the judges of runs; a file that cannot be read is named, and stops no run."""
    try:
        return take_over(source, target, records)
    except HarnessError as error:
        note(f"what was measured of judges is not taken over: {error}")
        return []


def _run(found: Found, out: Path) -> Path:
    """The run's folder in another store, checked as any foreign run is."""
    [result] = import_runs(found.store.run_dir(found.record.id), Store(out))
    if result.run_id is None:
        raise HarnessError(f"run {found.record.id} is not exported: {result.said}")
    return Store(out).run_dir(result.run_id)


def _every_eval_ever(found: Sequence[Found], out: Path, by: str | None) -> Iterator[Path]:
    """The runs in the shared schema, with what their tables say of them."""
    from leaderboards.every_eval_ever import write_log

    if by is None:
        raise HarnessError("--as every_eval_ever needs the name of whoever ran the evaluation: --by NAME")
    rows = _rows(found)
    for one in found:
        samples = one.store.samples(one.record) if one.record.scores else []
        yield from write_log(one.record, samples, rows.get(one.record.id), out, organisation=by)


def _rows(found: Sequence[Found]) -> dict[str, MethodRow]:
    """The rows of tables that the runs belong to, by run; runs of the track `parity` enter no table."""
    from leaderboards import PARITY, tables

    stores = _by_store([one for one in found if one.record.budget.track != PARITY])
    made = (table for store, records in stores.items() for table in tables(store, beside=records))
    return {run: row for table in made for row in table.rows for run in row.records}


def _alpaca(found: Found, out: Path) -> list[Path]:
    path = out / "model_outputs.json"
    write_json(path, model_outputs(found.record, found.store.samples(found.record)))
    return [path]


def _lm_eval(found: Found, out: Path) -> list[Path]:
    name = found.record.task.name.replace(":", "_").replace("/", "_")
    path = out / f"samples_{name}_{found.record.id}.jsonl"
    lines = logged_samples(found.record, found.store.samples(found.record))
    write_atomic(path, "".join(f"{text}\n" for text in lines).encode("utf-8", "surrogatepass"))
    return [path]


def _card(found: Found, out: Path) -> Path:
    path = out / "README.md"
    write_atomic(path, card(found).encode())
    return path


def _adapter_folder(found: Found) -> Path:
    """Where the run's adapter lies. Raises HarnessError for a run that has none."""
    found.store.verified(found.record.id)
    folder = found.store.run_dir(found.record.id) / "adapter"
    if not (folder / WEIGHTS).is_file():
        raise HarnessError(f"run {found.record.id} of {found.record.aligner.name} has no adapter: nothing was trained")
    return folder


def _adapter(found: Found, out: Path) -> list[Path]:
    """The adapter as PEFT reads it, naming the base model by its name instead of a path of this machine."""
    folder = _adapter_folder(found)
    shutil.copyfile(folder / WEIGHTS, out / WEIGHTS)
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    write_json(out / CONFIG, {**config, "base_model_name_or_path": found.record.model.name})
    return [out / CONFIG, out / WEIGHTS]


def _merged(found: Found, out: Path, model: str | None) -> list[Path]:
    """The base model with the adapter added to its weights, in fp32, as transformers loads it."""
    from harness.models.find import resolve
    from harness.models.merge import write_merged

    folder = _adapter_folder(found)
    registry = shared.registry(False, None)
    asked = model or str(found.record.manifest.settings.get("model") or found.record.model.name)
    if not (Path(asked).is_dir() or asked in registry.models) and model is None:
        known = nearest(asked, registry.models)
        note(f"the base model {asked!r} is no folder here and no built-in model ({known}); it is looked for on the hub")
    files = resolve(asked, registry_models=registry.models, revision=None, trust_remote_code=False, say=note)
    if files.weights_hash != found.record.model.weights_hash:
        raise HarnessError(
            f"model {asked[:80]!r} has other weights than that of run {found.record.id}; name its model by --model"
        )
    write_merged(files, folder, out)
    return sorted(path for path in out.iterdir() if path.name in {*model_hashes(out), "model.safetensors"})


def _imported(place: Path, store: Store) -> list[Imported]:
    """What came of the runs of a folder, or of a data set of the hub, which is fetched first."""
    source = data_set(str(place))
    if source is None:
        return _with_judges(place, store)
    with fetched(source) as folder:
        found = _with_judges(folder, store)
    return [replace(one, folder=place / one.folder.relative_to(folder)) for one in found]


def _with_judges(place: Path, store: Store) -> list[Imported]:
    """What came of the runs of a folder; with them comes what was measured of their judges."""
    found = list(import_runs(place, store))
    records = [record for one in found if one.run_id is not None and (record := store.record(one.run_id)) is not None]
    for path in _judges(place, store.root, records):
        note(f"{path} says what was measured of a judge")
    return found


def import_(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...", help="Stores (folders of runs), folders of single runs, or hub:OWNER/NAME[@REVISION]."
        ),
    ],
    store: shared.StoreFolder = shared.DEFAULT_STORE,
    as_json: shared.Json = False,
) -> None:
    """Copy runs that were made elsewhere into a store, after checking each. Exit code 1 if a run is refused."""
    results = [result for place in places for result in _imported(place, Store(store))]
    if as_json:
        emit_json([{"folder": str(r.folder), "run": r.run_id, "said": r.said} for r in results])
    else:
        for result in results:
            say(line(f"{result.folder}: {result.said if result.run_id else f'refused: {result.said}'}"))
    if any(result.run_id is None for result in results):
        raise typer.Exit(1)
