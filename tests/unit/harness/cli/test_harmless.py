"""Strangers' texts at every exit: what a record, a plug-in or an error says commands no terminal and forges nothing."""

from __future__ import annotations

import csv
import io
import json
import sys
import types
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

import harness.run
from harness.cli import output
from harness.cli import run as run_command
from harness.cli.errors import complain
from harness.config import RunConfig
from harness.contracts import HarnessError
from harness.records.schema import Record
from tests.unit.harness.cli.test_cli import call, make_record, put

pytestmark = pytest.mark.core

EVIL = (
    "m\x1b[2J\x1b]8;;http://x.y\x07\x9b31m\u202egnp\u2066\x00\x7f[/x][link=http://x.y]z[/link]"
    "|</td><script>alert(1)</script>[a](javascript:alert(1))![i](http://x.y/z)\n## forged\r| a | b |\u2028`c`"
)
FORMULA = "=cmd|' /C calc'!A0"


CLOSED = ("id", "status", "created", "preset", "selection", "track")


def poisoned(value: Any) -> Any:
    """Every free text of a record replaced."""
    if isinstance(value, dict):
        return {name: part if name in CLOSED else poisoned(part) for name, part in value.items()}
    if isinstance(value, list):
        return [poisoned(part) for part in value]
    return EVIL if isinstance(value, str) else value


@pytest.fixture
def record() -> Record:
    plain = make_record(status="degenerate", reason="r").model_dump(mode="json")
    values = poisoned(plain)
    values["aligner"] |= {"changed": {EVIL: FORMULA}, "liveness": {EVIL: 0.5}, "config": {EVIL: EVIL}}
    values["task"] |= {"notes": {f"length_only{EVIL}": 0.5, "chance": 0.1}, "judge": EVIL, "baseline": EVIL}
    values["scores"] = {EVIL: {"mean": 0.5, "ci95": None, "n": 3}}
    values["manifest"]["packages"] = {EVIL: EVIL}
    values["failure"] = {"reason": EVIL, "traceback": f"Traceback\n  {EVIL}"}
    return Record.model_validate(values)


def harmless(text: str) -> None:
    for character in text:
        assert character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp"), repr(character)
        assert character not in "\u202e\u2066", "turns what is read"


def test_show_and_its_json(record: Record, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, record)
    assert call("show", record.id, "--store", str(tmp_path)) == 0
    harmless(capfd.readouterr().out)
    assert call("show", record.id, "--store", str(tmp_path), "--json") == 0
    out = capfd.readouterr().out
    harmless(out)
    assert Record.model_validate({**json.loads(out), "seal": ""}) == record.model_copy(update={"seal": ""})


def test_show_on_a_terminal_knows_no_markup(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=4_000, markup=False, highlight=False, emoji=False)
    monkeypatch.setattr(output, "stdout", lambda: console)
    put(tmp_path, record)
    assert call("show", record.id, "--store", str(tmp_path)) == 0
    text = shown.getvalue()
    assert "[/x][link=http://x.y]z[/link]" in text
    assert "\x1b]8" not in text
    assert "\x1b[2J" not in text
    assert "\u202e" not in text


def test_show_has_the_whole_traceback_of_a_failed_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trace = "Traceback (most recent call last):\n  File 'tasks/x.py', line 3, in evaluate\nKeyError: 'answer'\n"
    failed = make_record(status="failed", failure={"reason": "KeyError: 'answer'", "traceback": trace})
    put(tmp_path, failed)
    assert call("show", failed.id, "--store", str(tmp_path)) == 0
    out = capfd.readouterr().out
    assert out.endswith(trace)
    assert "failure\treason\tKeyError: 'answer'" in out


def test_leaderboards_in_every_form(record: Record, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, record)
    texts = {}
    for form in ("md", "csv", "json"):
        assert call("leaderboard", "--store", str(tmp_path), "--format", form) == 0
        texts[form] = capfd.readouterr().out
        harmless(texts[form])
    parsed = MarkdownIt("gfm-like", {"linkify": False}).parse(texts["md"])
    kinds = {child.type for token in parsed for child in token.children or ()} | {token.type for token in parsed}
    assert not kinds & {"link_open", "image", "html_inline", "html_block", "fence"}
    assert [token.markup for token in parsed if token.type == "heading_open"] == ["##"]
    lines = list(csv.reader(io.StringIO(texts["csv"])))
    assert {len(line) for line in lines} == {len(lines[0])}
    assert not any(cell.startswith(("=", "+", "@")) for line in lines for cell in line)
    assert json.loads(texts["json"])["tables"][0]["setting"]["model"] == EVIL


def test_formulas_are_no_formulas_in_csv(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = make_record().model.model_copy(update={"name": FORMULA, "backend": "-1+1", "device": "@x"})
    put(tmp_path, make_record(model=model))
    assert call("leaderboard", "--store", str(tmp_path), "--format", "csv") == 0
    (line,) = csv.DictReader(io.StringIO(capfd.readouterr().out))
    assert (line["model"], line["backend"], line["device"]) == (f"'{FORMULA}", "'-1+1", "'@x")


def put_in_place(engine: Callable[..., Record], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command `run` call this engine, on a machine without an accelerator."""
    module = types.ModuleType("harness.run.engine")
    module.run = engine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harness.run.engine", module)
    monkeypatch.setattr(harness.run, "engine", module, raising=False)
    monkeypatch.setattr(run_command, "sees_cuda", lambda: False)


@pytest.mark.parametrize("quiet", [True, False])
def test_run_and_its_errors(
    quiet: bool, record: Record, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, record)

    def engine(config: Any, *, registry: Any, observer: Any, keeping: Any) -> Record:
        observer.stage(EVIL, 3)
        observer.advance(1, 3, figure=EVIL)
        observer.note(EVIL)
        return record

    put_in_place(engine, monkeypatch)
    options = ["--aligner", "base", "--task", "medqa", "--store", str(tmp_path), *(["--quiet"] if quiet else [])]
    assert call("run", *options) == 0
    out, err = capfd.readouterr()
    harmless(out)
    harmless(err)
    assert record.id in out


def test_error_lines(capfd: pytest.CaptureFixture[str]) -> None:
    complain(str(HarnessError(f"no model {EVIL}")))
    err = capfd.readouterr().err
    harmless(err)
    assert err.count("\n") == 1


# ---------------------------------------------------------------- a result is never lost to its table


def test_a_run_of_track_parity_is_done_though_it_enters_no_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    budget = make_record().budget.model_copy(update={"track": "parity"})
    made = make_record(budget=budget)
    put(tmp_path, made)
    run_command.report([made], [RunConfig(aligner="gem", task="medqa", store=tmp_path)], as_json=False)
    out, err = capfd.readouterr()
    assert "run abc123" in out
    assert "no table: all 1 runs" in err
    assert "parity" in err


def test_a_run_of_track_parity_exits_with_nought(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_record(budget=make_record().budget.model_copy(update={"track": "parity"}))
    asked: list[str] = []

    def engine(config: RunConfig, **_: object) -> Record:
        asked.append(config.budget.track)
        put(config.store, made)
        return made

    put_in_place(engine, monkeypatch)
    options = ("--aligner", "base", "--task", "medqa", "--track", "parity", "--store", str(tmp_path), "--quiet")
    assert call("run", *options) == 0
    assert asked == ["parity"]
    assert "run abc123" in capfd.readouterr().out
