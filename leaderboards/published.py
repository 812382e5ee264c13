"""Published records and the boards that are made of them.

    records/BOARD/board.yaml          what the board asks, and the cells that were planned
    records/BOARD/RUN/record.json     a run's record, its paths taken out, sealed anew
    records/BOARD/RUN/samples.parquet its figures by item; texts of data and models are not published
    records/BOARD/judges/JUDGE/       what `judge check` measured of the judges that scored its runs
    boards/BOARD.md, boards/BOARD.svg made of those, byte for byte

A board's folder of records is a store: every command that takes `--store` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.contracts import HarnessError
from harness.judging.calibration import Calibration, save
from harness.records.measured import measured_of
from harness.records.schema import Record
from harness.records.seals import write_sealed
from harness.records.verify import check_files, read_record
from harness.util.files import write_atomic
from harness.util.hashes import file_hash
from harness.util.safe_text import json_text
from leaderboards import ranked
from leaderboards.board import board_page
from leaderboards.command import placed_model, without_places
from leaderboards.load import SAMPLES
from leaderboards.origins import Installed
from leaderboards.panels import panels
from leaderboards.picture import picture
from leaderboards.planned import PLAN, missing, plan_of
from leaderboards.render import json_schema
from leaderboards.strays import strays
from leaderboards.validate import faults

ROOT = Path("leaderboards")
SCHEMA = "leaderboard.schema.json"
ORIGINAL = b"sha256 of the run's own samples"
"""Key of the Parquet file's metadata: by it other records name the answers that theirs were held against."""
_PLACE = re.compile(r"(?:file://)?(?:[A-Za-z]:)?(?:[\\/][^\\/\s'\"@:]+)+[\\/](?=[^\\/\s'\"]*)")


def publish(
    store: Path, runs: Sequence[str], board: str, root: Path = ROOT, *, installed: Installed | None = None
) -> list[Path]:
    """Put runs of a store (all of them where none is named) into a board, with what was measured of their judges.

    Returns the records' folders and the judges' files.

    `installed` plug-ins are asked what only they can say of their runs. Raises HarnessError naming the first run that
    does not hold what it says; nothing is published then.
    """
    target = root / "records" / board
    plan_of(target)
    names = list(runs) or sorted(folder.parent.name for folder in store.glob("[!.]*/record.json"))
    if not names:
        raise HarnessError(f"no run in {store} to publish")
    for name in names:
        wrong = faults(store / name, installed=installed)
        if wrong:
            raise HarnessError(f"{name} cannot be published: {wrong[0]}")
    records = [record for name in names if (record := read_record(store / name)) is not None]
    measured = measured_of(store, records).values()
    for one in measured:
        if one.git_dirty:
            raise HarnessError(
                f"judge {one.judge} was measured on {one.set} from a checkout with changes that no commit holds; "
                f"measure it again: python -m harness judge check {one.judge}"
            )
    made = [_published(store / name, target) for name in names]
    return [*made, *(save(target, _without_place(one)) for one in measured)]


def _published(source: Path, target: Path) -> Path:
    record = read_record(source)
    assert record is not None  # its faults were looked for
    folder = target / record.id
    files = {}
    if (source / SAMPLES).is_file():
        check_files(source, record, SAMPLES)
        folder.mkdir(parents=True, exist_ok=True)
        _without_texts(source / SAMPLES, folder / SAMPLES)
        files[SAMPLES] = file_hash(folder / SAMPLES)
    write_sealed(folder / "record.json", _without_places(record, files))
    return folder


def _without_place(found: Calibration) -> Calibration:
    """What was measured of a judge, of a model in a folder without where that was."""
    return found.model_copy(update={"model": None if found.model is None else placed_model(found.model)})


