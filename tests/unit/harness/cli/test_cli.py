"""The command line: what it prints where, how it fails, and that it is quick."""

from __future__ import annotations

import errno
import importlib.metadata
import io
import json
import os
import re
import resource
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from rich.progress import Progress as RichProgress

import harness.run
from harness.cli import app, main
from harness.cli import doctor as doctor_command
from harness.cli import run as run_command
from harness.cli.errors import reported
from harness.cli.output import say, stdout_to_stderr
from harness.cli.progress import Bars, Course, Lines, _columns, figures_line, rate, watching
from harness.config import Budget, RunConfig
from harness.conformance.toy import tiny_folder
from harness.contracts import HarnessError
from harness.contracts.progress import Progress, Silent
from harness.lm.paths import chosen, measured
from harness.records.schema import (
    AlignerInfo,
    BudgetInfo,
    DataInfo,
    Failure,
    Inference,
    Lost,
    Manifest,
    ModelInfo,
    Record,
    Score,
    Seconds,
    SeedInfo,
    Spent,
    TaskInfo,
)
from harness.records.seals import write_sealed

pytestmark = pytest.mark.core

HEAVY = ("torch", "transformers", "trl", "peft", "lm_eval", "datasets", "sklearn", "scipy", "pyarrow", "duckdb")


def make_record(run_id: str = "abc123", **changes: Any) -> Record:
    values: dict[str, Any] = {
        "id": run_id,
        "status": "ok",
        "aligner": AlignerInfo(
            name="gem",
            version="1",
            paper="2511.13007",
            fit_id="f1",
            config={"lambda": 1.0},
            liveness={"marker_rate": 0.9},
        ),
        "task": TaskInfo(
            name="medqa",
            revision="r",
            main_metric="accuracy",
            limit=None,
            num_fewshot=0,
            n_items=96,
            notes={"length": 0.5},
        ),
        "model": ModelInfo(
            name="m", weights_hash="w", parameters=1, precision="fp32", device="cpu", backend="hf", lora={}, lengths={}
        ),
        "data": DataInfo(source="sample", pool="medqa", pool_revision="p", pair_ids=("a", "b"), prompt_ids=()),
        "budget": BudgetInfo(
            preset="8", labels=8, prompts=32, batch=4, min_steps=32, selection="last", track="labels", cap_flops=None
        ),
        "spent": Spent(
            labels=8,
            auxiliary_labels=0,
            prompts=32,
            generated_tokens=10,
            forward_tokens=20,
            trained_tokens=5,
            optimizer_steps=32,
            flops=1.5e12,
            seconds=Seconds(load=1, fit=2, evaluate=3, total=6),
            peak_memory_bytes=1,
            inference=Inference(),
            lost=Lost(),
        ),
        "scores": {"accuracy": Score(mean=0.25, ci95=(0.17, 0.35), n=96)},
        "manifest": Manifest(
            created="2026-01-01T00:00:00Z",
            command=("harness",),
            packages={},
            plugins={},
            platform="linux",
            python="3.11",
            device="cpu",
            threads=2,
            git_commit=None,
            git_dirty=None,
        ),
        "seed": SeedInfo(draw=0, training=0),
    }
    return Record(**{**values, **changes})


def put(store: Path, record: Record) -> Path:
    folder = store / record.id
    folder.mkdir(parents=True)
    write_sealed(folder / "record.json", record.model_dump(mode="json"))
    return folder


def call(*arguments: str) -> int:
    """Run the command line in this process; returns its exit code."""
    with pytest.raises(SystemExit) as ended:
        app(list(arguments), prog_name="python -m harness")
    code = ended.value.code
    assert isinstance(code, int | None)
    return code or 0


def spawn(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


# ---------------------------------------------------------------- quick, and light


def imported_by(*arguments: str) -> list[str]:
    code = (
        "import sys\nfrom harness.cli import app\n"
        f"try:\n    app({list(arguments)!r})\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        f"print('HEAVY', *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("list",), ("list", "--json"), ("models",)])
def test_what_only_tells_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments) == []


