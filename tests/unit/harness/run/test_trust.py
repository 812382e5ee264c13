"""What a finished fit left is believed only while it is what the fit wrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.contracts.progress import Silent
from harness.fit.journal import Journal
from harness.records.seals import read_sealed, write_sealed
from harness.records.store import Store
from harness.run.job import LOG, REPORT, FitReport
from harness.run.plan import Plan
from harness.run.trust import report
from harness.util.hashes import folder_hashes

FIT = "0123456789abcdef"
PLAN = cast("Plan", SimpleNamespace(fit_id=FIT))


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fit's folder with an adapter and a report."""
    folder = Store(tmp_path).fit_dir(FIT)
    (folder / "result").mkdir(parents=True)
    (folder / "result" / "adapter_model.safetensors").write_bytes(bytes(range(200)))
    (folder / "result" / "adapter_config.json").write_text('{"lora_alpha": 32}')
    (folder / LOG).write_bytes(b'{"step": 1}\n')
    files, log = folder_hashes(folder / "result"), Journal(folder / LOG).digest()
    report = FitReport(fit_id=FIT, files=files, log=log, parameter_change=1.5)
    write_sealed(folder / "fit.json", report.model_dump(mode="json"))
    return folder


def test_a_report_that_verifies_is_used(folder: Path, tmp_path: Path) -> None:
    told = Told()
    found = report(PLAN, Store(tmp_path), told)
    assert found is not None
    assert found.parameter_change == 1.5
    assert told.lines == []


def test_no_report_is_no_fault(tmp_path: Path) -> None:
    told = Told()
    assert report(PLAN, Store(tmp_path), told) is None
    assert told.lines == []


def _edit(**changes: Any) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        value = json.loads((folder / "fit.json").read_text())
        (folder / "fit.json").write_text(json.dumps({**value, **changes}))

    return damage


def _flip(folder: Path) -> None:
    path = folder / "result" / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[100:116] = bytes(16)
    path.write_bytes(bytes(content))


def _cut(folder: Path) -> None:
    path = folder / "result" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def _alpha(folder: Path) -> None:
    (folder / "result" / "adapter_config.json").write_text('{"lora_alpha": 64}')


def _another(folder: Path) -> None:
    value = json.loads((folder / "fit.json").read_text())
    write_sealed(folder / "fit.json", {**value, "fit_id": "another"})


def _half(folder: Path) -> None:
    (folder / "fit.json").write_bytes((folder / "fit.json").read_bytes()[:40])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped bytes in the adapter": (_flip, "adapter_model.safetensors is not what was written"),
    "a cut adapter": (_cut, "adapter_model.safetensors is not what was written"),
    "another alpha": (_alpha, "adapter_config.json is not what was written"),
    "no result": (lambda folder: shutil.rmtree(folder / "result"), "result/adapter_config.json is missing"),
    "a file less": (lambda f: (f / "result" / "adapter_model.safetensors").unlink(), "safetensors is missing"),
    "a file more": (lambda f: (f / "result" / "aligned.json").write_text("{}"), "aligned.json is not what was written"),
    "no change claimed": (_edit(parameter_change=0.0), "fit.json is not what was written"),
    "another status": (_edit(status="degenerate"), "fit.json is not what was written"),
    "no seal": (_edit(seal=""), "fit.json has no seal"),
    "another fit's report": (_another, "fit.json is of fit another"),
    "half a report": (_half, "fit.json is not readable JSON"),
    "a list": (lambda folder: (folder / "fit.json").write_text("[]"), "fit.json is not a JSON object"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_what_does_not_verify_is_discarded_and_said(
    folder: Path, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(folder)
    told = Told()
    assert report(PLAN, Store(tmp_path), told) is None
    assert not folder.exists()
    (line,) = told.lines
    assert said in line
    assert line.startswith(f"fit {FIT} cannot be believed")
    assert line.endswith("it is discarded and done again")


def test_a_sealed_report_of_another_version_is_said_to_be_one(folder: Path, tmp_path: Path) -> None:
    found = read_sealed(folder / REPORT)
    assert found is not None
    write_sealed(folder / REPORT, {**found, "colour": "red"})
    told = Told()
    assert report(PLAN, Store(tmp_path), told) is None
    (line,) = told.lines
    assert line.startswith(
        f"fit {FIT} cannot be read: fit.json was written by another version of harness (it has colour"
    )
    assert line.endswith("; it is discarded and done again")