def _without_texts(source: Path, target: Path) -> None:
    """Ids, units and figures; what was asked and answered stays where it is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(source)
    kept = table.drop_columns(["detail"]).append_column("detail", pa.array(["{}"] * len(table), pa.string()))
    pq.write_table(kept.replace_schema_metadata({ORIGINAL: file_hash(source).encode()}), target, compression="zstd")


def _without_places(record: Record, files: dict[str, str]) -> dict[str, Any]:
    """The record as JSON values, without where things lay on the machine that made it."""
    value = record.model_dump(mode="json")
    manifest = value["manifest"]
    manifest["command"] = placeless_command(manifest["command"])
    manifest["code_url"] = _placeless(manifest["code_url"])
    manifest["also_read"] = _deep(manifest["also_read"])
    manifest["settings"] = without_places(record)
    manifest["files"] = files
    value["model"]["name"] = placed_model(record.model.name)
    return {**value, "failure": _deep(value["failure"]), "reason": _deep(value["reason"])}


def placeless_command(words: Sequence[str]) -> list[str]:
    """A command without where things lay on the machine that ran it: `PATH` for a place, its last part in a word."""
    return ["python", *("PATH" if Path(word).is_absolute() else _PLACE.sub("", word) for word in words[1:])]


def _placeless(text: str | None) -> str | None:
    """A text whose paths are their last part."""
    return None if text is None else _PLACE.sub("", text)


def _deep(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _deep(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_deep(part) for part in value]
    return _placeless(value) if isinstance(value, str) else value


# ---------------------------------------------------------------- pages


def pages(root: Path = ROOT) -> dict[Path, bytes]:
    """Every generated file below `boards/`, and what it has to hold."""
    made = {root / "boards" / SCHEMA: (json_text(json_schema(), indent=1) + "\n").encode()}
    for folder in _boards(root):
        page, drawn = _board(folder)
        made[root / "boards" / f"{folder.name}.md"] = page.encode()
        made[root / "boards" / f"{folder.name}.svg"] = drawn.encode()
    return made


def _board(folder: Path) -> tuple[str, str]:
    """A board's page and its picture."""
    plan, found = plan_of(folder), ranked(folder)
    cells = plan.cells()
    left, shown = missing(found.tables, found.entries, cells), panels(found.tables)
    page = board_page(found, plan, left, shown, picture=f"{folder.name}.svg")
    return page, picture(plan.title, shown, left, len(cells))


def render(root: Path = ROOT) -> list[Path]:
    """Write all pages; returns their paths."""
    made = pages(root)
    for path, content in made.items():
        write_atomic(path, content)
    return list(made)


def check(root: Path = ROOT, *, installed: Installed | None = None) -> list[str]:
    """What is wrong with what is published: records that do not hold, what belongs to none, pages that are out of date.

    `installed` plug-ins are asked what only they can say of their runs.
    """
    found = [f"{name}: {fault}" for name, wrong in _record_faults(root, installed) for fault in wrong]
    found += strays(root / "records")
    if found:
        return found
    made = pages(root)
    for path, content in made.items():
        if not path.is_file():
            found.append(f"{path} is missing; make it with: python -m harness leaderboard publish --render")
        elif path.read_bytes() != content:
            found.append(
                f"{path} is not what its records make; python -m harness leaderboard publish --render makes it"
            )
    left = {path for path in (root / "boards").glob("*") if path.name != "README.md"} - set(made)
    return [*found, *(f"{path} belongs to no board" for path in sorted(left))]


def _record_faults(root: Path, installed: Installed | None) -> Iterator[tuple[str, list[str]]]:
    for folder in _boards(root):
        for path in sorted(folder.glob("*/record.json")):
            yield f"{folder.name}/{path.parent.name}", faults(path, every_interval=False, installed=installed)


def _boards(root: Path) -> list[Path]:
    found = sorted(path.parent for path in (root / "records").glob(f"*/{PLAN}"))
    if not found:
        raise HarnessError(
            f"no board below {root / 'records'}; --published names the folder that holds records/ and boards/"
        )
    return found