@pytest.mark.parametrize("arguments", [("--help",), ("list",)])
def test_what_only_tells_is_quick(arguments: tuple[str, ...]) -> None:
    """Within a few times an import of what every command needs, in time of the processor: others may keep it busy."""

    def best(*command: str) -> float:
        times = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *command], capture_output=True, check=True, timeout=60)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(times)

    bare = best("-c", "import typer, pydantic, yaml, rich.progress, pluggy, importlib.metadata")
    assert best("-m", "harness", *arguments) < max(0.8, 4 * bare)


def test_the_version_is_the_package_s() -> None:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == harness.__version__


# ---------------------------------------------------------------- mistakes, bugs, and the rest of the world


def code_of(body: Callable[[], object]) -> int:
    with pytest.raises(typer.Exit) as ended, reported():
        body()
    return ended.value.exit_code


def throw(error: BaseException) -> Callable[[], object]:
    def body() -> object:
        raise error

    return body


def test_a_mistake_is_one_line_and_exits_with_two(capfd: pytest.CaptureFixture[str]) -> None:
    assert code_of(throw(HarnessError("no task 'x';\ndid you mean [y]?"))) == 2
    out, err = capfd.readouterr()
    assert (out, err) == ("", "error: no task 'x'; did you mean [y]?\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_store_that_cannot_be_written_is_one_line(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert code_of(throw(OSError(number, os.strerror(number), "runs/x"))) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert os.strerror(number) in err
    assert "runs/x" in err


def test_a_bug_is_one_line_with_the_traceback_saved(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert code_of(throw(KeyError("lost\nand found"))) == 1
    err = capfd.readouterr().err
    (saved,) = tmp_path.iterdir()
    assert err.count("\n") == 1
    assert str(saved) in err
    assert "Traceback" in saved.read_text(encoding="utf-8")


def test_an_interrupt_says_how_to_resume(capfd: pytest.CaptureFixture[str]) -> None:
    assert code_of(throw(KeyboardInterrupt())) == 130
    assert "same command resumes" in capfd.readouterr().err


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-u", "-m", "harness", "list"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_an_unknown_option_or_command_exits_with_two(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--alinger", "gem") == 2
    assert "--aligner" in capfd.readouterr().err
    assert call("lst") == 2


def test_a_mistake_of_the_options_leaves_standard_output_empty() -> None:
    done = spawn("run", "--aligner", "gme", "--task", "medqa", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'gem'" in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


# ---------------------------------------------------------------- run, with an engine that computes nothing


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[RunConfig]]:
    """Replaces the engine by one that prints, as libraries do, and returns a record; yields what it was asked."""
    configs: list[RunConfig] = []

    def engine(config: RunConfig, *, registry: object, observer: Progress, keeping: object) -> Record:
        configs.append(config)
        observer.stage("fit", 2)
        observer.advance(1, 2, loss=0.5)
        print("a library prints")
        os.write(1, b"and a child too\n")
        return make_record(seed=SeedInfo(draw=0, training=config.seed))

    module = type(sys)("harness.run.engine")
    module.run = engine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harness.run.engine", module)
    monkeypatch.setattr(harness.run, "engine", module, raising=False)
    monkeypatch.setattr(
        run_command, "show_tables", lambda stores, task, **_: say(f"table of {task} in {stores[0]}") or []
    )
    monkeypatch.setattr(run_command, "sees_cuda", lambda: False)
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    yield configs


def test_json_is_the_record_and_nothing_else(asked: list[RunConfig], capfd: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--aligner", "base", "--task", "medqa", "--json") == 0
    out, err = capfd.readouterr()
    assert Record.model_validate(json.loads(out)).id == "abc123"
    assert "a library prints" in err
    assert "and a child too" in err


def test_several_seeds_are_a_list(asked: list[RunConfig], capfd: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--aligner", "base", "--task", "medqa", "--json", "--seed", "0,1", "--seed", "5") == 0
    records = json.loads(capfd.readouterr().out)
    assert [record["seed"]["training"] for record in records] == [0, 1, 5]
    assert [config.seed for config in asked] == [0, 1, 5]


def test_a_run_ends_with_a_summary_and_the_table(asked: list[RunConfig], capfd: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--aligner", "base", "--task", "medqa", "--store", "elsewhere") == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        "gem on medqa, seed 0: ok; accuracy 0.250 [0.170, 0.350] on 96; 8 labels, 1.50e+12 FLOPs, 6 s; run abc123",
        "",
        "table of medqa in elsewhere",
        "",
    ]
    assert err.count("profile cpu-demo") == 1
    assert "fit (2)" in err


def test_an_nvidia_smi_without_a_gpu_leaves_the_cpu_profile_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    seen = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", seen)
    assert not run_command.sees_cuda()
    seen.cuda.is_available = lambda: True
    assert run_command.sees_cuda()


def test_quiet_says_nothing_on_the_way(asked: list[RunConfig], capfd: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--aligner", "base", "--task", "medqa", "--quiet", "--json") == 0
    assert "profile" not in capfd.readouterr().err


def test_options_and_environment_reach_the_engine(asked: list[RunConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", "sample")
    options = ["--budget", "32", "--limit", "3", "--num-fewshot", "2", "--draw-seed", "4", "--set", "lora.r=4"]
    assert call("run", "--aligner", "base", "--task", "medqa", "--trust-remote-code", *options) == 0
    (config,) = asked
    assert (config.data, config.limit, config.num_fewshot, config.draw_seed) == ("sample", 3, 2, 4)
    assert (config.trust_remote_code, config.lora.r, config.budget) == (True, 4, Budget())


def test_a_failed_cell_exits_with_one_after_its_record(
    asked: list[RunConfig], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = make_record(status="failed", failure=Failure(reason="out of memory", traceback="..."))
    monkeypatch.setattr(sys.modules["harness.run.engine"], "run", lambda *_, **__: failed)
    assert call("run", "--aligner", "base", "--task", "medqa", "--json") == 1
    out, err = capfd.readouterr()
    assert json.loads(out)["status"] == "failed"
    assert "out of memory" in err


def test_standard_output_is_given_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="inside"), stdout_to_stderr():
        print("one")
        raise ValueError("inside")
    print("two")
    assert capfd.readouterr() == ("two\n", "one\n")


# ---------------------------------------------------------------- show


def test_show_takes_an_id_its_beginning_a_folder_or_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = put(tmp_path, make_record("abc123"))
    put(tmp_path, make_record("xyz789"))
    for name in ("abc123", "ab", str(folder), str(folder / "record.json")):
        assert call("show", name, "--store", str(tmp_path), "--json") == 0
        shown = Record.model_validate(json.loads(capfd.readouterr().out))
        assert shown.model_copy(update={"seal": ""}) == make_record("abc123")


def test_show_prefers_the_exact_id_to_a_longer_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, make_record("abc"))
    put(tmp_path, make_record("abcd"))
    assert call("show", "abc", "--store", str(tmp_path), "--json") == 0
    assert json.loads(capfd.readouterr().out)["id"] == "abc"
    assert call("show", "ab", "--store", str(tmp_path)) == 2


def test_show_names_the_nearest_id(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, make_record("abc123"))
    assert call("show", "abd123", "--store", str(tmp_path)) == 2
    assert "did you mean 'abc123'" in capfd.readouterr().err


def test_show_prints_every_section(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, make_record("abc123"))
    assert call("show", "abc123", "--store", str(tmp_path)) == 0
    out = capfd.readouterr().out
    for line in ("accuracy\t0.2500 [0.1700, 0.3500] (n 96)", "marker_rate\t0.9", "pair_ids\t2", "seconds.fit\t2"):
        assert line in out


# ---------------------------------------------------------------- list, models, doctor


def test_list_has_origin_and_facts(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("list", "--json", "--no-plugins") == 0
    listed = json.loads(capfd.readouterr().out)
    gem = next(entry for entry in listed["aligners"] if entry["name"] == "gem")
    assert gem["origin"].startswith("align-harness")
    assert gem["about"]
    assert (gem["requires"], gem["accepts"]) == ([], ["pairs", "prompts"])
    assert listed["skipped"] == {}
    assert call("list", "tasks") == 0
    assert "medqa" in capfd.readouterr().out


def test_models_tells_what_is_cached(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    assert call("models", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capfd.readouterr().out)}
    assert rows["smollm2-135m-instruct"]["folder"] is None
    assert rows["smollm2-135m-instruct"]["licence"]
    assert call("models", "fetch", "smolm2-135m-instruct") == 2
    assert "smollm2-135m-instruct" in capfd.readouterr().err


def test_doctor_is_broken_only_when_something_needed_is(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fine = doctor_command.Finding("python", "ok", "3.11")
    away = doctor_command.Finding("hub", "note", "cannot be reached")
    broken = doctor_command.Finding("torch", "broken", "not installed")
    monkeypatch.setattr(doctor_command, "findings", lambda store: [fine, away])
    assert call("doctor", "--json", "--store", str(tmp_path)) == 0
    assert [check["verdict"] for check in json.loads(capfd.readouterr().out)] == ["ok", "note"]
    monkeypatch.setattr(doctor_command, "findings", lambda store: [fine, broken])
    assert call("doctor", "--store", str(tmp_path)) == 1


def test_doctor_measures_a_step_and_keeps_what_auto_reads(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor_command, "findings", lambda store: [])
    model = tiny_folder(tmp_path / "tiny")
    assert call("doctor", "--json", "--measure", "--model", str(model), "--device", "cpu") == 0
    found, sampling = json.loads(capfd.readouterr().out)
    assert (found["name"], found["verdict"]) == ("fast paths", "ok")
    assert found["detail"].startswith("cpu, llama: ")
    assert (sampling["name"], sampling["verdict"]) == ("sampling", "ok")
    assert re.match(r"cpu, llama, fp32: hf: \d+ tokens/s; vllm: ", sampling["detail"])
    figures = measured(tmp_path / "cache")["cpu, llama"]
    assert chosen("auto", "cpu", "cpu", model, tmp_path / "cache") == (figures["fast_ms"] <= figures["plain_ms"])


def test_doctor_judges_versions() -> None:
    installed = importlib.metadata.version("pydantic")
    assert doctor_command.package_check("pydantic", ">=2").verdict == "ok"
    assert doctor_command.package_check("pydantic", "<2").verdict == "broken"
    assert installed in doctor_command.package_check("pydantic", "<2").detail
    assert doctor_command.package_check("no-such-package-here", ">=1").verdict == "broken"


def test_doctor_survives_a_probe_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails() -> Iterator[doctor_command.Finding]:
        raise RuntimeError("no such luck")
        yield

    for probe in ("_packages", "_device", "_hub", "_model", "_plugins"):
        monkeypatch.setattr(doctor_command, probe, fails)
    checks = list(doctor_command.findings(tmp_path / "runs"))
    assert sum(check.verdict == "broken" for check in checks) == 5
    assert {"python", "cores", "store"} <= {check.name for check in checks if check.verdict == "ok"}


def test_doctor_sees_a_data_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "none"))
    (check,) = doctor_command._data()
    assert check.verdict == "broken"


# ---------------------------------------------------------------- progress


def lines_at(seconds: list[float], monkeypatch: pytest.MonkeyPatch) -> tuple[Lines, io.StringIO]:
    clock = iter(seconds)
    monkeypatch.setattr("harness.cli.progress.time.monotonic", lambda: next(clock))
    text = io.StringIO()
    return Lines(Console(file=text, width=200)), text


def test_a_list_of_cells_says_which_begins_and_what_is_left() -> None:
    now = [0.0]
    course = Course(lambda: now[0])
    assert course.line(1, 6, "sft, seed 0") == "cell 1 of 6: sft, seed 0"
    now[0] = 420.0
    assert course.line(3, 6, "dpo, seed 1") == "cell 3 of 6: dpo, seed 1, about 14 min left"
    text = io.StringIO()
    shown = Lines(Console(file=text, width=200))
    shown.cell(1, 1, "sft, seed 0")
    assert text.getvalue() == ""
    shown.cell(1, 2, "sft, seed 0")
    assert text.getvalue() == "cell 1 of 2: sft, seed 0\n"


def test_one_bar_stands_over_the_bars_of_the_stages() -> None:
    text = io.StringIO()
    console = Console(file=text, width=120, force_terminal=True)
    with RichProgress(*_columns(), console=console, auto_refresh=False) as progress:
        bars = Bars(progress)
        for number in (1, 2):
            bars.cell(number, 2, f"dpo, seed {number}")
            bars.stage("fit, phase 1", 4)
            bars.advance(4)
        assert [task.completed for task in progress.tasks if task.description.startswith("cell 2 of 2")] == [1]
        assert sum(task.description == "fit, phase 1" for task in progress.tasks) == 2
        bars.close()
        assert [task.completed for task in progress.tasks if task.description == "all cells"] == [2]


def test_lines_tell_stage_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, text = lines_at([0, 0, 0, 5, 20], monkeypatch)
    lines.stage("fit", 100)
    lines.advance(40)  # resumed here
    lines.advance(41)
    lines.advance(80, loss=0.25)
    assert text.getvalue().splitlines() == ["fit (100)", "fit 80/100, 2.0/s, 10 s left, loss 0.25"]


def test_a_stage_that_stands_still_is_not_said_again_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0, 0, *range(10, 1000, 10)]
    lines, text = lines_at([float(second) for second in seconds], monkeypatch)
    lines.stage("study s", 2)
    for second in seconds[2:]:
        lines.advance(0 if second < 800 else 1, running="sft on medqa" if second < 800 else "dpo on medqa")
    said = text.getvalue().splitlines()
    still = "study s 0/2, running sft on medqa"
    assert said[:4] == ["study s (2)", still, still, still], "at 20 s, 320 s and 620 s"
    assert said[4:] == ["study s 1/2, 800.0 s each, 13 min left, running dpo on medqa"]


def test_rates_and_figures_are_readable() -> None:
    assert (rate(None), rate(3.21), rate(0.25)) == ("", "3.2/s", "4.0 s each")
    assert figures_line({"loss": 0.12345, "step": 3, "phase": "sft"}) == "loss 0.123, step 3, phase sft"


def test_bars_draw_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=160, highlight=False)
    monkeypatch.setattr("harness.cli.progress.stderr", lambda: console)
    with watching(quiet=False) as progress:
        progress.stage("load [model]")
        progress.stage("fit", 4)
        progress.advance(1, loss=0.5)
        progress.advance(6, 6)
        progress.note("half [way] there")
    shown = text.getvalue()
    for part in ("fit", "6/6", "loss 0.5", "half [way] there"):
        assert part in shown


def test_quiet_watches_nothing() -> None:
    with watching(quiet=True) as progress:
        assert isinstance(progress, Silent)


def test_main_is_the_entry_point(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capfd.readouterr().out == f"align-harness {harness.__version__}\n"


def test_show_says_why_a_run_has_its_id_and_why_two_runs_are_two(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = make_record("abc123")
    for name, torch in (("abc123", "2.1"), ("def456", "2.2")):
        decisive = {"fit": {"libraries": {"torch": torch}, "seeds": {"draw": 0}}}
        manifest = plain.manifest.model_copy(update={"decisive": decisive})
        put(tmp_path, plain.model_copy(update={"id": name, "manifest": manifest}))
    at = ("--store", str(tmp_path))
    assert call("show", "abc", "--why", *at) == 0
    shown = capfd.readouterr().out
    assert "fit.libraries.torch\t2.1" in shown
    assert "fit.seeds.draw\t0" in shown
    assert call("show", "--diff", "abc", "def", *at) == 0
    assert capfd.readouterr().out == "abc123 -> def456: 1 decisive difference\n  fit.libraries.torch: 2.1 -> 2.2\n"
    assert call("show", "--diff", "abc", "abc", *at, "--json") == 0
    assert json.loads(capfd.readouterr().out) == []
    assert call("show", "abc", "--why", "--json", *at) == 0
    assert json.loads(capfd.readouterr().out)["fit"]["libraries"] == {"torch": "2.1"}
    assert call("show", *at) == 2
    assert "show needs a run" in capfd.readouterr().err
